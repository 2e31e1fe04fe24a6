"""A square where one can talk to the node, with words that do little and say what they were told."""

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Post, Table
from microblog.commands.delivery import DeliveryWords
from microblog.commands.help import Help
from microblog.model.errors import NotAllowed
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.uri import ItemAddress
from microblog.runtime import Clock
from microblog.store.database import Database, Transaction
from microblog.usecases import publishing
from microblog.wire import atom, ns, xml
from microblog.wire.xml import Element
from microblog.xep.chat import Chat
from microblog.xep.chatlines import ChatLines
from microblog.xep.followlines import FollowLines
from microblog.xep.people import People
from microblog.xep.reactionlines import ReactionLines
from tests.im.town import Client
from tests.xep.square import Square

NODE = "montague.example"
PAGE = 2
_TEXT = Parameter(name="text", kinds=(Kind.TEXT,))
_ITEM = Parameter(name="item", kinds=(Kind.ITEM,))
_TARGET = Parameter(name="target", kinds=(Kind.ITEM, Kind.PERSON), newest=True)


class TestWords:
    """What was asked is in ``done``."""

    __test__ = False

    def __init__(self, database: Database) -> None:
        self._database = database
        self.done: list[tuple[str, dict[str, Any]]] = []
        self.enclosures: list[tuple[str, ...]] = []
        self.wait: Deferred[None] = Deferred()

    def commands(self) -> Iterable[Command]:
        def word(name: str, *parameters: Parameter, function: Any = None, **more: Any) -> Command:
            async def note(call: Call) -> Answer:
                self.done.append((name, dict(call.arguments)))
                return Answer(text=f"{name} done") if function is None else await function(call)

            return Command(name=name, group="test", function=note, parameters=parameters, **more)

        person = Parameter(name="person", kinds=(Kind.PERSON,))
        yield word("post", _TEXT, function=self.post, posting=True)
        yield word("dm", person, _TEXT, function=self.direct, posting=True, private=True)
        yield word("d", person, _TEXT, private=True, aliases=("tell",))
        yield word("reply", _TARGET, _TEXT, posting=True)
        yield word("fav", _TARGET)
        yield word("unfav", _TARGET)
        yield word("react", _ITEM, Parameter(name="emoji", kinds=(Kind.WORD,)))
        yield word("edit", _ITEM, _TEXT, posting=True)
        yield word("delete", _ITEM, destructive=True)
        yield word("follow", person)
        yield word("home", function=self.home)
        yield word("join", Parameter(name="code", kinds=(Kind.WORD,)), strangers=True)
        yield word("peers", admin=True)
        yield word("refuse", function=self.refuse, posting=True)
        yield word("fail", function=self.fail)
        yield word("slow", function=self.slow)

    async def post(self, call: Call) -> Answer:
        self.enclosures.append(call.enclosures)
        return self._publish(call, Audience.PUBLIC)

    async def direct(self, call: Call) -> Answer:
        return self._publish(call, Audience.DIRECT, (call.arguments["person"],))

    def _publish(self, call: Call, audience: Audience, readers: tuple[JID, ...] = ()) -> Answer:
        item = self._database.run(publish, call.person.jid, call.arguments["text"], audience=audience, readers=readers)
        return Answer(text="sent", done=ItemAddress(call.person.jid, MICROBLOG, item.id))

    async def home(self, call: Call) -> Answer:
        return await self._page(0)

    async def _page(self, start: int) -> Answer:
        async def more(call: Call) -> Answer:
            return await self._page(start + PAGE)

        def newest(tx: Transaction) -> list[Post]:
            node = tx.nodes.find(JID("benvolio", NODE), MICROBLOG)
            assert node is not None
            return [shown(node, item) for item in reversed(tx.items.newest(node.key, 99))]

        posts = self._database.run(newest)[start : start + PAGE + 1]
        return Answer(text="home", posts=tuple(posts[:PAGE]), more=more if len(posts) > PAGE else None)

    async def refuse(self, call: Call) -> Answer:
        raise NotAllowed("Not today.")

    async def slow(self, call: Call) -> Answer:
        await self.wait
        return Answer(text="at last")

    async def fail(self, call: Call) -> Answer:
        raise RuntimeError("a bug")


def shown(node: Node, item: Item) -> Post:
    entry = atom.read_entry(xml.parse(item.payload))
    assert entry is not None
    return Post(node=node, item=item, entry=entry)


def publish(
    tx: Transaction,
    author: JID,
    text: str,
    *,
    item_id: str | None = None,
    node: str = MICROBLOG,
    service: JID | None = None,
    inside: str = "",
    **more: Any,
) -> Item:
    """Somebody publishes an entry. ``inside``: more of it as XML."""
    title = Element(ns.ATOM, "title", None, text)
    payload = f"<entry xmlns='{ns.ATOM}'>{xml.serialize(title, ns.ATOM)}{inside}</entry>"
    request = publishing.Publish(
        service=service or author,
        node=node,
        actor=author,
        item_id=item_id,
        payload=payload,
        entry=atom.read_entry(xml.parse(payload)),
        **more,
    )
    return publishing.publish(tx, request).item


class Parlour(Square):
    """The square, and the node listens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.lines = ChatLines(self.sessions, self.readers, database, clock, self.tasks, self.outbox.wake)
        self.words = TestWords(database)
        help_ = Help()
        delivery = DeliveryWords(database, clock.now, self.lines.refresh)
        help_.table = table = Table([self.words, delivery, help_])
        people = People(database, NODE)
        self.chat = Chat(self.router, database, clock, self.tasks, people, table, help_, self.lines.began)
        self.chat.talking.waiting = delivery.waiting
        self.messages.node = self.chat.take
        self.presence.to_node = self.lines.listeners.presence_elsewhere
        self.lines.listeners.ask = self.router.send
        self.presence.listeners.append(self.lines)
        follow_lines = FollowLines(database, clock, self.tasks, self.router.send, self.outbox.wake)
        self.follow_lines = follow_lines
        self.following.follows.decided = follow_lines.decided
        self.outbox.suspended.append(follow_lines.suspended)
        self.messages.error_listeners.insert(0, self.outbox.bounced)
        reaction_lines = ReactionLines(self.sessions, database, clock, self.tasks, self.outbox.wake)
        reaction_lines.pace, reaction_lines.keep = self.lines.pace, self.lines.say
        database.listeners += [self.lines.hear, follow_lines.hear, reaction_lines.hear]
        self.settle("romeo", "benvolio", "mercutio")

    def publishes(self, name: str, text: str, **more: Any) -> Item:
        return self.database.run(publish, JID(name, NODE), text, **more)


def says(client: Client, text: str, *, id_: str = "", to: str = NODE, inside: str = "", type_: str = "chat") -> str:
    """Say something to the node, and have the text of the one answer; empty if there was none."""
    answer = answered(client, text, id_=id_, to=to, inside=inside, type_=type_)
    return "" if answer is None else answer.child_text(ns.CLIENT, "body") or ""


def answered(
    client: Client, text: str, *, id_: str = "", to: str = NODE, inside: str = "", type_: str = "chat"
) -> Element | None:
    """The answer itself."""
    body = xml.serialize(Element(ns.CLIENT, "body", None, text), ns.CLIENT) if text else ""
    id_text = f"id='{id_}'" if id_ else ""
    client.sends(f"<message to='{to}' type='{type_}' {id_text}>{body}{inside}</message>")
    answers = [element for element in client.hears() if element.name == "message"]
    assert len(answers) <= 1, answers
    return answers[0] if answers else None


def lines(client: Client) -> list[tuple[str | None, str | None]]:
    """The messages that came: id and text."""
    return [
        (element.get("id"), element.child_text(ns.CLIENT, "body"))
        for element in client.hears()
        if element.name == "message" and element.get("type") == "chat"
    ]
