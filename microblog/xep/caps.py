"""XEP-0115: Entity Capabilities.

What a client can do stands in its presence as a hash. Whoever does not know the hash asks once; what is answered is
believed of everybody with that hash only after it was hashed here and gave the same, for else one client could speak
for all. What we want to know of a client is which nodes it wants notifications of (XEP-0163 §4: features that end in
``+notify``), so that is all that is remembered.

Our own hash stands in the stream features (§6.3).
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import Deferred

from microblog.model.errors import Refusal
from microblog.model.jid import JID
from microblog.wire import disco, ns
from microblog.wire.disco import HASHES, Caps, IllFormed, Info
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.dispatch import Extension, Spec

KNOWN_MAX: Final = 2000
NOTIFY_MAX: Final = 200
_NOTIFY: Final = "+notify"
Request = Callable[[str, JID, JID, Element], Awaitable[Stanza]]


class Capabilities(Extension):
    """What clients, ours and others', want notifications of.

    ``request`` sends an IQ of this node and waits for its answer; ``own`` is what this node says of itself.
    """

    specs = (Spec(115, "1.6.0"),)
    features = (ns.CAPS,)

    def __init__(self, request: Request, own: Callable[[], Caps]) -> None:
        self._request = request
        self._own = own
        self._known: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()
        self._waiting: dict[tuple[str, str], list[Deferred[None]]] = {}

    @property
    def stream_feature(self) -> Element:
        """Our own capabilities."""
        return disco.write_caps(self._own())

    async def notify(self, caps: Caps, asker: JID, entity: JID) -> frozenset[str]:
        """The nodes that an entity wants notifications of; ``asker`` is in whose name it is asked if need be."""
        key = (caps.hash, caps.ver)
        known = self._known.get(key)
        while known is None and key in self._waiting:
            # Many have the same client: one is asked, and the others only if that one's answer was false.
            turn: Deferred[None] = Deferred()
            self._waiting[key].append(turn)
            await turn
            known = self._known.get(key)
        if known is not None:
            self._known.move_to_end(key)
            return known
        self._waiting[key] = []
        try:
            return await self._ask(caps, asker, entity)
        finally:
            for turn in self._waiting.pop(key):
                if not turn.called:
                    turn.callback(None)

    async def _ask(self, caps: Caps, asker: JID, entity: JID) -> frozenset[str]:
        query = Element(ns.DISCO_INFO, "query", {"node": caps.disco_node})
        try:
            answer = await self._request("get", asker, entity, query)
        except Refusal:
            return frozenset()
        payload = answer.payload
        if answer.type != "result" or payload is None or not payload.is_(ns.DISCO_INFO, "query"):
            return frozenset()
        info = disco.read_info(payload)
        nodes = _wanted(info)
        try:
            # §5.4: a hash we cannot compute, or that is wrong, is true of the one who answered and of nobody else.
            if caps.hash in HASHES and disco.verification(info, caps.hash) == caps.ver:
                self._remember((caps.hash, caps.ver), nodes)
        except IllFormed:
            return frozenset()
        return nodes

    def _remember(self, key: tuple[str, str], nodes: frozenset[str]) -> None:
        self._known[key] = nodes
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)


def _wanted(info: Info) -> frozenset[str]:
    wanted = [feature.removesuffix(_NOTIFY) for feature in info.features if feature.endswith(_NOTIFY)]
    return frozenset(wanted[:NOTIFY_MAX])
