"""docs/protocol/fanout.md §6, §7: what another node asks of our side of its delivery log.

``fetch`` is answered with what the log has behind a number, ``followers`` with whom we know as followers of an author:
each about nobody but the asking domain, which asks by its own bare address.
"""

from collections.abc import Callable, Iterable

from microblog.model.errors import AnotherEpoch, BadRequest, Forbidden
from microblog.model.item import Proof
from microblog.store.database import Database, Transaction
from microblog.usecases import forwarding, refetching
from microblog.usecases.refetching import Asked, Followers
from microblog.wire import fanout, ns
from microblog.wire.fanout import MAX_BYTES, FollowerSet
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.forwarding import Given, named, write_entries
from microblog.xmpp.dispatch import At, Extension, Route


class Fanout(Extension):
    """``dialback_suffices``: domains that are sent what is not public without a certificate. ``given``: how far each
    can have come with its log."""

    def __init__(
        self, database: Database, given: Given, *, dialback_suffices: Callable[[str], bool] = lambda domain: False
    ) -> None:
        self._database = database
        self._given = given
        self._dialback_suffices = dialback_suffices

    def routes(self) -> Iterable[Route]:
        """Both questions, to the node."""
        yield Route.get(ns.FANOUT, "fetch", self.fetch, at=At.HOST)
        yield Route.get(ns.FANOUT, "followers", self.followers, at=At.HOST)

    async def fetch(self, request: Stanza) -> Element:
        """What the asking domain misses. Raises BadRequest, Forbidden, AnotherEpoch, BeyondHorizon."""
        domain, query = self._asker(request)
        epoch, after, max_ = fanout.read_fetch(query)
        asked = Asked(
            domain=domain,
            epoch=epoch,
            after=after,
            max=max_,
            trusted=self._is_trusted(request),
            named=named,
            given=self._given.upto(domain),
        )
        found = await self._database.read(refetching.fetch, asked)
        if found.beyond:
            raise AnotherEpoch(epoch=await self._database.write(_renewed, domain))
        if found.changed:
            await self._database.write(forwarding.write_down, domain, found.changed)
        written = write_entries(found.entries, MAX_BYTES)
        self._given.was_fetched(domain, found.prev + len(written.texts))
        return fanout.write_deliver(found.epoch, found.prev, written.texts, last=found.last)

    async def followers(self, request: Stanza) -> Element:
        """Whom of the asking domain we know as followers. Raises BadRequest, Forbidden, ItemNotFound."""
        domain, payload = self._asker(request)
        author, after = fanout.read_followers_query(payload)
        asked = Followers(domain=domain, author=author, after=after, trusted=self._is_trusted(request))
        page = await self._database.read(refetching.followers, asked)
        if page.changed:
            await self._database.write(forwarding.write_down, domain, page.changed)
        found = FollowerSet(
            author=author, version=page.known.version, digest=page.known.digest, jids=page.jids, more=page.more
        )
        return fanout.write_follower_set(found)

    def _asker(self, request: Stanza) -> tuple[str, Element]:
        from_ = request.from_
        if from_.localpart or from_.resourcepart or from_.domainpart == self._database.domain:
            raise Forbidden("only nodes ask this")
        if request.payload is None:
            raise BadRequest("what is asked?")
        return from_.domainpart, request.payload

    def _is_trusted(self, request: Stanza) -> bool:
        return request.proof is Proof.CERTIFICATE or self._dialback_suffices(request.from_.domainpart)


def _renewed(tx: Transaction, domain: str) -> str:
    forwarding.renew(tx, domain)
    return forwarding.epoch(tx, domain)
