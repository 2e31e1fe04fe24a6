"""docs/protocol/fanout.md §8.2, on a stream: a valid certificate alone makes nobody the owner that a domain had before.

When a domain has proved itself by certificate, on a stream of its own or on one of ours that goes both ways (XEP-0288),
somebody who knows more than streams do is asked whether that key is the domain's (``recognises``). Meanwhile what it
sends is held, in its order, and nothing of it is acknowledged. Once it is clear who that is, all of it is handed on. If
that cannot be found out now, the stream ends with an error after which the peer tries again.

The question may have to go to the domain itself, and its answer may come on this very stream: so what is said about who
somebody is goes past what is held. Both sides may be asking that of each other.
"""

from collections import deque
from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.runtime import Tasks
from microblog.wire import ns
from microblog.wire.errors import StreamError
from microblog.wire.xml import Element
from microblog.xmpp.stream import Stream

HELD_MAX = 200  # of one domain on one stream; then the stream is not read on

# Is a key, as ``Carrier.key`` has it, that of a domain? False: it cannot be said now.
Recognises = Callable[[str, str], Awaitable[bool]]


class Recognition:
    """What is held on one stream, by domain."""

    log = Logger()

    def __init__(self, stream: Stream, tasks: Tasks) -> None:
        self._stream = stream
        self._tasks = tasks
        self._held: dict[str, deque[Callable[[], Awaitable[None]]]] = {}
        self._waiting: list[Deferred[None]] = []

    def begin(self, domain: str, key: str, recognises: Recognises) -> None:
        """A domain has proved itself by a certificate with that key; from now on its stanzas wait."""
        self._held[domain] = deque()
        self._tasks.spawn(self._recognise(domain, key, recognises), f"who {domain} is")

    def holds(self, domain: str, element: Element, to: JID) -> bool:
        """Does a stanza have to wait?"""
        return domain in self._held and not _says_who(element, to)

    async def hold(self, domain: str, handing_on: Callable[[], Awaitable[None]]) -> None:
        """Keep a stanza; when there are too many, return only when it is known who the domain is."""
        held = self._held[domain]
        held.append(handing_on)
        while len(held) >= HELD_MAX and self._held.get(domain) is held:
            await self._wait()

    async def settled(self) -> None:
        """Return when nothing is held any more."""
        while self._held:
            await self._wait()

    async def _recognise(self, domain: str, key: str, recognises: Recognises) -> None:
        held = self._held[domain]
        try:
            try:
                known = await recognises(domain, key)
            except Refusal:
                known = False
            if not known:
                self.log.warn("{domain} shows another key than before, and does not say who it is", domain=domain)
                raise StreamError("remote-connection-failed", f"{domain} has another key now and could not be asked")
            while held:
                await held.popleft()()
        except StreamError as error:
            self._stream.fail(error)
        except BaseException:
            # What is dropped here is not to be acknowledged.
            self._stream.fail(StreamError("internal-server-error"))
            raise
        finally:
            del self._held[domain]
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                if not one.called:
                    one.callback(None)

    async def _wait(self) -> None:
        waiting: Deferred[None] = Deferred(lambda it: None)
        self._waiting.append(waiting)
        await waiting


def _says_who(element: Element, to: JID) -> bool:
    """A question of who this node is, and answers to its own: ids are random, so nobody answers what others were asked.

    An error need not say what the question was.
    """
    if element.name != "iq" or to.localpart or to.resourcepart:
        return False
    payload = element.first()
    return element.get("type") == "error" or (payload is not None and payload.is_(ns.DISCO_INFO, "query"))
