"""Lists of domains that a node goes by, and its own that others go by."""

import pytest

from microblog.model.jid import JID
from microblog.model.policy import Grade
from microblog.usecases import disclosing, policing
from microblog.wire import ns
from microblog.wire.xml import Element, to_text
from microblog.xep import policylists
from microblog.xep.policy import Policy
from microblog.xep.policylists import EVERY_SECONDS, PolicyLists
from tests.conftest import Time
from tests.xep.square import Square, asks, error, result
from tests.xmltext import read

VERONA, NODE = "verona.example", "urn:x-microblog:policy:0"


@pytest.fixture
def policy(square: Square) -> Policy:
    return Policy(square.database, "open", square.clock, square.tasks)


@pytest.fixture
def lists(square: Square, policy: Policy) -> PolicyLists:
    """The node goes by a list of Verona's."""
    square.database.run(policing.add_list, JID("", VERONA), NODE)
    lists = PolicyLists(square.router, square.database, policy.changed, square.clock, square.tasks)
    policy.listeners.append(lists.fetch_new)
    return lists


def item(name: str, grade: str = "refused") -> str:
    return f"<item id='{name}'><domain xmlns='{NODE}' name='{name}' grade='{grade}'/></item>"


def answers(square: Square, *items: str, failure: str = "", page: str = "") -> Element:
    """Verona answers the one question it was asked, which is returned."""
    (request,) = [one for one in square.world_hears() if one.name == "iq" and one.get("to") == VERONA]
    type_, payload = (
        ("error", failure) if failure else ("result", f"<items node='{NODE}'>{''.join(items)}</items>{page}")
    )
    content = payload if failure else f"<pubsub xmlns='{ns.PUBSUB}'>{payload}</pubsub>"
    square.inject(
        f"<iq type='{type_}' id='{request.get('id')}' from='{VERONA}' to='{request.get('from')}'>{content}</iq>"
    )
    return request


def test_what_a_list_says_counts_from_then_on(square: Square, policy: Policy, lists: PolicyLists, time: Time) -> None:
    lists.start()
    request = answers(square, item("spam.example"), item("rats.example", "silenced"), item("montague.example"))
    assert request.get("from") == "montague.example"
    assert policy.grade("a.spam.example") is Grade.REFUSED and policy.grade("rats.example") is Grade.SILENCED
    assert not policy.refuses("montague.example")
    time.advance(EVERY_SECONDS)
    answers(square, item("rats.example"))
    assert policy.grade("spam.example") is Grade.ALLOWED and policy.grade("rats.example") is Grade.REFUSED


def test_what_the_administrator_says_comes_first(square: Square, policy: Policy, lists: PolicyLists) -> None:
    square.database.run(policing.set_grade, "spam.example", Grade.NO_MEDIA)
    lists.start()
    answers(square, item("spam.example"))
    assert policy.grade("spam.example") is Grade.NO_MEDIA


def test_a_list_that_cannot_be_had_goes_on_to_count(
    square: Square, policy: Policy, lists: PolicyLists, time: Time
) -> None:
    lists.start()
    answers(square, item("spam.example"))
    time.advance(EVERY_SECONDS)
    answers(
        square,
        failure=f"""<error type='cancel'><item-not-found xmlns='{ns.STANZAS}'/>
        <text xmlns='{ns.STANZAS}'>gone</text></error>""",
    )
    assert policy.refuses("spam.example")
    (known,) = square.database.run(lambda tx: tx.policies.lists())
    assert known.problem == "gone" and known.fetched is not None


def test_a_new_list_is_fetched_at_once_and_only_that(square: Square, policy: Policy, lists: PolicyLists) -> None:
    lists.start()
    answers(square)
    square.database.run(policing.add_list, JID("", VERONA), "another")
    policy.changed()
    request = answers(square, item("spam.example"))
    assert "node='another'" in to_text(request)
    assert policy.refuses("spam.example")
    assert square.world_hears() == []


def test_long_lists_are_read_page_by_page(
    square: Square, policy: Policy, lists: PolicyLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policylists, "PAGE", 2)
    lists.start()
    first = answers(square, item("c.example"), item("d.example"))
    second = answers(square, item("a.example"), item("b.example"))
    answers(square, item("z.example"))
    assert "<before/>" in to_text(first) and "<before>c.example</before>" in to_text(second)
    assert [policy.refuses(f"{name}.example") for name in "abcdzx"] == [True] * 5 + [False]


@pytest.mark.parametrize(("count", "asked"), [("", True), ("<count>3</count>", False), ("<count>7</count>", True)])
def test_a_service_whose_pages_are_shorter_than_what_was_asked_for(
    square: Square, policy: Policy, lists: PolicyLists, count: str, asked: bool
) -> None:
    lists.start()
    page = f"<set xmlns='{ns.RSM}'><first>a</first><last>c</last>{count}</set>"
    answers(square, *(item(f"{name}.example") for name in "abc"), page=page)
    assert policy.refuses("c.example") is not asked
    if asked:
        answers(square, page=page)
        assert policy.refuses("c.example")


def test_no_list_waits_for_the_service_of_another(square: Square, policy: Policy, lists: PolicyLists) -> None:
    lists.start()
    square.database.run(policing.add_list, JID("", "mantua.example"), NODE)
    policy.changed()
    policy.changed()
    assert [one.get("to") for one in square.world_hears() if one.name == "iq"] == [VERONA, "mantua.example"]


def test_our_own_domain_is_as_it_was(square: Square, policy: Policy, lists: PolicyLists) -> None:
    lists.start()
    answers(square, item("montague.example", "no-media"), item("example", "no-media"))
    assert policy.grade("montague.example") is policy.grade("capulet.example") is Grade.ALLOWED


def test_a_service_that_knows_no_pages(
    square: Square, policy: Policy, lists: PolicyLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policylists, "PAGE", 2)
    lists.start()
    for _ in range(2):
        answers(square, *(item(f"{name}.example") for name in "abc"))
    assert policy.refuses("c.example") and square.world_hears() == []


def test_a_list_without_end_says_nothing(
    square: Square, policy: Policy, lists: PolicyLists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policylists, "PAGE", 2)
    monkeypatch.setattr(policing, "LIST_ENTRIES_MAX", 5)
    lists.start()
    for number in range(3):
        answers(square, item(f"a{number}.example"), item(f"b{number}.example"))
    assert square.world_hears() == [] and not policy.refuses("a0.example")
    (known,) = square.database.run(lambda tx: tx.policies.lists())
    assert known.problem == "it has more than 5 domains"


# our own


def read_list(square: Square) -> list[str]:
    """What a stranger is shown."""
    juliet = "juliet@capulet.example/balcony"
    square.inject(
        f"""<iq type='get' id='list' from='{juliet}' to='montague.example'><pubsub xmlns='{ns.PUBSUB}'>
        <items node='{NODE}'/></pubsub></iq>"""
    )
    (answer,) = [one for one in square.world_hears() if one.get("id") == "list"]
    if answer.get("type") == "error":
        return [error(answer)[0]]
    pubsub = result(read(to_text(answer)))
    assert pubsub is not None
    items = pubsub.find(ns.PUBSUB, "items")
    assert items is not None
    return [f"{one.get('id')} {child.get('grade')}" for one in items.elements() if (child := one.first())]


def test_the_rules_of_the_administrator_are_published_when_wanted(square: Square, policy: Policy) -> None:
    for domain, grade in (
        ("spam.example", Grade.REFUSED),
        ("rats.example", Grade.SILENCED),
        ("a.example", Grade.ALLOWED),
    ):
        square.database.run(policing.set_grade, domain, grade)
    policy.changed()
    assert read_list(square) == ["item-not-found"]
    square.database.run(disclosing.set_published, True)
    policy.changed()
    assert sorted(read_list(square)) == ["rats.example silenced", "spam.example refused"]
    square.database.run(policing.reset, "spam.example")
    square.database.run(policing.set_grade, "rats.example", Grade.REFUSED)
    policy.changed()
    assert read_list(square) == ["rats.example refused"]
    square.database.run(disclosing.set_published, False)
    policy.changed()
    assert read_list(square) == []


def test_those_who_subscribed_to_the_list_hear_of_it(square: Square, policy: Policy) -> None:
    square.database.run(disclosing.set_published, True)
    square.database.run(policing.set_grade, "spam.example", Grade.REFUSED)
    policy.changed()
    romeo = square.online("romeo", "orchard")
    wanted = f"<subscribe node='{NODE}' jid='romeo@montague.example'/>"
    result(asks(romeo, "set", wanted, to="montague.example"))
    romeo.hears()
    square.database.run(policing.set_grade, "rats.example", Grade.REFUSED)
    policy.changed()
    assert "rats.example" in "".join(map(to_text, romeo.hears()))


def test_nobody_writes_to_the_list(square: Square, policy: Policy) -> None:
    square.database.run(disclosing.set_published, True)
    square.database.run(policing.set_grade, "spam.example", Grade.REFUSED)
    policy.changed()
    romeo = square.online("romeo", "orchard")
    for request in (
        f"<publish node='{NODE}'>{item('rats.example')}</publish>",
        f"<retract node='{NODE}'><item id='spam.example'/></retract>",
    ):
        assert error(asks(romeo, "set", request, to="montague.example"))[0] == "forbidden"
    assert read_list(square) == ["spam.example refused"]
