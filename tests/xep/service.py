"""A publish-subscribe service elsewhere, for whom it is said what it knows and what it refuses."""

from microblog.wire import ns
from microblog.wire.xml import Element
from tests.xep.square import FEED, Square

JULIET = "juliet@capulet.example"


def post(item_id: str, published: str, audience: str = "") -> str:
    marker = f"<audience xmlns='{ns.AUDIENCE}'>{audience}</audience>" if audience else ""
    return (
        f"<item id='{item_id}'><entry xmlns='{ns.ATOM}'><title>{item_id}</title><published>{published}</published>"
        f"<updated>{published}</updated>{marker}</entry></item>"
    )


def serve(square: Square, *services: "Service") -> None:
    """Let each answer everything that has come for it, and what comes of that; what is for others is lost."""
    by_jid = {service.jid: service for service in services}
    while heard := [element for element in square.world_hears() if element.get("to") in by_jid]:
        for request in heard:
            if request.name == "iq" and request.get("type") in ("get", "set"):
                by_jid[request.attributes["to"]].answer(request)


class Service:
    """Juliet's: answers requests for her feed. ``asked`` has the verbs that came."""

    def __init__(self, square: Square, jid: str = JULIET) -> None:
        self.square = square
        self.jid = jid
        self.access = "open"
        self.hides = False  # what is not for somebody, as if there were nothing
        self.says_access = True
        self.grants = "subscribed"
        self.items: list[str] = []
        self.lists: dict[str, str] = {}
        self.subscribers: dict[str, str] = {}
        self.refuses: dict[str, str] = {}
        self.unreachable = False
        self.asked: list[str] = []
        self.public: set[str] = set()

    def serves(self) -> None:
        """Answer everything that has come, and what comes of that."""
        serve(self.square, self)

    def answer(self, request: Element) -> None:
        payload = request.first()
        assert payload is not None
        verb = "disco" if payload.uri == ns.DISCO_INFO else next(iter(payload.elements())).name
        self.asked.append(verb)
        condition = "remote-server-not-found" if self.unreachable else self.refuses.get(verb)
        shut_out = verb == "items" and "@" not in request.attributes["from"] and self.access != "open"
        if shut_out and not self.hides:
            condition = "item-not-found"
        from_, id_ = request.attributes["from"], request.attributes["id"]
        if condition:
            name, _, detail = condition.partition(" ")
            more = f"<{detail} xmlns='{ns.PUBSUB_ERRORS}'/>" if detail else ""
            content = f"<error type='cancel'><{name} xmlns='{ns.STANZAS}'/>{more}</error>"
        elif shut_out:
            content = f"<pubsub xmlns='{ns.PUBSUB}'><items node='{FEED}'/></pubsub>"
        else:
            content = getattr(self, f"_{verb}")(from_.partition("/")[0], next(iter(payload.elements()), payload))
        kind = "error" if condition else "result"
        self.square.inject(f"<iq type='{kind}' id='{id_}' from='{self.jid}' to='{from_}'>{content}</iq>")

    def _disco(self, asker: str, payload: Element) -> str:
        field = f"<field var='pubsub#access_model'><value>{self.access}</value></field>" if self.says_access else ""
        return (
            f"<query xmlns='{ns.DISCO_INFO}' node='{FEED}'><identity category='pubsub' type='leaf'/>"
            f"<x xmlns='{ns.DATA}' type='result'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{ns.PUBSUB_META_DATA}</value></field>{field}</x></query>"
        )

    def _items(self, asker: str, verb: Element) -> str:
        node = verb.attributes["node"]
        items = "".join(self.items[-int(verb.get("max_items") or 100) :]) if node == FEED else self.lists.get(node, "")
        return f"<pubsub xmlns='{ns.PUBSUB}'><items node='{node}'>{items}</items></pubsub>"

    def _subscribe(self, asker: str, verb: Element) -> str:
        self.subscribers[asker] = self.grants
        if verb.find(ns.PUBLIC_SUBSCRIPTIONS, "public"):
            self.public.add(asker)
        return f"<pubsub xmlns='{ns.PUBSUB}'>{self._subscription(asker)}</pubsub>"

    def _unsubscribe(self, asker: str, verb: Element) -> str:
        self.subscribers.pop(asker, None)
        return ""

    def _subscriptions(self, asker: str, verb: Element) -> str:
        mine = self._subscription(asker) if asker in self.subscribers else ""
        return f"<pubsub xmlns='{ns.PUBSUB}'><subscriptions>{mine}</subscriptions></pubsub>"

    def _subscription(self, asker: str) -> str:
        return f"<subscription node='{FEED}' jid='{asker}' subscription='{self.subscribers[asker]}'/>"
