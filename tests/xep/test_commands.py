"""XEP-0050: commands are filled in as forms, step by step, by those who may."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Post, Table
from microblog.model.account import Account
from microblog.model.entry import Entry
from microblog.model.errors import NotAllowed
from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.uri import ItemAddress, item_uri
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.commands import SESSION_SECONDS, Commands
from microblog.xep.disco import Disco
from tests.conftest import DOMAIN, START, Time
from tests.im.town import Client, Town
from tests.xmltext import read

ROMEO, JULIET = JID("romeo", DOMAIN), JID("juliet", DOMAIN)
FEED = "urn:xmpp:microblog:0"


class Verona:
    """A few words."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuses = False

    def commands(self) -> Iterable[Command]:
        person = Parameter(name="who", kinds=(Kind.PERSON,))
        yield Command(name="sigh", group="verona", function=self.note("sigh"))
        yield Command(
            name="call",
            group="verona",
            function=self.note("call"),
            parameters=(
                Parameter(name="words", kinds=(Kind.TEXT,)),
                Parameter(name="voice", kinds=(Kind.CHOICE,), choices=("low", "loud"), required=False),
                Parameter(name="often", kinds=(Kind.NUMBER,), required=False),
                Parameter(name="twice", kinds=(Kind.FLAG,), required=False),
                Parameter(name="topic", kinds=(Kind.WORD,), required=False),
            ),
        )
        yield Command(name="kiss", group="verona", function=self.note("kiss"), parameters=(person,))
        yield Command(
            name="write",
            group="verona",
            function=self.note("write"),
            parameters=(person, Parameter(name="words", kinds=(Kind.TEXT,))),
        )
        yield Command(
            name="burn",
            group="verona",
            function=self.note("burn"),
            parameters=(Parameter(name="letter", kinds=(Kind.ITEM,), newest=True),),
            destructive=True,
        )
        yield Command(
            name="forgive",
            group="verona",
            function=self.note("forgive"),
            parameters=(Parameter(name="who", kinds=(Kind.CHOICE, Kind.PERSON), choices=("all",)),),
        )
        yield Command(
            name="find",
            group="verona",
            function=self.note("find"),
            parameters=(Parameter(name="what", kinds=(Kind.ITEM, Kind.TEXT), required=False),),
        )
        yield Command(name="letters", group="verona", function=self.letters)
        yield Command(name="enter", group="verona", function=self.note("enter"), strangers=True)

    def note(self, name: str) -> Any:
        async def run(call: Call) -> Answer:
            if self.refuses:
                raise NotAllowed("the nurse is watching")
            self.calls.append((name, dict(call.arguments)))
            return Answer(text=f"{name}!")

        return run

    async def letters(self, call: Call, number: int = 1) -> Answer:
        node = Node(key=1, service=ROMEO, name=FEED)
        item = Item(id=f"l{number}", publisher=ROMEO, payload="", published=START, updated=START)
        more = None if number == 2 else lambda call: self.letters(call, number + 1)
        return Answer(posts=(Post(node=node, item=item, entry=Entry(title=f"Letter {number}")),), more=more)


class Prince:
    """Words of the prince."""

    def __init__(self) -> None:
        self.banished: list[Any] = []

    def commands(self) -> Iterable[Command]:
        several = Parameter(name="accountjids", kinds=(Kind.ADDRESS,), many=True)
        yield Command(name="banish", group="prince", function=self.banish, parameters=(several,), admin=True)

    async def banish(self, call: Call) -> Answer:
        self.banished.append(call.get("accountjids"))
        return Answer(form=(("number", "2"), ("who", "romeo\nparis")))


class Everybody:
    """People as they are known by their addresses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def person(self, stanza: Stanza) -> Person | None:
        if stanza.from_.domainpart != DOMAIN:
            return None
        account = await self._database.read(lambda tx: tx.accounts.get(stanza.from_.localpart))
        if account is None or account.disabled:
            return None
        return Person(account=account, jid=stanza.from_.bare, address=stanza.from_)

    def stranger(self, stanza: Stanza) -> Person | None:
        nobody = Account(key=0, localpart="", created=START)
        return Person(account=nobody, jid=stanza.from_.bare, address=stanza.from_, linked=True)


class Known:
    """What they may mean."""

    def __init__(self) -> None:
        self.friends: Sequence[JID] = ()

    async def item(self, person: Person, number: int) -> ItemAddress | None:
        return ItemAddress(ROMEO, FEED, "l12") if number == 12 else None

    async def newest(self, person: Person) -> ItemAddress | None:
        return ItemAddress(ROMEO, FEED, "l13")

    async def account(self, name: str) -> JID | None:
        return JID(name, DOMAIN) if name in ("romeo", "juliet", "mercutio") else None

    async def people(self, person: Person, command: Command) -> Sequence[JID]:
        return self.friends


class Street(Town):
    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock)
        self.words, self.prince, self.known = Verona(), Prince(), Known()
        self.commands = Commands(
            DOMAIN, Table([self.words]), Table([self.prince]), Everybody(database), self.known, clock
        )
        disco = Disco(database)
        disco.extensions = (disco, self.commands)
        self.install(disco, self.commands)
        self.settle("romeo", "juliet")
        database.run(registering.create_account, "escalus", "secret", admin=True)


@pytest.fixture
def street(database: Database, clock: Clock) -> Street:
    return Street(database, clock)


def asks(client: Client, payload: str, *, type_: str = "set", to: str = DOMAIN) -> Element:
    client.sends(f"<iq type='{type_}' id='ask' to='{to}'>{payload}</iq>")
    (answer,) = client.hears()
    return answer


def does(
    client: Client, node: str, action: str = "", *, session: str = "", form: str | None = None, lang: str = ""
) -> Element:
    attributes = f" action='{action}'" if action else ""
    attributes += f" sessionid='{session}'" if session else ""
    attributes += f" xml:lang='{lang}'" if lang else ""
    return asks(client, f"<command xmlns='{ns.COMMANDS}' node='{node}'{attributes}>{form or ''}</command>")


def filled(form_type: str = ns.COMMAND_FORM, **values: str | Sequence[str]) -> str:
    fields = {"FORM_TYPE": form_type, **values}
    texts = {var: [value] if isinstance(value, str) else value for var, value in fields.items()}
    written = (
        f"<field var='{var}'>{''.join(f'<value>{value}</value>' for value in texts[var])}</field>" for var in texts
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{''.join(written)}</x>"


def command(answer: Element, status: str = "executing") -> Element:
    assert answer.get("type") == "result", answer
    element = answer.first()
    assert element is not None and element.get("status") == status, answer
    return element


def session_of(answer: Element) -> str:
    return command(answer).attributes["sessionid"]


def actions(answer: Element) -> tuple[str | None, list[str]]:
    element = command(answer).find(ns.COMMANDS, "actions")
    assert element is not None
    return element.get("execute"), [child.name for child in element.elements()]


def form_of(answer: Element) -> dict[str, Element]:
    form = command(answer).find(ns.DATA, "x")
    assert form is not None and form.get("type") == "form"
    return {field.attributes["var"]: field for field in form.find_all(ns.DATA, "field")}


def note(answer: Element) -> str | None:
    return command(answer, "completed").child_text(ns.COMMANDS, "note")


def error(answer: Element) -> tuple[str, str | None]:
    assert answer.get("type") == "error", answer
    (element,) = answer.find_all(ns.CLIENT, "error")
    condition, *others = [child for child in element.elements() if child.name != "text"]
    return condition.name, others[0].name if others else None


def error_text(answer: Element) -> str:
    (element,) = answer.find_all(ns.CLIENT, "error")
    return element.child_text(ns.STANZAS, "text") or ""


# Discovery


def listed(client: Client, to: str = DOMAIN) -> list[str]:
    answer = asks(client, f"<query xmlns='{ns.DISCO_ITEMS}' node='{ns.COMMANDS}'/>", type_="get", to=to)
    query = answer.first()
    assert query is not None
    assert {item.get("jid") for item in query.elements()} <= {to}
    return [item.attributes["node"] for item in query.elements()]


def test_one_sees_what_one_may_do(street: Street) -> None:
    words = ["sigh", "call", "kiss", "write", "burn", "forgive", "find", "letters", "enter"]
    assert listed(street.login("romeo", "a")) == words
    assert listed(street.login("romeo", "a"), f"post@{DOMAIN}") == words
    assert listed(street.login("escalus", "a")) == [*words, f"{ns.ADMIN}#banish"]


def test_a_stranger_may_do_what_is_for_strangers(street: Street) -> None:
    query = f"<query xmlns='{ns.DISCO_ITEMS}' node='{ns.COMMANDS}'/>"
    street.inject(f"<iq type='get' id='a' from='paris@example.org/a' to='{DOMAIN}'>{query}</iq>")
    (answer,) = street.world_hears()
    assert [item.get("node") for item in answer.first().elements()] == ["enter"]
    for node, type_ in (("enter", "result"), ("sigh", "error")):
        do = f"<command xmlns='{ns.COMMANDS}' node='{node}'/>"
        street.inject(f"<iq type='set' id='a' from='paris@example.org/a' to='{DOMAIN}'>{do}</iq>")
        (answer,) = street.world_hears()
        assert answer.get("type") == type_
    assert street.words.calls == [("enter", {})]


def test_commands_are_discovered(street: Street) -> None:
    romeo = street.login("romeo", "a")
    asked = f"<query xmlns='{ns.DISCO_INFO}' node='{{}}'/>"
    assert asks(romeo, asked.format("call"), type_="get").first() == read(
        f"<query xmlns='{ns.DISCO_INFO}' node='call'><identity category='automation' type='command-node' name='call'/>"
        f"<feature var='{ns.COMMANDS}'/><feature var='jabber:x:data'/></query>"
    )
    the_list = asks(romeo, asked.format(ns.COMMANDS), type_="get").first()
    assert the_list is not None and the_list.first() == read(
        f"<identity xmlns='{ns.DISCO_INFO}' category='automation' type='command-list' name='Commands'/>"
    )
    assert error(asks(romeo, asked.format("stab"), type_="get")) == ("item-not-found", None)
    assert error(asks(romeo, asked.format(f"{ns.ADMIN}#banish"), type_="get")) == ("forbidden", None)
    host = asks(romeo, f"<query xmlns='{ns.DISCO_INFO}'/>", type_="get").first()
    assert host is not None and ns.COMMANDS in {child.get("var") for child in host.elements()}


# Execution


def test_what_needs_nothing_is_done_at_once(street: Street) -> None:
    romeo = street.login("romeo", "a")
    assert note(does(romeo, "sigh", "execute")) == "sigh!"
    assert note(does(romeo, "sigh")) == "sigh!"
    assert street.words.calls == [("sigh", {})] * 2


def test_a_command_is_filled_in_and_done(street: Street) -> None:
    romeo = street.login("romeo", "a")
    asked = does(romeo, "call")
    assert actions(asked) == ("complete", ["complete"])
    fields = form_of(asked)
    assert {var: field.get("type") for var, field in fields.items()} == {
        "FORM_TYPE": "hidden",
        "words": "text-multi",
        "voice": "list-single",
        "often": "text-single",
        "twice": "boolean",
        "topic": "text-single",
    }
    assert fields["words"].find(ns.DATA, "required") is not None and fields["voice"].find(ns.DATA, "required") is None
    form = filled(words=["But soft,", "what light"], voice="low", often="2", twice="true", topic=" love ")
    done = does(romeo, "call", "complete", session=session_of(asked), form=form)
    assert note(done) == "call!"
    given = {"words": "But soft,\nwhat light", "voice": "low", "often": 2, "twice": True, "topic": "love"}
    assert street.words.calls == [("call", given)]


def test_what_was_left_out_is_absent(street: Street) -> None:
    romeo = street.login("romeo", "a")
    does(romeo, "call", session=session_of(does(romeo, "call")), form=filled(words="Ay me", voice="", often=[]))
    assert street.words.calls == [("call", {"words": "Ay me"})]


def test_somebody_is_chosen_among_those_one_knows(street: Street) -> None:
    street.known.friends = (JULIET, JID("rosaline", "capulet.example"))
    romeo = street.login("romeo", "a")
    asked = does(romeo, "write")
    assert actions(asked) == ("next", ["next"])
    assert [(option.get("label"), option.child_text(ns.DATA, "value")) for option in form_of(asked)["who"].elements()][
        1:
    ] == [("juliet", str(JULIET)), (None, "rosaline@capulet.example"), ("Somebody else", "other")]
    session = session_of(asked)
    second = does(romeo, "write", "next", session=session, form=filled(who=str(JULIET)))
    assert actions(second) == ("complete", ["prev", "complete"])
    assert set(form_of(second)) == {"FORM_TYPE", "words"}
    first = does(romeo, "write", "prev", session=session)
    assert form_of(first)["who"].child_text(ns.DATA, "value") == str(JULIET)
    does(romeo, "write", session=session, form=filled(who="rosaline@capulet.example"))
    assert note(does(romeo, "write", session=session, form=filled(words="Alas"))) == "write!"
    assert street.words.calls == [("write", {"who": JID("rosaline", "capulet.example"), "words": "Alas"})]


def test_somebody_else_is_named_in_the_next_step(street: Street) -> None:
    street.known.friends = (JULIET,)
    romeo = street.login("romeo", "a")
    asked = does(romeo, "kiss")
    assert actions(asked) == ("complete", ["complete"])
    second = does(romeo, "kiss", session=session_of(asked), form=filled(who="other"))
    assert set(form_of(second)) == {"FORM_TYPE", "who"}
    assert note(does(romeo, "kiss", session=session_of(asked), form=filled(who="@Mercutio"))) == "kiss!"
    assert street.words.calls == [("kiss", {"who": JID("mercutio", DOMAIN)})]


def test_the_chosen_one_is_all_that_was_needed(street: Street) -> None:
    street.known.friends = (JULIET,)
    romeo = street.login("romeo", "a")
    assert note(does(romeo, "kiss", session=session_of(does(romeo, "kiss")), form=filled(who=str(JULIET)))) == "kiss!"
    assert street.words.calls == [("kiss", {"who": JULIET})]


def test_a_word_may_stand_for_everybody(street: Street) -> None:
    romeo = street.login("romeo", "a")
    asked = does(romeo, "forgive")
    assert form_of(asked)["who"].get("type") == "text-single"
    does(romeo, "forgive", session=session_of(asked), form=filled(who="All"))
    street.known.friends = (JULIET,)
    for chosen in (str(JULIET), "all"):
        asked = does(romeo, "forgive")
        values = [option.child_text(ns.DATA, "value") for option in form_of(asked)["who"].find_all(ns.DATA, "option")]
        assert values == [str(JULIET), "all", "other"]
        assert note(does(romeo, "forgive", session=session_of(asked), form=filled(who=chosen))) == "forgive!"
    assert [given["who"] for _, given in street.words.calls] == ["all", JULIET, "all"]


def test_what_may_be_an_item_or_a_text(street: Street) -> None:
    romeo = street.login("romeo", "a")
    for written in ("#12", "12 letters", ""):
        does(romeo, "find", session=session_of(does(romeo, "find")), form=filled(what=written))
    letter = ItemAddress(ROMEO, FEED, "l12")
    assert [given for _, given in street.words.calls] == [{"what": letter}, {"what": "12 letters"}, {}]


def test_who_knows_nobody_names_them(street: Street) -> None:
    romeo = street.login("romeo", "a")
    asked = does(romeo, "kiss")
    assert form_of(asked)["who"].get("type") == "text-single"
    for nobody in ("tybalt", f"tybalt@{DOMAIN}", "ju/liet", "@", "juliet@", "@@x"):
        answer = does(romeo, "kiss", session=session_of(asked), form=filled(who=nobody))
        assert error(answer) == ("not-acceptable", None) and error_text(answer).startswith("who")
    assert note(does(romeo, "kiss", session=session_of(asked), form=filled(who="juliet"))) == "kiss!"


def test_what_cannot_be_undone_is_asked_twice(street: Street) -> None:
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "burn"))
    asked = does(romeo, "burn", session=session, form=filled(letter="#12"))
    assert actions(asked) == ("complete", ["prev", "complete"]) and set(form_of(asked)) == {"FORM_TYPE"}
    form = command(asked).find(ns.DATA, "x")
    assert form is not None and "#12" in (form.child_text(ns.DATA, "instructions") or "")
    assert street.words.calls == []
    assert note(does(romeo, "burn", "complete", session=session, form=filled())) == "burn!"
    assert street.words.calls == [("burn", {"letter": ItemAddress(ROMEO, FEED, "l12")})]


@pytest.mark.parametrize(
    ("written", "item"), [("", "l13"), ("12", "l12"), (item_uri(ROMEO, FEED, "l5").replace("'", ""), "l5")]
)
def test_items_are_named(street: Street, written: str, item: str) -> None:
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "burn"))
    does(romeo, "burn", session=session, form=filled(letter=written))
    does(romeo, "burn", session=session, form=filled())
    assert street.words.calls == [("burn", {"letter": ItemAddress(ROMEO, FEED, item)})]


def test_an_item_that_is_not_known_is_refused(street: Street) -> None:
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "burn"))
    for written in ("#11", "the letter", "xmpp:romeo@montague.example"):
        answer = does(romeo, "burn", session=session, form=filled(letter=written))
        assert error(answer) == ("not-acceptable", None) and "letter" in error_text(answer)


def test_a_command_is_cancelled(street: Street) -> None:
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "call"))
    command(does(romeo, "call", "cancel", session=session), "canceled")
    assert error(does(romeo, "call", session=session, form=filled(words="!"))) == ("not-allowed", "session-expired")
    assert street.words.calls == []


def test_what_is_refused_can_be_tried_again(street: Street) -> None:
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "call"))
    street.words.refuses = True
    answer = does(romeo, "call", session=session, form=filled(words="!"))
    assert error(answer) == ("not-allowed", None) and error_text(answer) == "the nurse is watching"
    street.words.refuses = False
    assert note(does(romeo, "call", session=session, form=filled(words="?"))) == "call!"
    assert street.words.calls == [("call", {"words": "?"})]


def test_posts_come_in_rows_and_go_on(street: Street) -> None:
    romeo = street.login("romeo", "a")
    first = does(romeo, "letters")
    assert actions(first) == ("next", ["next", "complete"])
    session = session_of(first)
    second = does(romeo, "letters", "next", session=session)
    for answer, status, number in ((first, "executing", 1), (second, "completed", 2)):
        form = command(answer, status).find(ns.DATA, "x")
        assert form is not None
        assert [field.get("var") for field in form.find(ns.DATA, "reported").elements()] == [
            "author",
            "text",
            "published",
            "address",
        ]
        (item,) = form.find_all(ns.DATA, "item")
        assert [field.child_text(ns.DATA, "value") for field in item.elements()] == [
            str(ROMEO),
            f"Letter {number}",
            "2026-01-01T12:00:00Z",
            item_uri(ROMEO, FEED, f"l{number}"),
        ]
    assert error(does(romeo, "letters", session=session)) == ("not-allowed", "session-expired")
    again = session_of(does(romeo, "letters"))
    command(does(romeo, "letters", "complete", session=again), "completed")


def test_administrators_fill_in_forms_of_their_own(street: Street) -> None:
    escalus = street.login("escalus", "a")
    node = f"{ns.ADMIN}#banish"
    asked = does(escalus, node)
    assert form_of(asked)["FORM_TYPE"].child_text(ns.DATA, "value") == ns.ADMIN
    assert form_of(asked)["accountjids"].get("type") == "jid-multi"
    people = [f"romeo@{DOMAIN}", f"paris@{DOMAIN}/tomb"]
    done = does(escalus, node, session=session_of(asked), form=filled(ns.ADMIN, accountjids=people))
    assert street.prince.banished == [(ROMEO, JID("paris", DOMAIN))]
    form = command(done, "completed").find(ns.DATA, "x")
    assert form is not None and form.get("type") == "result"
    fields = {field.get("var"): field for field in form.find_all(ns.DATA, "field")}
    assert fields["number"].get("type") == "text-single" and fields["who"].get("type") == "text-multi"
    assert [value.text for value in fields["who"].elements()] == ["romeo", "paris"]


def test_rights_are_checked_at_each_step(street: Street, database: Database) -> None:
    escalus, romeo = street.login("escalus", "a"), street.login("romeo", "a")
    node = f"{ns.ADMIN}#banish"
    assert error(does(romeo, node)) == ("forbidden", None)
    session, other = session_of(does(escalus, node)), session_of(does(romeo, "call"))
    database.run(registering.create_account, "prince", "secret", admin=True)
    database.run(registering.disable, "escalus")
    database.run(registering.disable, "romeo")
    form = filled(ns.ADMIN, accountjids=f"romeo@{DOMAIN}")
    assert error(does(escalus, node, session=session, form=form)) == ("forbidden", None)
    assert error(does(romeo, "call", session=other, form=filled(words="!"))) == ("forbidden", None)
    assert street.prince.banished == [] and street.words.calls == []


def test_other_accounts_have_no_commands(street: Street) -> None:
    romeo = street.login("romeo", "a")
    do = f"<command xmlns='{ns.COMMANDS}' node='sigh'/>"
    assert error(asks(romeo, do, to=str(JULIET))) == ("service-unavailable", None)
    assert asks(romeo, do, to=f"post@{DOMAIN}").get("type") == "result"


# Hostile input


def test_j165_the_errors_of_the_specification(street: Street, time: Time) -> None:
    romeo = street.login("romeo", "a")
    assert error(does(romeo, "stab")) == ("item-not-found", None)
    assert error(does(romeo, f"{ns.ADMIN}#banish")) == ("forbidden", None)
    assert error(does(romeo, "")) == ("bad-request", None)
    assert error(does(romeo, "call", "prev")) == ("bad-request", "bad-action")
    assert error(does(romeo, "call", "cancel")) == ("bad-request", "bad-action")
    assert error(does(romeo, "call", "dance")) == ("bad-request", "malformed-action")
    assert error(does(romeo, "call", session="romeo")) == ("bad-request", "bad-sessionid")
    assert error(does(romeo, "sigh", form=filled())) == ("bad-request", "bad-payload")
    assert error(does(romeo, "sigh", lang="tlh")) == ("bad-request", "bad-locale")
    assert note(does(romeo, "sigh", lang="en-GB")) == "sigh!"
    session = session_of(does(romeo, "call"))
    for action in ("prev", "next"):
        answer = does(romeo, "call", action, session=session, form=filled(words="!"))
        assert error(answer) == ("bad-request", "bad-action")
    for payload in ("", "<x xmlns='jabber:x:data' type='form'/>", "<body/>", filled(words="!") * 2):
        assert error(does(romeo, "call", session=session, form=payload)) == ("bad-request", "bad-payload")
    assert error(does(romeo, "sigh", session=session)) == ("bad-request", "bad-sessionid")
    time.advance(SESSION_SECONDS + 1)
    answer = does(romeo, "call", session=session, form=filled(words="!"))
    assert error(answer) == ("not-allowed", "session-expired")
    assert street.words.calls == [("sigh", {})]


def test_j166_ten_sessions_are_kept(street: Street) -> None:
    romeo, juliet = street.login("romeo", "a"), street.login("juliet", "a")
    hers = session_of(does(juliet, "call"))
    sessions = [session_of(does(romeo, "call")) for _ in range(1000)]
    assert len(street.commands._sessions) == 11
    form = filled(words="!")
    assert error(does(romeo, "call", session=sessions[989], form=form)) == ("not-allowed", "session-expired")
    assert error(does(romeo, "call", session=sessions[0], form=form)) == ("not-allowed", "session-expired")
    assert note(does(romeo, "call", session=sessions[990], form=form)) == "call!"
    assert note(does(juliet, "call", session=hers, form=form)) == "call!"


def test_j166_a_session_lives_for_ten_minutes_after_its_last_step(street: Street, time: Time) -> None:
    street.known.friends = (JULIET,)
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "write"))
    time.advance(SESSION_SECONDS - 1)
    does(romeo, "write", session=session, form=filled(who=str(JULIET)))
    time.advance(SESSION_SECONDS - 1)
    assert note(does(romeo, "write", session=session, form=filled(words="!"))) == "write!"
    does(romeo, "write")
    time.advance(SESSION_SECONDS)
    does(romeo, "sigh")
    assert not street.commands._sessions and not street.commands._owned


def test_j167_a_session_is_of_one_address(street: Street) -> None:
    romeo, other, juliet = street.login("romeo", "a"), street.login("romeo", "b"), street.login("juliet", "a")
    session = session_of(does(romeo, "call"))
    for thief in (other, juliet):
        for action in ("complete", "cancel"):
            answer = does(thief, "call", action, session=session, form=filled(words="!"))
            assert error(answer) == ("bad-request", "bad-sessionid")
    command(does(romeo, "call", "cancel", session=session), "canceled")
    assert error(does(juliet, "call", session=session)) == ("bad-request", "bad-sessionid")


@pytest.mark.parametrize(
    ("form", "named"),
    [
        (filled("urn:x-other", words="!"), "FORM_TYPE"),
        (filled(words="!").replace("FORM_TYPE", "form_type"), "form_type"),
        (filled(words="!", knife="yes"), "knife"),
        (filled(words="!", voice="hoarse"), "voice"),
        (filled(words="!", twice="perhaps"), "twice"),
        (filled(words="!", often="-1"), "often"),
        (filled(words="!", often="9" * 30), "often"),
        (filled(words="!", topic="love and death"), "topic"),
        (filled(voice="low"), "words"),
        (filled(words=" ", voice="low"), "words"),
        (filled(words="!").replace("</x>", "<field var='words'><value>?</value></field></x>"), "words"),
        (filled(words="!").replace("</x>", "<field var='f'/>" * 3000 + "</x>"), "f"),
    ],
)
def test_j168_forms_that_do_not_fit(street: Street, form: str, named: str) -> None:
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "call"))
    answer = does(romeo, "call", session=session, form=form)
    assert error(answer) == ("not-acceptable", None) and error_text(answer).startswith(named)
    assert street.words.calls == []
    assert note(does(romeo, "call", session=session, form=filled(words="?"))) == "call!"


@pytest.mark.parametrize("wrong", ["romeo@", "@", "a b@c", f"romeo@{DOMAIN}/\u0007".replace("\u0007", "\u200e\u202e")])
def test_j168_addresses_that_are_none(street: Street, wrong: str) -> None:
    escalus = street.login("escalus", "a")
    node = f"{ns.ADMIN}#banish"
    form = filled(ns.ADMIN, accountjids=[str(ROMEO), wrong])
    answer = does(escalus, node, session=session_of(does(escalus, node)), form=form)
    assert error(answer) == ("not-acceptable", None) and error_text(answer).startswith("accountjids")
    assert street.prince.banished == []


def test_a_bug_ends_the_session_and_nothing_else(street: Street) -> None:
    romeo = street.login("romeo", "a")
    session = session_of(does(romeo, "call"))
    street.words.calls = None  # type: ignore[assignment]
    assert error(does(romeo, "call", session=session, form=filled(words="!"))) == ("internal-server-error", None)
    street.words.calls = []
    assert error(does(romeo, "call", session=session, form=filled(words="!"))) == ("not-allowed", "session-expired")
    assert not street.commands._sessions
