"""docs/protocol/fanout.md §4, §8.2: which domains are nodes with a delivery log, and whether they are still the same.

A domain is asked by disco#info of its bare JID. A yes is believed for a day, a no for six hours, and a refusal of what
only a node understands is a no at once. Who cannot be reached is what it was last. However many want to know, a domain
is asked once at a time.

Whoever is about to send what is not public asks ``proved`` first, with the stream open: the key of the certificate on
it is compared with the last one, and if it is another, the domain is asked again. ``usecases.identity`` judges.

And what comes on a stream is not looked at before its key is known to be the domain's (``recognises``). If it is
another, the domain is asked where it is to be found now: on a stream that shows this key, or on one that is opened
anew. Streams on which it has shown another key are left: who was the domain before could still answer there.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from microblog.model.errors import Refusal
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database, Transaction
from microblog.store.peers import Peer
from microblog.usecases import identity
from microblog.usecases.identity import Answer, Learned
from microblog.wire import disco, fanout, ns
from microblog.wire.errors import read_condition
from microblog.wire.fanout import FanoutLimits
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import Extension
from microblog.xmpp.router import Router

YES_HOURS: Final = 24
NO_HOURS: Final = 6
ASKING_MAX: Final = 1000
RECOGNISE_SECONDS: Final = 20  # less than others wait for what they sent to be acknowledged
KEYS_MAX: Final = 10_000


class Proven(Protocol):
    """What is known of the streams to other domains (``Servers``)."""

    def proof(self, domain: str) -> Proof | None:
        """What the domain has proved to be on the stream to it; None without a stream."""

    def key(self, domain: str) -> str:
        """Of the certificate on the stream to it; empty without one."""

    def leave(self, domain: str, key: str) -> None:
        """Send nothing more on streams that show another key."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody asks a domain; the others wait."""

    waiting: list[Deferred[None]]


class Peers(Extension):
    """Other nodes. ``doubts`` is told of a domain that seems to be somebody else; ``epoch`` is of our own logs."""

    _log = Logger()

    features = (ns.FANOUT,)

    def __init__(
        self,
        router: Router,
        servers: Proven,
        database: Database,
        clock: Clock,
        *,
        epoch: str,
        doubts: Callable[[str], None] = lambda domain: None,
    ) -> None:
        self._router = router
        self._servers = servers
        self._database = database
        self._clock = clock
        self._doubts = doubts
        self._asking: dict[str, Asked] = {}
        self._recognising: dict[str, DeferredLock] = {}
        # Keys beside the one that is remembered, and the epoch that was known when their domain was asked: a domain
        # may have several, such as one for what it calls and one where it is called.
        self._recognised: OrderedDict[tuple[str, str], str] = OrderedDict()
        self.own = FanoutLimits(epoch=epoch)

    def disco_forms(self) -> Iterable[Element]:
        """What this node takes at once."""
        yield fanout.write_limits(self.own)

    async def limits(self, domain: str) -> FanoutLimits | None:
        """What a node takes at once; None for a server that is none, or that never could be asked."""
        peer = await self._database.read(_peer, domain)
        if not self._is_fresh(peer):
            await self._ask(domain)
            peer = await self._database.read(_peer, domain)
        if not peer.fanout:
            return None
        return FanoutLimits(max_bytes=peer.max_bytes, max_entries=peer.max_entries, epoch=peer.epoch)

    async def refused(self, domain: str) -> None:
        """It has said ``service-unavailable`` or ``feature-not-implemented`` to what a node takes."""
        await self._database.write(identity.no_log, domain)

    async def proved(self, domain: str) -> bool:
        """May what is not public go there, as far as it is a question of who it is? Asked with the stream open."""
        key = self._key(domain)
        peer = await self._database.read(_peer, domain)
        if key and key != peer.key:
            if peer.key and peer.epoch:
                await self._ask(domain)
            else:
                await self._learn(Learned(domain=domain, key=key))
            peer = await self._database.read(_peer, domain)
            # Another key, and nobody there who says more: not yet.
            return peer.doubted is None and peer.key == key
        return peer.doubted is None

    async def recognise(self, domain: str) -> bool:
        """The same of a domain that has shown itself. It is asked, if there is no stream to it whose key is known; and
        if it has a log that we are told from, and we never had to tell it anything."""
        peer = await self._database.read(_peer, domain)
        if (peer.key and self._servers.proof(domain) is None) or (peer.received_epoch and not peer.epoch):
            await self._ask(domain)
        return await self.proved(domain)

    async def recognises(self, domain: str, key: str) -> bool:
        """Is it clear whose word that is what comes from a domain under a certificate with that key? True also of a
        domain that is doubted, as every use of its word goes by that. False if it could not be asked now."""
        if await self._is_clear(domain, key):
            return True
        if domain not in self._recognising and len(self._recognising) >= ASKING_MAX:
            return False
        turn = self._recognising.setdefault(domain, DeferredLock())
        await turn.acquire()
        try:
            return await self._is_clear(domain, key) or await self._ask_anew(domain, key)
        finally:
            turn.release()
            if not turn.locked and self._recognising.get(domain) is turn:
                del self._recognising[domain]

    async def _is_clear(self, domain: str, key: str) -> bool:
        peer = await self._database.read(_peer, domain)
        if not key or key == peer.key or not (peer.key and peer.epoch) or peer.doubted is not None:
            return True
        return self._recognised.get((domain, key)) == peer.epoch

    async def _ask_anew(self, domain: str, key: str) -> bool:
        """Ask who is the domain now, not whom an old stream leads to; False if nobody with a certificate answers."""
        self._servers.leave(domain, key)
        answer, shown = await self._answer(domain, RECOGNISE_SECONDS), self._key(domain)
        if answer is None or not shown:
            return False
        await self._learn(Learned(domain=domain, key=shown, answer=answer))
        peer = await self._database.read(_peer, domain)
        self._recognised[domain, key] = peer.epoch
        if len(self._recognised) > KEYS_MAX:
            self._recognised.popitem(last=False)
        return True

    def _key(self, domain: str) -> str:
        return self._servers.key(domain) if self._servers.proof(domain) is Proof.CERTIFICATE else ""

    def _is_fresh(self, peer: Peer) -> bool:
        hours = YES_HOURS if peer.fanout else NO_HOURS
        return peer.asked is not None and timedelta(0) <= self._clock.now() - peer.asked < timedelta(hours=hours)

    async def _ask(self, domain: str) -> None:
        """Ask a domain what it can do, or wait until somebody has."""
        under_way = self._asking.get(domain)
        if under_way is not None:
            turn: Deferred[None] = Deferred()
            under_way.waiting.append(turn)
            await turn
            return
        if len(self._asking) >= ASKING_MAX:
            return
        asked = self._asking[domain] = Asked([])
        try:
            answer = await self._answer(domain)
            # Which key it is that speaks is known now, as the question has opened a stream.
            await self._learn(Learned(domain=domain, key=self._key(domain), answer=answer))
        finally:
            del self._asking[domain]
            for turn in asked.waiting:
                if not turn.called:
                    turn.callback(None)

    async def _learn(self, learned: Learned) -> None:
        if not learned.key and learned.answer is None:
            return
        if await self._database.write(identity.learn, learned):
            self._log.warn(
                "{domain} has another key and another delivery log than before: it may have another owner. What is not "
                "public waits for: twistd microblog domain trust {domain}",
                domain=learned.domain,
            )
            self._doubts(learned.domain)

    async def _answer(self, domain: str, seconds: float | None = None) -> Answer | None:
        """What it says; None if it cannot be reached."""
        ours, theirs = JID("", self._router.domain), JID("", domain)
        query = Element(ns.DISCO_INFO, "query")
        try:
            answer = await self._router.request("get", ours, theirs, query, seconds=seconds)
        except Refusal:
            return None
        if answer.type == "error":
            return None if _is_passing(answer) else Answer()
        payload = answer.payload
        if payload is None or not payload.is_(ns.DISCO_INFO, "query"):
            return Answer()
        limits = fanout.read_limits(disco.read_info(payload))
        if limits is None:
            return Answer()
        return Answer(fanout=True, max_bytes=limits.max_bytes, max_entries=limits.max_entries, epoch=limits.epoch)


def _is_passing(answer: Stanza) -> bool:
    """An error of our own, because it could not be reached, or one after which it may be asked again."""
    return answer.proof is Proof.LOCAL or read_condition(answer.element)[1] == "wait"


def _peer(tx: Transaction, domain: str) -> Peer:
    return tx.peers.get(domain)
