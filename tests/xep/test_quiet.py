"""What somebody does not want to hear of is not told to them, and nobody else learns of it."""

import random
from time import perf_counter

import pytest

from microblog.commands.command import Table
from microblog.commands.help import Help
from microblog.commands.quiet import QuietWords
from microblog.model.entry import Entry
from microblog.model.event import ItemPublished
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node, profile
from microblog.model.quiet import Blocks, Mute, MuteKind, Traits, traits
from microblog.model.quiet import Quiet as WantedBy
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database
from microblog.usecases import muting, reading
from microblog.wire import atom, ns
from microblog.xep.blocking import Blocking
from microblog.xep.chat import Chat
from microblog.xep.people import People
from microblog.xep.quiet import SWEEP_SECONDS, Quiet
from tests.conftest import START, Time
from tests.im.town import Client
from tests.xep.parlour import NODE, Parlour, lines, says
from tests.xep.square import asks, result, told

ROMEO, BENVOLIO, MERCUTIO = (JID(name, NODE) for name in ("romeo", "benvolio", "mercutio"))
JULIET = JID("juliet", "capulet.example")


class Chamber(Parlour):
    """A parlour where one can have quiet."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.quiet = Quiet(database, clock, Tasks())
        self.quiet.load()
        self.quiet.start()
        self.router.blocks = self.quiet.blocks
        blocking = Blocking(database, self.sessions, self.presence, self.quiet, clock, Tasks())
        self.install(blocking)
        self.lines.hushes = self.timelines.hushes = self.notifications.hushes = self.quiet.hushes
        help_ = Help()
        words = QuietWords(database, clock.now, self.quiet.set_mutes, blocking)
        help_.table = table = Table([self.words, words, help_])
        people = People(database, NODE)
        chat = Chat(self.router, database, clock, self.tasks, people, table, help_, self.lines.began)
        self.messages.node = chat.take

    def follow(self, reader: Client, whom: str) -> None:
        jid = reader.session.jid.bare
        result(asks(reader, "set", f"<subscribe node='{MICROBLOG}' jid='{jid}'/>", to=f"{whom}@{NODE}"))
        reader.hears()

    def home(self, name: str) -> list[str]:
        """What is in somebody's home, by its text."""
        page = self.database.read(reading.home, reading.Reading(actor=JID(name, NODE)))
        found: list[str] = []
        page.addCallback(
            lambda it: found.extend(entry.title for one in it.posts if (entry := atom.read_text(one.item.payload)))
        )
        return found


@pytest.fixture
def chamber(database: Database, clock: Clock) -> Chamber:
    return Chamber(database, clock)


@pytest.fixture
def romeo(chamber: Chamber) -> Client:
    """Romeo talks to the node, and follows the others."""
    client = chamber.online("romeo", "phone")
    says(client, "help")
    for name in ("benvolio", "mercutio"):
        chamber.follow(client, name)
    return client


def texts(client: Client) -> list[str]:
    return [(text or "").rpartition("  #")[0] for _, text in lines(client)]


def both(client: Client) -> tuple[list[str], int]:
    """The lines that came, and the number of notifications."""
    heard = client.hears()
    found = [
        (one.child_text(ns.CLIENT, "body") or "").rpartition("  #")[0] for one in heard if one.get("type") == "chat"
    ]
    return found, len(told(heard))


# mutes


def test_a_person(chamber: Chamber, romeo: Client) -> None:
    mercutio = chamber.online("mercutio", "street")
    assert says(romeo, "mute mercutio") == "Muted: mercutio. Nobody is told."
    chamber.publishes("mercutio", "a plague")
    chamber.publishes("benvolio", "good morrow")
    assert both(romeo) == (["benvolio: good morrow"], 1)
    assert chamber.home("romeo") == ["good morrow"]
    chamber.publishes("mercutio", "@romeo hello", inside=f"<link rel='mentioned' href='xmpp:{ROMEO}'/>")
    assert both(romeo) == ([], 0)
    assert says(romeo, "mutes") == "You have muted 1:\nmercutio"
    assert says(romeo, "unmute mercutio") == "Not muted any more: mercutio."
    assert says(romeo, "mutes") == "You have muted nothing."
    chamber.publishes("mercutio", "on both")
    assert both(romeo) == (["mercutio: on both"], 1)
    # The muted hear nothing of it.
    assert told(mercutio.hears()) == []


def test_words_tags_and_domains(chamber: Chamber, romeo: Client) -> None:
    for said, answer in (
        ("mute plague", 'Muted: "plague". Nobody is told.'),
        ("mute Your   HOUSES", 'Muted: "your houses". Nobody is told.'),
        ('mute "benvolio"', 'Muted: "benvolio". Nobody is told.'),
        ("mute #Feast", "Muted: #feast. Nobody is told."),
        ("mute capulet.example", "Muted: everybody at capulet.example. Nobody is told."),
    ):
        assert says(romeo, said) == answer
    for text, inside in (
        ("a Plague on", ""),
        ("both your houses", ""),
        ("gentle benvolio", ""),
        ("come", "<category term='feast'/>"),
        ("your two houses", ""),
        ("plagues", "<category term='feasts'/>"),
    ):
        chamber.publishes("mercutio", text, inside=inside)
    assert both(romeo) == (["mercutio: your two houses", "mercutio: plagues"], 2)
    assert chamber.home("romeo") == ["plagues", "your two houses"]
    chamber.publishes("benvolio", "benvolio himself is not muted")
    assert both(romeo)[0] == []
    assert says(romeo, "unmute your houses") == 'Not muted any more: "your houses".'
    assert says(romeo, "unmute capulet.example") == "Not muted any more: everybody at capulet.example."
    assert says(romeo, "unmute #feast") == "Not muted any more: #feast."
    assert says(romeo, "unmute all") == "Nothing is muted any more; it was 2."
    chamber.publishes("mercutio", "a plague")
    assert both(romeo) == (["mercutio: a plague"], 1)


def test_for_a_time(chamber: Chamber, romeo: Client, time: Time) -> None:
    assert says(romeo, "mute mercutio for 2h") == "Muted until 2026-01-01 14:00 UTC: mercutio. Nobody is told."
    assert says(romeo, "mute hot days for 90m") == 'Muted until 2026-01-01 13:30 UTC: "hot days". Nobody is told.'
    assert (
        says(romeo, "mutes")
        == 'You have muted 2:\nmercutio, until 2026-01-01 14:00 UTC\n"hot days", until 2026-01-01 13:30 UTC'
    )
    chamber.publishes("mercutio", "one")
    assert both(romeo) == ([], 0) and chamber.home("romeo") == []
    time.advance(7200 - 1)
    chamber.publishes("mercutio", "two")
    assert both(romeo) == ([], 0)
    time.advance(1)
    chamber.publishes("mercutio", "three")
    assert both(romeo) == (["mercutio: three"], 1)
    assert chamber.home("romeo") == ["three", "two", "one"]
    time.advance(SWEEP_SECONDS)
    assert chamber.database.run(muting.everything) == ([], [])
    assert chamber.quiet._by == {} and chamber.quiet._words == {}


def test_a_conversation(chamber: Chamber, romeo: Client) -> None:
    thread = f"xmpp:{BENVOLIO}?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2Froot"
    replies = f"<link rel='replies' href='{thread}'/>"
    chamber.publishes("benvolio", "let us be gone", item_id="root", inside=replies)
    assert both(romeo)[0] == ["benvolio: let us be gone"]
    assert says(romeo, "mute #1") == "Muted: a conversation that benvolio began. Nobody is told."
    root = f"xmpp:{BENVOLIO}?;node=urn%3Axmpp%3Amicroblog%3A0;item=root"
    answer = f"<in-reply-to xmlns='{ns.THREADING}' ref='{root}' href='{root}'/>"
    chamber.publishes("mercutio", "the sport is at the best", inside=replies + answer)
    chamber.publishes("mercutio", "something else")
    assert texts(romeo) == ["mercutio: something else"]
    assert says(romeo, "mutes") == "You have muted 1:\nthe conversation of #1 by benvolio"
    assert chamber.home("romeo") == ["something else"]
    assert says(romeo, "unmute #1") == "Not muted any more: a conversation that benvolio began."


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("mute romeo", "That is you, or your own node."),
        ("mute montague.example", "That is you, or your own node."),
        ("mute one two three four five six seven eight nine ten eleven twelve thirteen", "A person, a domain, a #tag"),
        ("mute !!", "A person, a domain, a #tag"),
        ("unmute mercutio", 'That is not muted. "mutes" shows what is.'),
        ("unmute nothing", 'That is not muted. "mutes" shows what is.'),
        ("block romeo", "That is you, or your own node."),
        ("block montague.example", "That is you, or your own node."),
        ("block nobody", "There is nobody called nobody."),
        ("unblock mercutio", "mercutio is not blocked."),
        ("mute mercutio for", "For how long?"),
    ],
)
def test_what_makes_no_sense_changes_nothing(chamber: Chamber, romeo: Client, said: str, answer: str) -> None:
    assert answer in says(romeo, said)
    assert chamber.database.run(muting.everything) == ([], [])


@pytest.mark.parametrize(
    "said",
    ["mute", "mute mercutio and more", "block", "block party at night", "mute mercutio for ever", "unmute", "unblock"],
)
def test_what_was_not_understood_is_never_posted(chamber: Chamber, romeo: Client, said: str) -> None:
    says(romeo, said)
    assert "yes" not in says(romeo, "yes")
    assert chamber.home("romeo") == [] and chamber.database.run(muting.everything) == ([], [])


def test_what_is_muted_twice(chamber: Chamber, romeo: Client) -> None:
    """By two people, and by one again."""
    benvolio = chamber.online("benvolio", "phone")
    says(benvolio, "help")
    chamber.follow(benvolio, "mercutio")
    for client in (romeo, benvolio):
        assert says(client, "mute plague").startswith("Muted")
    says(romeo, "mute plague for 1h")
    says(romeo, "unmute plague")
    chamber.publishes("mercutio", "a plague")
    assert texts(romeo) == ["mercutio: a plague"] and texts(benvolio) == []


def test_it_lasts(chamber: Chamber, romeo: Client, clock: Clock) -> None:
    says(romeo, "mute plague")
    says(romeo, "mute mercutio for 1h")
    says(romeo, "block juliet@capulet.example")
    again = Quiet(chamber.database, clock, Tasks())
    again.load()
    assert again._by == chamber.quiet._by and again._words == chamber.quiet._words
    assert again._blocks == chamber.quiet._blocks


def test_somebody_gone_can_be_unmuted(chamber: Chamber, romeo: Client) -> None:
    says(romeo, "mute mercutio")
    account = chamber.database.run(lambda tx: tx.accounts.get("mercutio"))
    assert account is not None
    chamber.database.run(lambda tx: tx.accounts.remove(account))
    assert says(romeo, "unmute mercutio") == "Not muted any more: mercutio."


# blocks


def test_block(chamber: Chamber, romeo: Client) -> None:
    mercutio = chamber.online("mercutio", "street")
    says(mercutio, "help")
    chamber.follow(mercutio, "romeo")
    assert says(romeo, "block mercutio").startswith("mercutio is blocked")
    mercutio.hears()
    chamber.publishes("mercutio", "a plague", inside=f"<link rel='mentioned' href='xmpp:{ROMEO}'/>")
    chamber.publishes("romeo", "what less than doomsday", inside=f"<link rel='mentioned' href='xmpp:{MERCUTIO}'/>")
    assert "plague" not in " ".join(texts(romeo)) and texts(mercutio) == []
    assert chamber.home("romeo") == ["what less than doomsday"] and chamber.home("mercutio") == ["a plague"]
    assert says(romeo, "block capulet.example").startswith("Everybody at capulet.example is blocked")
    assert says(romeo, "block juliet@capulet.example").startswith("juliet@capulet.example is blocked")
    assert says(romeo, "Block juliet@capulet.example") == "juliet@capulet.example was blocked already."
    assert says(romeo, "blocks") == "You have blocked 3:\ncapulet.example\njuliet@capulet.example\nmercutio"
    assert says(romeo, "unblock capulet.example").startswith("capulet.example is not blocked any more")
    assert says(romeo, "unblock all") == "Nobody is blocked any more; it was 2."
    assert says(romeo, "blocks") == "You have blocked nobody."


# what is in memory


def test_it_is_the_same_in_memory_and_in_the_database(database: Database, clock: Clock) -> None:
    """Whoever is hushed is who would not be shown it, whatever is muted and blocked."""
    chamber = Chamber(database, clock)
    draw = random.Random(191)
    people = (ROMEO, BENVOLIO, MERCUTIO, JULIET, JID("nurse", "capulet.example"))
    for n in range(60):
        for account in (ROMEO, BENVOLIO, MERCUTIO):
            kinds = {
                MuteKind.PERSON: [str(jid) for jid in people if jid != account],
                MuteKind.DOMAIN: ["capulet.example", "verona.example"],
                MuteKind.TAG: ["feast", "plague"],
                MuteKind.WORD: ["plague", "both your", "houses"],
                MuteKind.THREAD: ["xmpp:a@b.example?;node=n;item=1"],
            }
            mutes = [
                Mute(kind=kind, value=draw.choice(kinds[kind]))
                for kind in draw.sample(list(MuteKind), draw.randrange(3))
            ]
            chamber.quiet.set_mutes(account, mutes)
            blocked = draw.sample(
                [jid for jid in (*people, JID("", "capulet.example")) if jid != account], draw.choice((0, 0, 1))
            )
            chamber.quiet.set_blocks(account, Blocks.of(blocked))
        author = draw.choice(people)
        text = " ".join(draw.sample(["a", "plague", "on", "both", "your", "houses"], 4))
        tag = draw.choice(["feast", "plague", "other"])
        payload = f"<entry xmlns='{ns.ATOM}'><title>{text}</title><category term='{tag}'/></entry>"
        via = draw.choice(["", f"xmpp:{draw.choice(people)}?;node=urn%3Axmpp%3Amicroblog%3A0;item=1"])
        thread = draw.choice(["", "xmpp:a@b.example?;node=n;item=1"])
        item = Item(
            id=f"i{n}", publisher=author, payload=payload, published=START, updated=START, via=via, thread=thread
        )
        node = Node(key=1, service=draw.choice((author, author, BENVOLIO)), name=MICROBLOG, config=profile(MICROBLOG))
        hushed = chamber.quiet.hushes(ItemPublished(seq=1, node=node, item=item))
        post = traits(node.service, node.name, item, atom.read_text(payload))
        for account in (ROMEO, BENVOLIO, MERCUTIO):
            assert (account in hushed) == wanted_by(chamber.quiet, account).hides(post), (account, post)
    for account in (ROMEO, BENVOLIO, MERCUTIO):
        chamber.quiet.set_mutes(account, ())
        chamber.quiet.set_blocks(account, Blocks())
    assert not (chamber.quiet._by or chamber.quiet._words or chamber.quiet._blocked_by or chamber.quiet._tags)


def wanted_by(quiet: Quiet, account: JID) -> WantedBy:
    """What one reader does not want, made of what is in memory."""
    values = {kind: [one.value for one in quiet._mutes.get(account, ()) if one.kind is kind] for kind in MuteKind}
    return WantedBy(
        reader=account,
        people=frozenset(map(JID.parse, values[MuteKind.PERSON])),
        domains=frozenset(values[MuteKind.DOMAIN]),
        tags=frozenset(values[MuteKind.TAG]),
        threads=frozenset(values[MuteKind.THREAD]),
        words=tuple(f" {words} " for words in values[MuteKind.WORD]),
        avoided=quiet.of(account),
        avoiding=frozenset(jid for jid in (ROMEO, BENVOLIO, MERCUTIO) if quiet.of(jid).match(account)),
    )


def test_who_is_read_again_while_somebody_says_something(chamber: Chamber, romeo: Client) -> None:
    """A block that is made while everything is read again is not forgotten."""
    says(romeo, "block mercutio")
    chamber.quiet.changed()
    assert chamber.quiet.blocks(ROMEO, MERCUTIO)
    chamber.database.run(lambda tx: tx.blocks.remove(1, MERCUTIO))
    chamber.quiet.linked()
    assert not chamber.quiet.blocks(ROMEO, MERCUTIO)


def pubsub(type_: str, content: str, to: str) -> str:
    return f"<iq type='{type_}' id='p' to='{to}'><pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub></iq>"


def test_nothing_of_whoever_is_blocked_reaches_a_client(chamber: Chamber, romeo: Client) -> None:
    """All that one can do who is blocked, in any order: no byte of it, and nobody else is kept from anything."""
    mercutio, benvolio = chamber.online("mercutio", "street"), chamber.online("benvolio", "street")
    for client in (mercutio, benvolio):
        says(client, "help")
    chamber.befriend("romeo", "mercutio")
    chamber.follow(mercutio, "romeo")
    chamber.follow(benvolio, "romeo")
    chamber.publishes("romeo", "soft what light", item_id="light")
    chamber.publishes("benvolio", "good morrow", item_id="morrow")
    romeo.hears()
    says(romeo, "block mercutio")
    for client in (romeo, mercutio, benvolio):
        client.hears()
    to, me, feed = str(ROMEO), str(MERCUTIO), MICROBLOG
    entry = f"<entry xmlns='{ns.ATOM}'><title>queen mab</title><link rel='mentioned' href='xmpp:{to}'/></entry>"
    comments = f"{feed}:comments/light"
    deeds = [
        f"<message to='{to}' type='chat'><body>queen mab</body></message>",
        f"<message to='{to}/phone'><body>queen mab</body></message>",
        f"<message to='{to}' type='headline'><event xmlns='{ns.PUBSUB_EVENT}'><items node='{feed}'/></event></message>",
        f"<message to='{to}'><x xmlns='jabber:x:data' type='submit'/><body>queen mab</body></message>",
        f"<presence to='{to}'/>",
        f"<presence to='{to}' type='subscribe'/>",
        f"<presence to='{to}' type='unsubscribe'/>",
        f"<presence to='{to}' type='probe'/>",
        "<presence><status>queen mab</status></presence>",
        f"<iq type='get' id='1' to='{to}/phone'><ping xmlns='urn:xmpp:ping'/></iq>",
        pubsub("set", f"<subscribe node='{feed}' jid='{me}'/>", to),
        pubsub("get", f"<items node='{feed}'/>", to),
        pubsub("set", f"<publish node='{comments}'><item id='c'>{entry}</item></publish>", to),
        pubsub("set", f"<publish node='{feed}'><item>{entry}</item></publish>", me),
        pubsub("set", f"<publish node='{feed}:comments/morrow'><item>{entry}</item></publish>", str(BENVOLIO)),
        f"<iq type='result' id='7' to='{to}/phone'/>",
        f"<message to='{NODE}' type='chat'><body>@romeo queen mab</body></message>",
    ]
    draw = random.Random(77)
    answered = 0
    for _ in range(6):
        draw.shuffle(deeds)
        for deed in deeds:
            mercutio.sends(deed)
            answered += len(mercutio.hears())
            written = b"".join(romeo.line.written).decode()
            assert "mercutio" not in written and "mab" not in written, deed
    assert answered > 20
    assert "queen mab" in " ".join(chamber.home("mercutio")) and "queen mab" not in " ".join(chamber.home("romeo"))
    # What he does elsewhere others hear of: Benvolio's thread is Benvolio's.
    assert any("mab" in (one.child_text(ns.CLIENT, "body") or "") for one in benvolio.hears())


def test_what_others_have_muted_costs_a_post_nothing(chamber: Chamber) -> None:
    """Rows of words that begin as a word of the post does are not gone through one by one."""
    entry = Entry(content="the thing " * 2000 + "the w7 x12")
    post = Traits(author=JULIET, people=frozenset({JULIET}), entry=entry)
    assert post.words and post.line

    def seconds() -> float:
        best = 1.0
        for _ in range(3):
            began = perf_counter()
            assert list(chamber.quiet._muting(post)) == [JID("a7", "montague.example")]
            best = min(best, perf_counter() - began)
        return best

    few = [Mute(kind=MuteKind.WORD, value="the w7 x12")]
    chamber.quiet.set_mutes(JID("a7", "montague.example"), few)
    alone = seconds()
    for n in range(20):
        rows = [f"the w{n} x{m}" for m in range(1000) if n != 7 or m == 12]
        mutes = [Mute(kind=MuteKind.WORD, value=row) for row in rows]
        chamber.quiet.set_mutes(JID(f"a{n}", "montague.example"), mutes)
    assert seconds() < 20 * alone, "it was a thousand times as much"
    for n in range(20):
        chamber.quiet.set_mutes(JID(f"a{n}", "montague.example"), ())
    assert not chamber.quiet._words


def test_only_whose_mutes_end_is_looked_at(chamber: Chamber, romeo: Client) -> None:
    for n in range(50):
        mutes = [Mute(kind=MuteKind.TAG, value="feast")]
        chamber.quiet.set_mutes(JID(f"a{n}", "montague.example"), mutes)
    says(romeo, "mute #plague for 2h")
    says(romeo, "mute #feast for 1h")
    assert list(chamber.quiet._ends) == [ROMEO]
    before = chamber.quiet._ends[ROMEO]
    says(romeo, "unmute #feast")
    assert chamber.quiet._ends[ROMEO] > before
    says(romeo, "unmute all")
    assert not chamber.quiet._ends
