"""Lines come by what presence says: from another node too, by chat and by feed, and nothing is lost or told twice."""

from microblog.wire import ns
from tests.features.verona import CAPULET, FEED, Somebody, Verona, entry

HOUR = 3600


def shows(somebody: Somebody, show: str = "") -> list[str]:
    """Another presence, and the lines that come of it."""
    somebody._sends(f"<presence><show>{show}</show></presence>" if show else "<presence/>")
    return words(somebody)


def words(somebody: Somebody) -> list[str]:
    """The lines that came, without their numbers."""
    return [line.partition("  #")[0] for line in somebody.hears()]


def test_posts_wait_while_one_is_away_and_busy(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.romeo, verona.benvolio))
    verona.juliet.says("zero")
    assert words(verona.romeo) == ["juliet@capulet.example: zero"]
    shows(verona.romeo, "away")
    verona.juliet.says("one")
    verona.benvolio.says("two")
    assert words(verona.romeo) == []
    verona.later(15 * 60)
    assert words(verona.romeo) == ["juliet@capulet.example: one", "benvolio: two"]
    shows(verona.romeo, "dnd")
    verona.juliet.says("three")
    verona.later(HOUR)
    assert words(verona.romeo) == []
    verona.juliet.says("d romeo@montague.example four")
    assert [line for line in words(verona.romeo) if "four" in line], "what is for him alone comes"
    assert shows(verona.romeo) == ["juliet@capulet.example: three"]
    assert shows(verona.romeo, "away") == [] == shows(verona.romeo)


def test_who_was_off_line_is_told_how_much_it_was_and_catches_up(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.says("zero")
    assert len(words(verona.romeo)) == 1
    verona.romeo._sends("<presence type='unavailable'/>")
    verona.later(HOUR)
    for text in ("one", "two, @romeo@montague.example", "three"):
        verona.juliet.says(text)
        verona.later(1)
    assert words(verona.romeo) == []
    shows(verona.romeo)
    verona.later(1)
    assert words(verona.romeo) == ['While you were away: 3 posts, 1 to you. "catchup" to read.']
    (caught_up,) = verona.romeo.says("catchup")
    assert [line.partition("  #")[0] for line in caught_up.splitlines()] == [
        "New posts: 3, to you: 1.",
        "juliet@capulet.example: one",
        "juliet@capulet.example: two, @romeo@montague.example",
        "juliet@capulet.example: three",
    ]
    assert verona.romeo.says("more") == ["There is no more."]


def test_one_says_when_and_turns_sources_off_for_a_time(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.romeo, verona.benvolio))
    assert "every 15 minutes" in verona.romeo.says("when")[0]
    verona.romeo.says("when always")
    shows(verona.romeo, "dnd")
    verona.juliet.says("one")
    assert words(verona.romeo) == ["juliet@capulet.example: one"]
    verona.romeo.says("off juliet@capulet.example for 2h")
    verona.juliet.says("two")
    verona.benvolio.says("three")
    assert words(verona.romeo) == ["benvolio: three"]
    verona.later(2 * HOUR + 60)
    verona.juliet.says("four")
    assert words(verona.romeo) == ["juliet@capulet.example: four"]
    verona.romeo.says("off #lift")
    verona.juliet.says("the #lift is back")
    assert words(verona.romeo) == []


def test_what_is_said_in_a_form_counts_in_chat(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    command = f"<command xmlns='{ns.COMMANDS}' node='when' action='execute'/>"
    verona.romeo._sends(f"<iq type='set' id='f' to='montague.example'>{command}</iq>")
    session = b"".join(verona.romeo.line.written).decode().partition("sessionid='")[2].partition("'")[0]
    form = (
        f"<x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE'><value>urn:x-microblog:command:0</value></field>"
        "<field var='policy'><value>online</value></field></x>"
    )
    verona.romeo._sends(
        f"<iq type='set' id='g' to='montague.example'>"
        f"<command xmlns='{ns.COMMANDS}' node='when' sessionid='{session}' action='complete'>{form}</command></iq>"
    )
    verona.romeo.hears()
    assert "while you are away or do not want" in verona.romeo.says("when")[0]


def test_a_feed_is_told_by_presence(verona: Verona) -> None:
    values = "<value>online</value><value>chat</value>"
    form = (
        f"<x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{ns.PUBSUB_SUBSCRIBE_OPTIONS}</value></field>"
        f"<field var='pubsub#show-values'>{values}</field></x>"
    )
    jid = verona.nurse.jid
    answer = verona.nurse.asks(
        "set",
        f"<subscribe node='{FEED}' jid='{jid}'/><options node='{FEED}' jid='{jid}'>{form}</options>",
        str(verona.juliet.jid),
    )
    assert answer.get("type") == "result" and verona.nurse.jid.domainpart == CAPULET
    verona.nurse.says("off")
    verona.nurse._sends("<presence><show>dnd</show></presence>")
    verona.juliet.publishes("1", entry("one"))
    verona.juliet.publishes("2", entry("two"))
    assert items(verona.nurse) == []
    verona.nurse._sends("<presence/>")
    assert items(verona.nurse) == ["1", "2"]
    verona.juliet.publishes("3", entry("three"))
    assert items(verona.nurse) == ["3"]


def items(somebody: Somebody) -> list[str]:
    found = []
    for message in somebody.receives():
        event = message.find(ns.PUBSUB_EVENT, "event")
        items = None if event is None else event.find(ns.PUBSUB_EVENT, "items")
        if items is not None:
            found += [item.attributes["id"] for item in items.elements()]
    return found
