"""``search``, as it is said."""

from dataclasses import replace
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.commands.command import Answer, Call, Person, Table
from microblog.commands.parsing import Misread, Parser
from microblog.commands.searching import SearchWords
from microblog.model.errors import NotAcceptable, ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.usecases import indexing, registering, searching
from tests.commands.test_reading import Names, Posts
from tests.conftest import DOMAIN
from tests.im.town import result
from tests.usecases.pubsub import BENVOLIO, ROMEO, an_account
from tests.usecases.test_searching import says

PHONE = "phone"


class Desk:
    """Benvolio, who looks for something."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.modules = (SearchWords(database),)
        self.parser = Parser(table=Table([*self.modules, Posts()]), domain=DOMAIN)
        self.address = BENVOLIO.with_resource(PHONE)
        self.last = Answer()

    def says(self, text: str) -> list[str]:
        """The ids of the posts that are shown."""
        said = result(self.parser.read(text, Names()))
        return self._shown(said.command.function(Call(person=self.person(), arguments=said.arguments)))

    def more(self) -> list[str]:
        assert self.last.more is not None, "there is no more"
        return self._shown(self.last.more(Call(person=self.person())))

    def person(self) -> Person:
        account = self.database.run(registering.get_account, "benvolio")
        return Person(account=account, jid=BENVOLIO, address=self.address, linked=self.address.domainpart != DOMAIN)

    def _shown(self, answering: Any) -> list[str]:
        self.last = result(answering)
        return [post.item.id for post in self.last.posts]


@pytest.fixture
def desk(database: Database) -> Desk:
    for jid in (ROMEO, BENVOLIO):
        database.run(an_account, jid)
    database.run(indexing.step)
    for number in range(25):
        database.run(says, f"lark number {number}", f"p{number}", ROMEO, number)
    database.run(says, "of the house", "local", ROMEO, 100, audience=Audience.LOCAL)
    while database.run(indexing.step):
        pass
    return Desk(database)


def test_the_newest_stand_at_the_bottom_and_more_goes_back(desk: Desk) -> None:
    shown = desk.says("search lark")
    assert shown == [f"p{number}" for number in reversed(range(len(shown)))]
    assert desk.last.text == '"more" for older ones.'
    everything = list(reversed(shown))
    while desk.last.more is not None:
        everything += reversed(desk.more())
    assert everything == [f"p{number}" for number in range(25)]
    assert desk.last.text == ""
    account = desk.person().account.key
    desk.database.run(lambda tx: tx.preferences.set(account, "limit", "3"))
    assert desk.says("Search LARK") == ["p2", "p1", "p0"]


def test_names_and_what_is_not_found(desk: Desk) -> None:
    assert desk.says("search from romeo 7") == ["p7"]
    assert desk.says(f"search from {ROMEO} 7") == ["p7"]
    assert desk.says("search from me 7") == []
    assert desk.last.text == f"Nothing fits: 7 from {BENVOLIO}" and desk.last.more is None
    with pytest.raises(NotAcceptable, match="nobody called tybalt"):
        desk.says("search from tybalt 7")
    with pytest.raises(NotAcceptable, match="nobody called tybalt"):
        desk.says(f"search from tybalt@{DOMAIN} 7")
    with pytest.raises(NotAcceptable, match="No place"):
        desk.says("search near verona")
    with pytest.raises(NotAcceptable, match="nothing to look for"):
        desk.says('search ""')
    with pytest.raises(Misread):
        desk.says("search")


def test_what_may_not_leave_is_not_sent_to_a_linked_address(desk: Desk) -> None:
    assert desk.says("search house") == ["local"]
    desk.address = JID.parse("benvolio@company.example/pda")
    assert desk.says("search house") == []


def test_what_is_still_being_indexed_is_said(desk: Desk) -> None:
    desk.database.run(lambda tx: tx.trails.reach(indexing.PAST, 1))
    assert desk.says("search 7") == ["p7"]
    assert desk.last.text == "Older posts are still being read; ask again later for them."


def test_a_long_way_without_a_hit_is_said(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        desk.database.run(says, "needle", f"n{number}", ROMEO, number + 30, audience=Audience.FOLLOWERS)
    desk.database.run(says, "needle", "old", ROMEO, 1000)
    while desk.database.run(indexing.step):
        pass
    monkeypatch.setattr(searching, "CANDIDATES_MAX", 2)
    monkeypatch.setattr(searching, "_BATCH", 2)
    assert desk.says("search needle") == []
    assert desk.last.text == 'Nothing so far, back to 2026-01-01 11:19 (UTC). "more" looks further.'
    shown: list[str] = []
    for _ in range(10):
        shown += desk.more()
        if desk.last.more is None:
            break
    assert shown == ["old"]


def test_each_person_looks_for_one_thing_at_a_time_and_others_are_not_kept_waiting(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow answers are held back here; two are looked for at once, the third when one of them is done."""
    slow: list[Deferred[Any]] = []
    read = desk.database.read

    def reads(function: Any, *arguments: Any) -> Deferred[Any]:
        if function is not searching.search:
            return read(function, *arguments)
        slow.append(Deferred())
        return slow[-1].addCallback(lambda _: read(function, *arguments))

    monkeypatch.setattr(desk.database, "read", reads)
    ((command,),) = [list(words.commands()) for words in desk.modules]
    outcomes: list[Any] = []
    for key in (1, 1, 2, 3):
        person = desk.person()
        someone = replace(person, account=replace(person.account, key=key))
        call = Call(person=someone, arguments={"words": "lark"})
        Deferred.fromCoroutine(command.function(call)).addBoth(outcomes.append)
    assert [type(outcome.value) for outcome in outcomes] == [ResourceConstraint]
    assert len(slow) == 2
    slow[0].callback(None)
    assert len(slow) == 3 and len(outcomes) == 2
    slow[1].errback(ResourceConstraint("too long"))
    slow[2].callback(None)
    assert len(outcomes) == 4
    again = Deferred.fromCoroutine(command.function(Call(person=desk.person(), arguments={"words": "lark"})))
    slow[3].callback(None)
    assert again.called


def test_what_is_repeated_of_a_query_stays_in_its_line(desk: Desk) -> None:
    assert desk.says("search #a\u202eb\u2028c") == []
    assert desk.last.text == "Nothing fits: c #ab"
