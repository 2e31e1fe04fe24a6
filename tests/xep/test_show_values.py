"""XEP-0060 §6.3, ``pubsub#show-values``: who is told while presence says so, is told of the rest when it does."""

import pytest

from microblog.model.errors import InvalidOptions
from microblog.model.jid import JID
from microblog.usecases import subscribing
from microblog.wire import ns
from microblog.xep import readers
from tests.im.town import Client
from tests.xep.square import FEED, Square, asks, error, publishes, result, told

ROMEO = "romeo@montague.example"
BENVOLIO = "benvolio@montague.example"


def form(*shows: str) -> str:
    values = "".join(f"<value>{show}</value>" for show in shows)
    return (
        f"<x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{ns.PUBSUB_SUBSCRIBE_OPTIONS}</value></field>"
        f"<field var='pubsub#show-values'>{values}</field></x>"
    )


def follows(client: Client, *shows: str, jid: str = BENVOLIO) -> None:
    options = f"<options node='{FEED}' jid='{jid}'>{form(*shows)}</options>"
    result(asks(client, "set", f"<subscribe node='{FEED}' jid='{jid}'/>{options}", to=ROMEO))


def shows(client: Client, show: str = "") -> list[str]:
    """Another presence, and the items that come of it."""
    client.sends(f"<presence><show>{show}</show></presence>" if show else "<presence/>")
    return items(client)


def items(client: Client) -> list[str]:
    return [item for _, _, item in told(client.hears())]


@pytest.fixture
def romeo(square: Square) -> Client:
    return square.online("romeo", "orchard")


@pytest.fixture
def street(square: Square) -> Client:
    client = square.online("benvolio", "street")
    follows(client, "online", "chat")
    client.hears()
    return client


def test_nothing_comes_while_presence_does_not_match(romeo: Client, street: Client) -> None:
    publishes(romeo, "1")
    assert items(street) == ["1"]
    assert shows(street, "dnd") == []
    publishes(romeo, "2")
    publishes(romeo, "3")
    assert items(street) == []
    assert shows(street, "away") == []
    assert shows(street) == ["2", "3"], "in order"
    publishes(romeo, "4")
    assert items(street) == ["4"]
    assert shows(street, "dnd") == [] == shows(street, "chat"), "and once"


def test_what_changed_meanwhile_is_told_as_it_is(square: Square, romeo: Client, street: Client) -> None:
    shows(street, "dnd")
    publishes(romeo, "1")
    publishes(romeo, "2")
    publishes(romeo, "1")
    result(asks(romeo, "set", f"<retract node='{FEED}' notify='1'><item id='2'/></retract>", to=ROMEO))
    street.sends("<presence/>")
    (first, second) = [element for element in street.hears() if element.name == "message"]
    assert told([first])[0][2] == "1"
    event = second.find(ns.PUBSUB_EVENT, "event")
    assert event is not None and "retract" in str(next(iter(event.elements())).first().name)


def test_only_the_clients_that_match_are_told(square: Square, romeo: Client, street: Client) -> None:
    cell = square.online("benvolio", "cell")
    street.hears()
    shows(cell, "dnd"), street.hears()
    publishes(romeo, "1")
    assert items(street) == ["1"] and items(cell) == []
    shows(street, "away"), cell.hears()
    publishes(romeo, "2")
    assert items(street) == [] == items(cell)
    assert shows(cell) == ["2"]
    assert shows(street) == [], "somebody has been told"


def test_of_very_much_the_newest_come(romeo: Client, street: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MISSED_MAX", 5)
    shows(street, "dnd")
    for number in range(9):
        publishes(romeo, str(number))
    assert shows(street) == ["4", "5", "6", "7", "8"]


def test_who_leaves_has_missed_it_like_everybody(square: Square, romeo: Client, street: Client) -> None:
    shows(street, "dnd")
    publishes(romeo, "1")
    street.leaves()
    again = square.login("benvolio", "street")
    assert shows(again) == []
    publishes(romeo, "2")
    assert items(again) == ["2"]


def test_options_are_shown_changed_and_remembered(square: Square, romeo: Client, street: Client) -> None:
    wanted = f"<options node='{FEED}' jid='{BENVOLIO}'/>"

    def values() -> list[str]:
        answer = result(asks(street, "get", wanted, to=ROMEO))
        assert answer is not None
        (field,) = [one for one in answer.first().first().elements() if one.get("var") == "pubsub#show-values"]
        assert field.get("type") == "list-multi"
        assert len(list(field.find_all(ns.DATA, "option"))) == 5
        return [value.text for value in field.find_all(ns.DATA, "value")]

    assert values() == ["online", "chat"]
    shows(street, "dnd")
    publishes(romeo, "1")
    assert items(street) == []
    result(asks(street, "set", f"<options node='{FEED}' jid='{BENVOLIO}'>{form('dnd')}</options>", to=ROMEO))
    assert items(street) == ["1"], "what was missed is not forgotten"
    publishes(romeo, "2")
    assert items(street) == ["2"]
    again = square.login("benvolio", "again")
    street.leaves()
    shows(again)
    publishes(romeo, "3")
    assert items(again) == []
    assert shows(again, "dnd") == ["3"]


@pytest.mark.parametrize("values", [(), ("sleeping",), ("online", "<b/>")])
def test_what_is_no_presence_is_refused(square: Square, romeo: Client, street: Client, values: tuple[str, ...]) -> None:
    request = f"<options node='{FEED}' jid='{BENVOLIO}'>{form(*values)}</options>"
    condition = error(asks(street, "set", request, to=ROMEO))
    assert condition[:2] == ("bad-request", "invalid-options") or "invalid-options" in condition


def test_who_unsubscribes_is_told_nothing_more(square: Square, romeo: Client, street: Client) -> None:
    shows(street, "dnd")
    publishes(romeo, "1")
    result(asks(street, "set", f"<unsubscribe node='{FEED}' jid='{BENVOLIO}'/>", to=ROMEO))
    assert shows(street) == []
    assert not square.readers._picky
    result(asks(street, "set", f"<subscribe node='{FEED}' jid='{BENVOLIO}'/>", to=ROMEO))
    shows(street, "dnd")
    publishes(romeo, "2")
    assert items(street) == ["2"], "a new subscription has no conditions"


def test_one_client_may_be_picky_for_itself(square: Square, romeo: Client) -> None:
    street, cell = square.online("benvolio", "street"), square.online("benvolio", "cell")
    follows(street, "online", jid=f"{BENVOLIO}/street")
    follows(cell, "dnd", jid=f"{BENVOLIO}/cell")
    street.hears(), cell.hears()
    publishes(romeo, "1")
    assert items(street) == ["1"] and items(cell) == []
    assert shows(cell, "dnd") == ["1"]


def test_what_one_may_not_read_any_more_does_not_come(square: Square, romeo: Client, street: Client) -> None:
    shows(street, "dnd")
    publishes(romeo, "1")
    change = f"<affiliations node='{FEED}'><affiliation jid='{BENVOLIO}' affiliation='outcast'/></affiliations>"
    result(asks(romeo, "set", change, to=ROMEO, owner=True))
    assert shows(street) == []


def test_timelines_are_told_like_that_too(square: Square, romeo: Client) -> None:
    street = square.online("benvolio", "street")
    result(asks(street, "set", f"<subscribe node='{FEED}' jid='{BENVOLIO}'/>", to=ROMEO))
    subscribe = f"<subscribe node='{ns.HOME}' jid='{BENVOLIO}'/>"
    options = f"<options node='{ns.HOME}' jid='{BENVOLIO}'>{form('online')}</options>"
    result(asks(street, "set", subscribe + options, to=BENVOLIO))

    def home() -> list[str]:
        events = (element.find(ns.PUBSUB_EVENT, "event") for element in street.hears() if element.name == "message")
        lists = [event.find(ns.PUBSUB_EVENT, "items") for event in events if event is not None]
        told = [one for one in lists if one is not None and one.get("node") == ns.HOME]
        return [item.attributes["id"] for one in told for item in one.elements()]

    publish = "<publish node='{}'><item id='{}'><entry xmlns='{}'><title>a</title></entry></item></publish>"
    for number, expected in ((1, ["1"]), (2, []), (3, [])):
        street.sends("<presence/>" if number == 1 else "<presence><show>dnd</show></presence>")
        result(asks(romeo, "set", publish.format(FEED, number, ns.ATOM)))
        assert home() == expected
    street.sends("<presence/>")
    assert home() == ["2", "3"]
    street.sends("<presence/>")
    assert home() == []


def test_all_of_them_is_no_condition(romeo: Client, street: Client, square: Square) -> None:
    everything = form("online", "chat", "away", "xa", "dnd")
    result(asks(street, "set", f"<options node='{FEED}' jid='{BENVOLIO}'>{everything}</options>", to=ROMEO))
    shows(street, "dnd")
    publishes(romeo, "1")
    assert items(street) == ["1"]
    assert not square.readers._picky


def test_who_is_elsewhere_cannot_say_so(square: Square, romeo: Client) -> None:
    juliet = JID.parse("juliet@capulet.example")
    wanted = subscribing.Subscribe(
        service=JID.parse(ROMEO), node=FEED, actor=juliet, jid=juliet, options={"show-values": ("online",)}
    )
    with pytest.raises(InvalidOptions):
        square.database.run(subscribing.subscribe, wanted)
