"""XEP-0054, XEP-0292 §3: vCards by IQ, of our accounts. XEP-0172: nicknames, which are a node and part of vCards.

Both are made of the one profile that ``usecases.profiling`` keeps, and set it. The nodes are published and read like
any other (``pubsub``).

``RemoteProfiles`` asks what people elsewhere say of themselves: for vCard 4, then for the old form, then for the
nickname alone, since servers have one or the other, and not for longer than somebody waits for an answer.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from microblog.model.errors import BadRequest, Forbidden, Refusal, ServiceUnavailable
from microblog.model.jid import JID
from microblog.model.node import NICK, VCARD4
from microblog.model.profile import Profile
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import profiling
from microblog.usecases.profiling import Change
from microblog.wire import ns, pubsub, vcard
from microblog.wire.stanza import Stanza
from microblog.wire.vcard import Nodes
from microblog.wire.xml import Element
from microblog.xep.people import People
from microblog.xmpp.dispatch import At, Extension, Route, Spec
from microblog.xmpp.router import Router

REMOTE_SECONDS: Final = 8


class VCards(Extension):
    """Answers for the accounts here."""

    specs = (Spec(54, "1.3.0"), Spec(172, "1.1"), Spec(292, "0.12.0"))
    account_features = (ns.VCARD_TEMP, ns.VCARD4_XML)

    def __init__(self, database: Database, people: People) -> None:
        self._database = database
        self._people = people

    def routes(self) -> Iterable[Route]:
        """At accounts only: the node itself has no vCard."""
        yield Route.get(ns.VCARD_TEMP, "vCard", self.get_temp, at=At.ACCOUNT)
        yield Route.set(ns.VCARD_TEMP, "vCard", self.set_temp, at=At.ACCOUNT)
        yield Route.get(ns.VCARD4_XML, "vcard", self.get_card, at=At.ACCOUNT)
        yield Route.set(ns.VCARD4_XML, "vcard", self.set_card, at=At.ACCOUNT)

    async def get_temp(self, request: Stanza) -> Element:
        """XEP-0054 §3.1, §3.3."""
        return vcard.write_temp(await self._seen(request))

    async def set_temp(self, request: Stanza) -> None:
        """XEP-0054 §3.2."""
        account = await self._owner(request)
        said = vcard.read_temp(_payload(request))
        change = Change(account=account, become=lambda before: vcard.set_temp(before, said), codec=Nodes())
        await self._database.write(profiling.change, change)

    async def get_card(self, request: Stanza) -> Element:
        """XEP-0292 §3.1."""
        return vcard.write_card(await self._seen(request))

    async def set_card(self, request: Stanza) -> None:
        """XEP-0292 §3.2."""
        account = await self._owner(request)
        said = vcard.read_card(_payload(request))
        change = Change(account=account, become=lambda before: vcard.set_card(before, said), codec=Nodes())
        await self._database.write(profiling.change, change)

    async def _seen(self, request: Stanza) -> Profile:
        # As who they come as: what is for this domain only is not told an address elsewhere, whoever has it.
        profile = await self._database.read(profiling.seen, request.to.bare, request.from_)
        if profile is None:
            raise ServiceUnavailable
        return profile

    async def _owner(self, request: Stanza) -> JID:
        person = await self._people.person(request)
        if person is not None and person.jid == request.to.bare:
            return person.jid
        if request.from_.domainpart != request.to.domainpart:
            raise ServiceUnavailable
        raise Forbidden("this is another person's vCard")


def _payload(request: Stanza) -> Element:
    payload = request.payload
    assert payload is not None  # the route was found by it
    return payload


class RemoteProfiles:
    """Asks other servers."""

    def __init__(self, router: Router, clock: Clock) -> None:
        self._router = router
        self._clock = clock

    async def profile(self, asker: JID, jid: JID) -> Profile | None:
        """What somebody elsewhere says of themselves to one of ours; None if nothing could be had."""
        found: list[Profile] = []
        with suppress(TimeoutError):
            await self._clock.deadline(self._ask(asker.bare, jid.bare, found), REMOTE_SECONDS)
        return found[-1] if found else None

    async def temp(self, asker: JID, jid: JID) -> Profile | None:
        """The old form alone, which has the picture."""
        try:
            answer = await self._clock.deadline(self._answer(asker.bare, jid.bare, _temp_request()), REMOTE_SECONDS)
        except TimeoutError:
            return None
        return None if answer is None or not answer.is_(ns.VCARD_TEMP, "vCard") else vcard.read_temp(answer)

    async def _ask(self, asker: JID, jid: JID, found: list[Profile]) -> None:
        card = await self._item(asker, jid, VCARD4)
        if card is not None and card.is_(ns.VCARD4_XML, "vcard"):
            found.append(vcard.read_card(card))
        if not (found and found[-1].name):
            temp = await self._answer(asker, jid, _temp_request())
            if temp is not None and temp.is_(ns.VCARD_TEMP, "vCard"):
                found.append(vcard.read_temp(vcard.without_photo(temp)))
        if not (found and found[-1].nickname):
            nick = await self._item(asker, jid, NICK)
            if nick is not None and nick.is_(ns.NICK, "nick"):
                known = found[-1] if found else Profile()
                found.append(replace(known, nickname=vcard.read_nick(nick)))

    async def _item(self, asker: JID, jid: JID, node: str) -> Element | None:
        """The payload of a node's last item."""
        answer = await self._answer(asker, jid, pubsub.items_request(node, ()))
        try:
            items = pubsub.read_answered_items(answer)
        except BadRequest:
            return None
        payloads = [item.payload for item in items if item.payload is not None]
        return payloads[-1] if payloads else None

    async def _answer(self, asker: JID, jid: JID, request: Element) -> Element | None:
        try:
            answer = await self._router.request("get", asker, jid, request)
        except Refusal:
            return None
        return answer.payload if answer.type == "result" else None


def _temp_request() -> Element:
    return Element(ns.VCARD_TEMP, "vCard")
