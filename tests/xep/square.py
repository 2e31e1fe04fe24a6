"""The town square: a town whose people publish, follow, and are followed from elsewhere."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.wire import ns
from microblog.wire.xml import Element, to_text
from microblog.xep.approval import Approval
from microblog.xep.caps import Capabilities
from microblog.xep.disco import Disco
from microblog.xep.following import Following
from microblog.xep.microblog import Microblog
from microblog.xep.notifications import Notifications
from microblog.xep.outbox import Outbox
from microblog.xep.pep import PersonalEventing
from microblog.xep.pubsub import Pubsub
from microblog.xep.rates import PersonalRates
from microblog.xep.readers import Readers
from microblog.xep.timelines import Timelines
from microblog.xmpp.remote import DeliveryFailed
from tests.im.town import Client, Town
from tests.xmltext import read_all

FEED = "urn:xmpp:microblog:0"


class World:
    """Other servers: they take what is delivered, unless they are down."""

    def __init__(self) -> None:
        self.proofs: dict[str, Proof] = {}
        self.streams: set[str] = set()
        self.down: set[str] = set()
        self.silent: dict[str, Deferred[None]] = {}  # those that take the call and say nothing
        self.taken: list[tuple[str, bytes]] = []
        self.attempts: list[str] = []

    def proof(self, domain: str) -> Proof | None:
        return self.proofs.get(domain, Proof.CERTIFICATE) if domain in self.streams else None

    async def deliver(self, domain: str, stanzas: Sequence[bytes], minimum_proof: Proof = Proof.DIALBACK) -> None:
        self.attempts.append(domain)
        if domain in self.silent:
            await self.silent[domain]
        if domain in self.down:
            self.streams.discard(domain)
            raise DeliveryFailed("it is down")
        self.streams.add(domain)
        self.taken.extend((domain, stanza) for stanza in stanzas)

    def hears(self, domain: str = "capulet.example") -> list[Element]:
        """What a domain took since it was last asked."""
        mine = [data for taker, data in self.taken if taker == domain]
        self.taken = [(taker, data) for taker, data in self.taken if taker != domain]
        return read_all(b"".join(mine).decode())


class Square(Town):
    """A town with everything that publish-subscribe needs, as it is wired together when it serves."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.tasks = Tasks()
        rates = PersonalRates(clock, database.limits)
        self.world = World()
        self.outbox = Outbox(database, self.world, clock, self.tasks)
        self.disco = Disco(database)
        self.capabilities = Capabilities(self.router.request, lambda: self.disco.caps)
        self.readers = Readers(self.sessions, database, clock, self.tasks)
        self.notifications = Notifications(self.readers, self.rosters, database, clock, self.tasks, self.outbox.wake)
        self.pep = PersonalEventing(self.router, database, self.rosters, self.capabilities, self.readers, self.tasks)
        self.approval = Approval(self.sessions, database, self.tasks)
        self.following = Following(self.router, database, self.readers, rates, clock, self.tasks)
        self.timelines = Timelines(self.readers, database, clock, self.tasks)
        database.listeners += [self.notifications.hear, self.approval.hear, self.timelines.hear]
        self.presence.listeners += [self.readers, self.pep, self.approval]
        self.messages.error_listeners.append(self.pep.bounced)
        pubsub = self.pubsub = Pubsub(self.router, database, self.readers, rates, clock)
        extensions = (
            self.disco,
            self.capabilities,
            self.pep,
            pubsub,
            self.approval,
            self.following,
            self.timelines,
            Microblog(),
        )
        self.disco.extensions = (*extensions, self.roster)
        self.install(*extensions)


def asks(client: Client, type_: str, content: str, *, to: str = "", owner: bool = False) -> Element:
    """Send a pubsub request and have the answer; what else came stays to be heard."""
    uri = ns.PUBSUB_OWNER if owner else ns.PUBSUB
    addressee = f"to='{to}'" if to else ""
    client.sends(f"<iq type='{type_}' id='ask' {addressee}><pubsub xmlns='{uri}'>{content}</pubsub></iq>")
    heard = client.hears()
    answers = [element for element in heard if element.name == "iq" and element.get("id") == "ask"]
    for element in heard:
        if element not in answers:
            client.line.write(to_text(element).encode())
    (answer,) = answers
    return answer


def entry(title: str, updated: str = "") -> str:
    instant = f"<updated>{updated}</updated>" if updated else ""
    return f"<entry xmlns='{ns.ATOM}'><title>{title}</title>{instant}</entry>"


def publishes(client: Client, item_id: str, title: str = "", *, node: str = FEED, options: str = "") -> Element:
    payload = entry(title or item_id) if node == FEED else f"<tune xmlns='urn:tune'>{title}</tune>"
    form = ""
    if options:
        form = (
            f"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
            f"<value>{ns.PUBSUB_PUBLISH_OPTIONS}</value></field>{options}</x></publish-options>"
        )
    return asks(client, "set", f"<publish node='{node}'><item id='{item_id}'>{payload}</item></publish>{form}")


def option(name: str, value: str) -> str:
    return f"<field var='pubsub#{name}'><value>{value}</value></field>"


def result(answer: Element) -> Element | None:
    """The payload of a result."""
    assert answer.get("type") == "result", answer
    return answer.first()


def error(answer: Element) -> tuple[str, str | None]:
    """The condition and application condition of an error."""
    assert answer.get("type") == "error", answer
    children = list(next(answer.find_all(ns.CLIENT, "error")).elements())
    condition = next(child.name for child in children if child.uri == ns.STANZAS and child.name != "text")
    return condition, next((child.name for child in children if child.uri == ns.PUBSUB_ERRORS), None)


def told(heard: Sequence[Element]) -> list[tuple[str, str, str]]:
    """Of notifications of items: from whom, under which address, which item."""
    found = []
    for message in heard:
        event = message.find(ns.PUBSUB_EVENT, "event")
        items = None if event is None else event.find(ns.PUBSUB_EVENT, "items")
        if items is not None:
            (item,) = items.elements()
            id_ = item.attributes["id"]
            found.append(
                (message.attributes["from"], message.attributes["to"], id_ if item.name == "item" else f"-{id_}")
            )
    return found


def address(name: str) -> JID:
    return JID(name, "montague.example")
