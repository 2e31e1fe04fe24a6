"""Places and rules, as people say them and hear of them."""

from functools import partial

import pytest
from twisted.internet.defer import Deferred, fail

from microblog.commands.command import Table
from microblog.commands.help import Help
from microblog.commands.places import Hands, PlaceWords
from microblog.commands.posting import Posting, PostingWords
from microblog.model.errors import ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.database import Database, Transaction
from microblog.usecases import acting, ruling
from microblog.wire import atom, ns
from microblog.xep.chat import Chat
from microblog.xep.microblog import prepare
from microblog.xep.people import People
from microblog.xep.rules import BACK_SECONDS, IDLE_SECONDS, RETRY_SECONDS, Rules
from tests.conftest import Time
from tests.im.town import Client
from tests.xep.parlour import NODE, Parlour, lines, says
from tests.xep.square import asks
from tests.xep.test_chatlines import follow

ROMEO, MERCUTIO = (JID(name, NODE) for name in ("romeo", "mercutio"))
SQUARE = "45.438,10.992"
NEARBY = "<geoloc xmlns='http://jabber.org/protocol/geoloc'><lat>45.439</lat><lon>10.993</lon></geoloc>"


class Verona(Parlour):
    """The parlour, with words for places and rules."""

    def __init__(self, database: Database, time: Time) -> None:
        super().__init__(database, time.clock)
        self.time = time
        self.refuses = False
        self.posting = Posting(database, time.now, partial(prepare, characters_max=500), self._may_post)
        self.rules = self.runs()
        self.called = 0
        self.rules.called = self._called
        help_ = Help()
        hands = Hands(
            lambda: self.rules.changed(),
            lambda keys: self.rules.ended(keys),
            lambda: self.rules.sharing(),
            lambda jid, text: self.rules.tell(jid, text),
        )
        help_.table = table = Table(
            [PostingWords(database, self.posting), PlaceWords(database, self.posting, hands), help_]
        )
        people = People(database, NODE)
        self.chat = Chat(self.router, database, time.clock, self.tasks, people, table, help_, self.lines.began)
        self.messages.node = self.chat.take
        self.presence.listeners.append(self.rules)
        database.listeners.append(lambda event: self.rules.hear(event))
        self.passes()

    def runs(self) -> Rules:
        """A server that has just been started."""
        rules = Rules(
            self.sessions,
            self.database,
            self.posting,
            self.lines,
            self.clock,
            self.tasks,
            send=self.router.send,
            wake=self.outbox.wake,
        )
        rules.start()
        return rules

    def _may_post(self, account: JID) -> None:
        if self.refuses:
            raise ResourceConstraint("wait a little")

    def _called(self) -> None:
        self.called += 1

    def passes(self, seconds: float = 0.2) -> None:
        for _ in range(4):
            self.time.advance(seconds / 4)

    def talks(self, name: str) -> Client:
        client = self.online(name, "phone")
        says(client, "help")
        client.hears()
        return client

    def feed(self, of: JID) -> list[str]:
        node = self.database.run(lambda tx: tx.nodes.find(of, MICROBLOG))
        assert node is not None
        items = self.database.run(lambda tx: tx.items.newest(node.key, 99))
        return [(atom.read_text(item.payload) or pytest.fail("no entry")).text for item in items]


@pytest.fixture
def verona(database: Database, time: Time) -> Verona:
    return Verona(database, time)


@pytest.fixture
def romeo(verona: Verona) -> Client:
    client = verona.talks("romeo")
    assert says(client, f"place Square is {SQUARE} 1km") == "Square is 45.438,10.992 1 km now."
    return client


def bodies(client: Client) -> list[str | None]:
    return [body for _, body in lines(client)]


# places


def test_one_says_where_one_is_and_takes_it_back(romeo: Client) -> None:
    assert says(romeo, "place") == 'This node does not know where you are. Say "place NAME".'
    assert says(romeo, "place square") == "You are at Square, as far as this node knows."
    assert says(romeo, "place 45.5, 11.2").startswith("I know no place")
    assert says(romeo, "place 45.5004,11.2") == "You are near 45.500,11.200, as far as this node knows."
    assert says(romeo, "places") == (
        "Square: 45.438,10.992 1 km\nYou are near 45.500,11.200, as far as this node knows."
    )
    assert says(romeo, "place off") == "This node does not know any more where you are."
    assert says(romeo, "places") == "Square: 45.438,10.992 1 km"
    assert says(romeo, "place forget SQUARE") == "SQUARE is no place of yours any more."
    assert says(romeo, "places") == 'You have named no place yet. "place NAME is 52.520,13.405" names one.'


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("place Globe is 91,0", "91,0 is no place"),
        ("place Globe is 51.5,-0.1 9km far", "51.5,-0.1 9km far is no place"),
        ("place Globe is 51.5,-0.1 1m", "A place is at least 100 m"),
        ("place here is 51.5,-0.1", "A place cannot be called here"),
        ("place " + "x" * 70 + " is 51.5,-0.1", "A place cannot be called"),
        ("place Globe is 51.5,-0.1 shared", "Only administrators"),
        ("place share", 'Say "place share on"'),
        ("place share maybe", 'Say "place share on"'),
        ("place forget Globe", "You have named no place Globe"),
        ("place allow paris", "There is nobody here called paris"),
        ("place allow paris@elsewhere.example", "There is nobody here called paris@elsewhere.example"),
        ("place " + "a " * 900, "I know no place called a a"),
        ("near Globe", "I know no place called Globe"),
        ("at Globe: To be", "Nothing was posted. I know no place called Globe"),
        ("at here: To be", "Nothing was posted. I do not know where you are"),
        ("rule of thumb", 'A rule is written "rule when'),
        ("rules are rules", 'Say "rules", or "rules about me"'),
        ("unrule 9", "There is no such rule"),
        ("unrule 9 benvolio", "There is no such rule"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_posted(verona: Verona, romeo: Client, text: str, answer: str) -> None:
    assert says(romeo, text).startswith(answer)
    assert verona.feed(ROMEO) == []


def test_a_word_of_a_place_in_a_sentence_is_a_post_or_asked_about(verona: Verona, romeo: Client) -> None:
    says(romeo, "places I have been to")
    assert verona.feed(ROMEO) == ["places I have been to"]
    assert "yes" in says(romeo, "at home at last")
    assert len(verona.feed(ROMEO)) == 1


def test_a_post_says_where_it_is(verona: Verona, romeo: Client) -> None:
    assert says(romeo, "at Square: Part, fools!").startswith("#1 sent to")
    [item] = verona.database.run(lambda tx: tx.items.newest(tx.nodes.find(ROMEO, MICROBLOG).key, 9))
    entry = atom.read_text(item.payload)
    assert entry is not None and entry.location is not None
    where = entry.location
    assert (where.latitude, where.longitude, where.text) == (45.438, 10.992, "Square")
    says(romeo, "place 45.5004,11.2")
    says(romeo, "at here: And now there")
    assert "<lat>45.500</lat>" in verona.database.run(
        lambda tx: tx.items.newest(tx.nodes.find(ROMEO, MICROBLOG).key, 1)[0].payload
    )


# rules


def test_a_rule_tells_of_posts(verona: Verona, romeo: Client) -> None:
    assert says(romeo, "rule when #feast appears near Square then tell me") == (
        "Rule 1: when #feast appears near Square then tell me"
    )
    verona.publishes("benvolio", "The #feast", inside=f"<category term='feast'/>{NEARBY}")
    verona.publishes("benvolio", "Another #feast", inside="<category term='feast'/>")
    assert bodies(romeo) == [], "not yet"
    verona.passes()
    assert bodies(romeo) == ["[rule 1] benvolio: The #feast  #1"]
    verona.passes()
    assert bodies(romeo) == []
    assert says(romeo, "rules") == "1: when #feast appears near Square then tell me (once)"
    assert says(romeo, "unrule 1") == "Ended: when #feast appears near Square then tell me"
    verona.publishes("benvolio", "The #feast", inside=f"<category term='feast'/>{NEARBY}")
    verona.passes()
    assert bodies(romeo) == []
    assert says(romeo, "rules") == 'You have no rules. "help rule" says how one is made.'


def test_what_came_as_a_line_already_is_pointed_at(verona: Verona, romeo: Client) -> None:
    follow(verona, romeo, "benvolio")
    says(romeo, "rule when anyone posts near Square then tell me")
    verona.publishes("benvolio", "I am for you", inside=NEARBY)
    assert bodies(romeo) == ["benvolio: I am for you  #1"]
    verona.passes()
    assert bodies(romeo) == ["Rule 1, anyone posts near Square: #1"]


def test_a_rule_posts_and_its_post_fires_nothing(verona: Verona, romeo: Client) -> None:
    mercutio = verona.talks("mercutio")
    assert says(romeo, "rule when #dance appears then post We #dance, too") == (
        "Rule 1: when #dance appears then post We #dance, too"
    )
    says(mercutio, "rule when #dance appears then post Nay, we must have you #dance")
    verona.publishes("benvolio", "Let us #dance", inside="<category term='dance'/>")
    for _ in range(3):
        verona.passes()
    assert verona.feed(ROMEO) == ["We #dance, too"]
    assert verona.feed(MERCUTIO) == ["Nay, we must have you #dance"]
    [item] = verona.database.run(lambda tx: tx.items.newest(tx.nodes.find(ROMEO, MICROBLOG).key, 9))
    assert f"<automatic xmlns='{ns.RULES}'/>" in item.payload


def test_a_post_that_is_refused_for_now_is_made_later(verona: Verona, romeo: Client) -> None:
    says(romeo, "rule when #feast appears then post There!")
    verona.refuses = True
    verona.publishes("benvolio", "#feast", inside="<category term='feast'/>")
    verona.passes()
    assert verona.feed(ROMEO) == []
    verona.refuses = False
    verona.passes(RETRY_SECONDS + 1)
    assert verona.feed(ROMEO) == ["There!"]
    verona.passes(61)
    verona.refuses = True
    verona.publishes("benvolio", "#feast", inside="<category term='feast'/>")
    romeo.hears()
    for _ in range(3700 // RETRY_SECONDS):
        verona.passes(RETRY_SECONDS)
    assert verona.feed(ROMEO) == ["There!"]
    assert bodies(romeo) == ["Rule 1 could not post: wait a little"]
    assert verona.database.run(acting.due) == ()


def test_who_posts_too_much_holds_up_nobody_elses_rules(
    verona: Verona, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acting, "DUE_AT_ONCE", 3)
    mercutio = verona.talks("mercutio")
    for number in range(4):
        says(mercutio, f"rule when #feast appears then post Once more {number}")
    says(romeo, "rule when #feast appears then tell me")
    verona.refuses = True
    verona.publishes("benvolio", "#feast", inside="<category term='feast'/>")
    verona.passes()
    assert bodies(romeo) == ["[rule 1] benvolio: #feast  #1"]
    assert verona.feed(MERCUTIO) == []
    verona.refuses = False
    verona.passes(RETRY_SECONDS + 1)
    assert sorted(verona.feed(MERCUTIO)) == [f"Once more {number}" for number in range(4)]


def test_rules_rest_while_nobody_has_one(verona: Verona) -> None:
    verona.publishes("benvolio", "Good morrow")
    verona.passes()
    verona.database.run(lambda tx: tx.events.last())
    before = verona.database.run(lambda tx: tx.trails.position(acting.TRAIL))
    verona.publishes("benvolio", "Good night")
    verona.passes()
    assert verona.database.run(lambda tx: tx.trails.position(acting.TRAIL)) == before
    verona.passes(IDLE_SECONDS + 1)
    verona.passes()
    assert verona.database.run(lambda tx: tx.trails.position(acting.TRAIL)) > before


def test_what_was_decided_before_the_server_died_is_done_by_the_next(verona: Verona, romeo: Client) -> None:
    says(romeo, "rule when #feast appears then post There!")
    says(romeo, "rule when #feast appears then tell me")
    verona.rules.stop()
    verona.rules.hear = lambda event: None  # type: ignore[method-assign]  # it is dead
    verona.publishes("benvolio", "#feast", inside="<category term='feast'/>")
    verona.database.run(acting.step, acting.Watched(), atom.read_geoloc)
    assert verona.feed(ROMEO) == []
    verona.rules = verona.runs()
    verona.passes()
    assert verona.feed(ROMEO) == ["There!"]
    assert bodies(romeo) == ["[rule 2] benvolio: #feast  #2"]


# people


def test_who_is_asked_is_told_and_decides(verona: Verona, romeo: Client) -> None:
    benvolio = verona.talks("benvolio")
    assert says(romeo, "rule when benvolio enters Square then tell me") == (
        "Rule 1: when benvolio enters Square then tell me\n"
        "benvolio is asked whether that is all right; until then it waits."
    )
    assert bodies(benvolio) == [
        "romeo asks to be told when you are at Square (45.438,10.992 1 km) or leave it. "
        'Say "place allow romeo" or "place deny romeo". "rules about me" shows it.'
    ]
    assert says(romeo, "rule when benvolio leaves Square then tell me").endswith(
        "It waits until benvolio says that it is all right."
    )
    assert bodies(benvolio) == [], "once"
    assert says(romeo, "rules") == (
        "1: when benvolio enters Square then tell me (waits for benvolio)\n"
        "2: when benvolio leaves Square then tell me (waits for benvolio)"
    )
    assert says(benvolio, "rules about me") == (
        "1 of romeo: when benvolio enters Square then tell me (waits for you: place allow romeo)\n"
        "2 of romeo: when benvolio leaves Square then tell me (waits for you: place allow romeo)\n"
        '"unrule NUMBER NAME" ends one.'
    )
    assert says(benvolio, "places").endswith("They ask whether their rules may go by where you are: romeo")
    says(benvolio, "place 45.438,10.992")
    verona.passes()
    assert bodies(romeo) == []
    assert says(benvolio, "place allow romeo").startswith("Rules of romeo may go by where you are.")
    says(benvolio, "place 1,1")
    verona.passes()
    assert bodies(romeo) == ["Rule 2: benvolio has left Square."]
    says(benvolio, "place 45.4384,10.9924")
    verona.passes()
    assert bodies(romeo) == ["Rule 1: benvolio has come to Square."]
    assert says(benvolio, "unrule 1 romeo") == "Ended: when benvolio enters Square then tell me"
    assert bodies(romeo) == ["benvolio has ended your rule 1: when benvolio enters Square then tell me"]
    assert says(benvolio, "place deny romeo") == "No rule of romeo goes by where you are."
    assert says(romeo, "rules") == 'You have no rules. "help rule" says how one is made.'
    assert says(romeo, "rule when benvolio enters Square then tell me") == (
        "benvolio does not allow your rules to go by where they are."
    )


def moves_to_mantua(verona: Verona) -> None:
    """Romeo has an address there, too."""

    def link(tx: Transaction) -> None:
        account = tx.accounts.get("romeo")
        assert account is not None
        tx.linked.add(JID("romeo", "mantua.example"), account.key, asked_there=True, confirmed=True)

    verona.database.run(link)
    verona.lines.changed(ROMEO)
    verona.passes()
    in_mantua(verona)


def in_mantua(verona: Verona) -> list[str | None]:
    return [element.child_text(ns.CLIENT, "body") for element in verona.world.hears("mantua.example")]


def test_that_there_is_a_local_post_is_not_told_elsewhere(verona: Verona, romeo: Client) -> None:
    moves_to_mantua(verona)
    follow(verona, romeo, "benvolio")
    says(romeo, "rule when anyone posts near Square then tell me")
    in_mantua(verona)
    verona.publishes("benvolio", "lunch", inside=NEARBY, audience=Audience.LOCAL)
    verona.passes()
    assert bodies(romeo) == ["(local) benvolio: lunch  #1", "Rule 1, anyone posts near Square: #1"]
    assert in_mantua(verona) == []
    verona.publishes("benvolio", "dinner", inside=NEARBY)
    verona.passes()
    assert in_mantua(verona) == ["benvolio: dinner  #2", "Rule 1, anyone posts near Square: #2"]


def test_where_another_is_is_not_told_elsewhere(verona: Verona, romeo: Client) -> None:
    benvolio = verona.talks("benvolio")
    says(romeo, "rule when benvolio enters Square then tell me")
    says(romeo, "rule when I enter Square then tell me")
    benvolio.hears()
    says(benvolio, "place allow romeo")

    moves_to_mantua(verona)
    bodies(romeo)

    def elsewhere() -> list[str | None]:
        return in_mantua(verona)

    says(benvolio, f"place {SQUARE}")
    verona.passes()
    assert bodies(romeo) == ["Rule 1: benvolio has come to Square."] and elsewhere() == []
    says(romeo, f"place {SQUARE}")
    verona.passes()
    assert "Rule 2: romeo has come to Square." in elsewhere()
    # Who is not here with a client of their own is told when they are.
    romeo.leaves()
    verona.passes()
    for _ in range(acting.BACK_MAX + 1):
        says(benvolio, "place 1,1")
        says(benvolio, f"place {SQUARE}")
    verona.passes(IDLE_SECONDS + 1)
    verona.passes()
    assert elsewhere() == []
    romeo = verona.online("romeo", "phone")
    verona.passes(BACK_SECONDS + 1)
    verona.passes(IDLE_SECONDS + 1)
    assert [body for body in bodies(romeo) if body and "ule 1" in body] == [
        "Rule 1, benvolio enters Square: 4 times while you were away. The last of it:",
        *["Rule 1: benvolio has come to Square."] * 3,
    ]
    assert elsewhere() == []


def test_a_client_shares_where_its_owner_is(verona: Verona, romeo: Client) -> None:
    says(romeo, "rule when I enter Square then post I am here")
    publish = f"<publish node='{ns.GEOLOC}'><item id='current'>{NEARBY}</item></publish>"
    asks(romeo, "set", publish)
    verona.passes()
    assert says(romeo, "place").startswith("This node does not know")
    asks(romeo, "set", f"<retract node='{ns.GEOLOC}'><item id='current'/></retract>")
    assert says(romeo, "place share on") == "From now on your client may tell this node where you are (XEP-0080)."
    asks(romeo, "set", publish)
    verona.passes()
    assert verona.feed(ROMEO) == ["I am here"]
    assert says(romeo, "place") == "You are near 45.439,10.993, as far as this node knows."
    asks(romeo, "set", f"<retract node='{ns.GEOLOC}'><item id='current'/></retract>")
    verona.passes(61)
    assert says(romeo, "place").startswith("This node does not know")
    assert says(romeo, "place share off").startswith("What your client says")


def test_the_street_that_a_client_tells_is_not_kept_nor_posted(verona: Verona, romeo: Client) -> None:
    says(romeo, "place share on")
    precise = NEARBY.replace("</geoloc>", "<street>Via Cappello 23</street><text>The second balcony</text></geoloc>")
    asks(romeo, "set", f"<publish node='{ns.GEOLOC}'><item id='current'>{precise}</item></publish>")
    verona.passes()
    assert says(romeo, "place") == "You are near 45.439,10.993, as far as this node knows."
    says(romeo, "at here: But soft")
    [item] = verona.database.run(lambda tx: tx.items.newest(tx.nodes.find(ROMEO, MICROBLOG).key, 9))
    assert "45.439" in item.payload and "Cappello" not in item.payload and "balcony" not in item.payload


@pytest.mark.parametrize("verb", ["purge", "delete"])
def test_a_client_that_takes_back_all_it_said_is_believed(verona: Verona, romeo: Client, verb: str) -> None:
    says(romeo, "place share on")
    asks(romeo, "set", f"<publish node='{ns.GEOLOC}'><item id='current'>{NEARBY}</item></publish>")
    verona.passes()
    assert says(romeo, "place") == "You are near 45.439,10.993, as far as this node knows."
    romeo.sends(f"<iq type='set' id='o'><pubsub xmlns='{ns.PUBSUB_OWNER}'><{verb} node='{ns.GEOLOC}'/></pubsub></iq>")
    verona.passes(61)
    assert [element.get("type") for element in romeo.hears() if element.name == "iq"] == ["result"]
    assert says(romeo, "place").startswith("This node does not know")


def test_who_was_blocked_meanwhile_is_not_told_where_somebody_went(verona: Verona, romeo: Client) -> None:
    benvolio = verona.talks("benvolio")
    says(romeo, "rule when benvolio enters Square then tell me")
    benvolio.hears()
    says(benvolio, "place allow romeo")
    romeo.leaves()
    verona.passes()
    says(benvolio, f"place {SQUARE}")
    verona.passes()

    def block(tx: Transaction) -> None:
        account = tx.accounts.get("benvolio")
        assert account is not None
        tx.blocks.add(account.key, ROMEO)

    verona.database.run(block)
    romeo = verona.online("romeo", "phone")
    verona.passes(BACK_SECONDS + 1)
    assert bodies(romeo) == []
    assert verona.database.run(acting.due) == ()


def test_a_database_that_was_busy_is_asked_again_who_has_rules(verona: Verona, romeo: Client) -> None:
    read = verona.database.read

    def busy(*args: object, **more: object) -> Deferred[object]:
        return fail(ResourceConstraint("busy"))

    verona.database.read = busy  # type: ignore[method-assign, assignment]  # for a moment
    verona.rules.changed()
    verona.passes()
    verona.database.read = read  # type: ignore[method-assign]  # as it was

    def rule(tx: Transaction) -> None:
        account = tx.accounts.get("romeo")
        assert account is not None
        ruling.make(tx, ruling.Make(account=account, text="when I come online then post Good morrow"))

    verona.database.run(rule)
    romeo.leaves()
    verona.passes(IDLE_SECONDS + 1)
    verona.online("romeo", "phone")
    verona.passes()
    assert verona.feed(ROMEO) == ["Good morrow"]


def test_coming_on_line_is_something_that_happens(verona: Verona, romeo: Client) -> None:
    says(romeo, "rule when I come online then post Good morrow")
    verona.passes()
    other = verona.online("romeo", "desk")
    verona.passes()
    assert verona.feed(ROMEO) == [], "he was there already"
    romeo.leaves()
    other.leaves()
    verona.online("romeo", "phone")
    verona.passes()
    assert verona.feed(ROMEO) == ["Good morrow"]


def test_programs_are_told_that_they_are_called(verona: Verona, romeo: Client) -> None:
    assert says(romeo, "rule when #feast appears then call bell") == "You have no program called bell."
    before = verona.called
    says(romeo, "rule when #feast appears then tell me")
    verona.publishes("benvolio", "#feast", inside="<category term='feast'/>", audience=Audience.LOCAL)
    verona.passes()
    assert verona.called > before


def test_who_was_away_is_told_when_they_are_back_the_last_of_it_if_it_was_much(verona: Verona, romeo: Client) -> None:
    says(romeo, "rule when #feast appears then tell me")
    says(romeo, "rule when mercutio posts then tell me")
    romeo.leaves()
    verona.publishes("mercutio", "Nay, gentle Romeo")
    for number in range(5):
        verona.publishes("benvolio", f"#feast {number}", inside="<category term='feast'/>")
    verona.passes()
    assert verona.database.run(acting.due) == ()
    # The server is another one by then.
    verona.rules.stop()
    verona.rules = verona.runs()
    verona.presence.listeners.append(verona.rules)
    verona.passes()
    romeo = verona.online("romeo", "phone")
    verona.passes(BACK_SECONDS + 1)
    told = [body for body in bodies(romeo) if body and "ule " in body]
    assert told == [
        "Rule 1, #feast appears: 5 times while you were away. The last of it:",
        "[rule 2] mercutio: Nay, gentle Romeo  #1",
        "[rule 1] benvolio: #feast 2  #2",
        "[rule 1] benvolio: #feast 3  #3",
        "[rule 1] benvolio: #feast 4  #4",
    ]
    verona.passes(61)
    assert bodies(romeo) == []
    romeo.leaves()
    verona.publishes("mercutio", "You have dancing shoes")
    verona.passes()
    verona.passes(8 * 86_400)
    verona.database.run(acting.forget)
    romeo = verona.online("romeo", "phone")
    verona.passes(BACK_SECONDS + 1)
    assert [body for body in bodies(romeo) if body and "rule" in body] == []
