"""Finding: what was written, as far as one may read it."""

from microblog.wire import ns
from microblog.wire.xml import Element
from tests.features.verona import MONTAGUE, Verona, entry


def texts(said: str) -> list[str]:
    """What is shown, without the numbers."""
    return [line.partition("  #")[0] for line in said.splitlines()]


def test_a_search_finds_what_one_may_read_here_and_from_elsewhere(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.says("The lift is broken")
    verona.later(1)
    verona.benvolio.says("local lift 2 is back")
    verona.later(1)
    verona.nurse.says("The lift? I take the stairs")
    verona.later(1)
    verona.romeo.hears()
    (shown,) = verona.romeo.says("search LIFT")
    assert texts(shown) == ["juliet@capulet.example: The lift is broken", "(local) benvolio: lift 2 is back"]
    (shown,) = verona.juliet.says("search lift")
    assert texts(shown) == ["juliet: The lift is broken", "nurse: The lift? I take the stairs"]
    (shown,) = verona.romeo.says('search "lift is" from juliet@capulet.example')
    assert texts(shown) == ["juliet@capulet.example: The lift is broken"]
    (shown,) = verona.romeo.says("search stairs")
    assert shown == "Nothing fits: stairs"


def test_what_is_found_goes_with_its_edits_and_its_end(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.publishes("bird", entry("It was the nightingale"))
    verona.later(1)
    verona.romeo.hears()
    (shown,) = verona.romeo.says("search nightingale")
    assert texts(shown) == ["juliet@capulet.example: It was the nightingale"]
    verona.juliet.publishes("bird", entry("It was the lark"))
    verona.later(1)
    assert verona.romeo.says("search nightingale")[-1] == "Nothing fits: nightingale"
    (shown,) = verona.romeo.says("search lark")
    assert texts(shown) == ["juliet@capulet.example: It was the lark"]
    verona.juliet.says("delete last")
    verona.juliet.says("yes")
    verona.later(1)
    assert verona.romeo.says("search lark")[-1] == "Nothing fits: lark"


def test_what_was_written_before_one_followed_is_found(verona: Verona) -> None:
    for number in range(3):
        day = f"<published>2025-12-{number + 1:02}T00:00:00Z</published>"
        verona.juliet.publishes(f"p{number}", entry(f"a rose, day {number + 1}", day))
    verona.follow((verona.romeo, verona.juliet))
    verona.later(60)
    verona.romeo.hears()
    (shown,) = verona.romeo.says("search rose")
    assert texts(shown) == [f"juliet@capulet.example: a rose, day {number + 1}" for number in range(3)]


def test_a_search_by_form(verona: Verona) -> None:
    verona.benvolio.says("lift 2 is back")
    verona.later(1)
    field = "<field var='words'><value>lift from benvolio</value></field>"
    form_type = f"<field var='FORM_TYPE' type='hidden'><value>{ns.COMMAND_FORM}</value></field>"
    form = f"<x xmlns='{ns.DATA}' type='submit'>{form_type}{field}</x>"
    verona.romeo.hears()

    def does(attributes: str, inside: str = "") -> Element:
        command = f"<command xmlns='{ns.COMMANDS}' node='search' {attributes}>{inside}</command>"
        (answer,) = verona.romeo.sends(f"<iq type='set' id='f' to='{MONTAGUE}'>{command}</iq>")
        found = answer.first()
        assert found is not None
        return found

    session = does("action='execute'").get("sessionid")
    command = does(f"action='complete' sessionid='{session}'", form)
    assert command.get("status") == "completed"
    table = command.find(ns.DATA, "x")
    assert table is not None
    (row,) = [item for item in table.elements() if item.name == "item"]
    values = {field.get("var"): field.child_text(ns.DATA, "value") for field in row.elements()}
    assert values["author"] == str(verona.benvolio.jid) and values["text"] == "lift 2 is back"
