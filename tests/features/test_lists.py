"""Lists of people, tags that are followed, threads that are watched, and reports, between two nodes."""

from sqlalchemy import update

from microblog.store import tables
from microblog.store.transaction import Transaction
from microblog.usecases import reading, registering, reporting_abuse
from microblog.wire import ns
from microblog.wire.xml import Element
from tests.features.verona import CAPULET, HOME, Somebody, Verona


def test_a_list_of_people_has_a_timeline_by_chat_and_by_feed(verona: Verona) -> None:
    romeo, juliet, nurse, benvolio = verona.romeo, verona.juliet, verona.nurse, verona.benvolio
    verona.follow((romeo, juliet), (romeo, nurse))
    (said,) = romeo.says(f"list juliet@{CAPULET} balcony")
    assert said == f'juliet@{CAPULET} is in "balcony" now (1). "timeline balcony" shows what they write.'
    romeo.says("list benvolio balcony")
    node = reading.list_node("balcony")
    answer = romeo.asks("set", f"<subscribe node='{node}' jid='{romeo.jid}'/>")
    assert answer.get("type") == "result"
    verona.quiet()
    juliet.says("O Romeo")
    nurse.says("Madam!")
    told = [event for stanza in romeo.receives() if (event := stanza.find(ns.PUBSUB_EVENT, "event")) is not None]
    assert [items.get("node") for event in told for items in event.find_all(ns.PUBSUB_EVENT, "items")].count(node) == 1
    benvolio.says("Good morrow")
    assert set(romeo.finds(node).values()) == {"O Romeo", "Good morrow"}
    (page,) = romeo.says("timeline balcony")
    assert "O Romeo" in page and "Good morrow" in page and "Madam" not in page
    assert benvolio.finds(node, str(romeo.jid)) == {}
    (said,) = benvolio.says("timeline balcony")
    assert said.startswith('There is no timeline "balcony"')
    romeo.says("unlist all balcony")
    assert romeo.finds(node) == {}


def test_a_tag_is_followed_and_comes_into_home_and_as_a_line(verona: Verona) -> None:
    romeo, juliet, benvolio = verona.romeo, verona.juliet, verona.benvolio
    verona.follow((benvolio, juliet))
    (said,) = romeo.says("follow #Verona")
    assert said == "You follow #verona now: what has it and you may read is in your home timeline."
    juliet.says("Good night #verona")
    juliet.says("Parting is such sweet sorrow")
    benvolio.says("I was in #Verona too")
    heard = romeo.hears()
    assert [line.partition(": ")[2] for line in heard] == ["Good night #verona  #1", "I was in #Verona too  #2"]
    assert set(romeo.finds(HOME).values()) == {"Good night #verona", "I was in #Verona too"}
    romeo.says("leave #verona")
    juliet.says("Good night again #verona")
    assert romeo.hears() == [] and romeo.finds(HOME) == {}


def test_a_thread_of_the_other_node_is_watched(verona: Verona) -> None:
    romeo, juliet, nurse = verona.romeo, verona.juliet, verona.nurse
    verona.follow((romeo, juliet))
    juliet.says("What is in a name?")
    (line,) = romeo.hears()
    assert line.endswith("#1")
    verona.follow((nurse, juliet))
    (said,) = romeo.says("watch #1")
    assert said == 'The replies in this thread come to you as they are written. "unwatch #NUMBER" ends it.'
    (said,) = nurse.says(f"get juliet@{CAPULET}")
    assert "#1" in said
    nurse.says("reply #1 A rose, madam")
    (heard,) = romeo.hears()
    assert "A rose, madam" in heard
    assert romeo.finds(HOME) and "A rose, madam" not in romeo.finds(HOME).values()
    (said,) = romeo.says("watch")
    assert said.startswith("Threads that you watch: 1.") and "What is in a name?" in said
    assert romeo.says("unwatch #1") == ["You do not watch this thread any more."]
    nurse.says("reply #1 By any other name")
    assert romeo.hears() == []
    assert romeo.says("unwatch #1") == ["You do not watch this thread."]


def test_a_report_reaches_the_moderators_of_both_nodes_and_only_ours_know_of_whom(verona: Verona) -> None:
    romeo, juliet, benvolio, nurse = verona.romeo, verona.juliet, verona.benvolio, verona.nurse
    for somebody in (benvolio, nurse):
        _looks_after(somebody)
    verona.follow((romeo, juliet))
    juliet.says("Wherefore art thou Romeo?")
    verona.quiet()
    (said,) = romeo.says("report #1 She incites.")
    assert said.startswith(f"Those who look after this node will look at what you said of juliet@{CAPULET}.")
    (line,) = benvolio.hears()
    shows = '("admin reports" shows what waits)'
    assert line == f"Report 1: romeo reports juliet@{CAPULET} for abuse {shows}: She incites."
    assert nurse.hears() == []
    romeo.says("report #1 there")
    assert benvolio.hears() == []
    (line,) = nurse.hears()
    assert line == f"Report 1: montague.example reports juliet for abuse {shows}: She incites."
    (shown,) = nurse.says("admin reports")
    assert "Wherefore art thou Romeo?" in shown and "romeo" not in shown
    assert nurse.says("admin settle 1") == ["Report 1 about juliet is settled."]
    assert "Wherefore art thou Romeo?" not in romeo.says("admin reports")[0]
    assert len(verona.montague.database.run(reporting_abuse.cases)) == 1


def test_what_another_node_reports_too_often_is_dropped(verona: Verona) -> None:
    romeo, nurse = verona.romeo, verona.nurse
    _looks_after(nurse)
    verona.quiet()
    for number in range(60):
        verona.capulet.database.run(registering.create_account, f"p{number}", "secret")
        romeo.says(f"report p{number}@{CAPULET} there")
    assert len(nurse.hears()) == 1
    count = verona.capulet.database.run(lambda tx: tx.reports.count_open())
    assert count <= reporting_abuse.NODE_OPEN_MAX


def _looks_after(somebody: Somebody) -> None:
    """They are an administrator of their node."""

    def promote(tx: Transaction) -> None:
        mine = tables.accounts.c.localpart == somebody.jid.localpart
        tx.connection.execute(update(tables.accounts).where(mine).values(admin=True))

    somebody.twin.database.run(promote)


def _form(somebody: Somebody, command: str, **values: str) -> str:
    """A command as a form, filled in; for each choice of a person, somebody who is not among those that are offered."""

    def do(inside: str, session: str = "") -> Element:
        attributes = f" sessionid='{session}'" if session else ""
        text = f"<command xmlns='{ns.COMMANDS}' node='{command}'{attributes}>{inside}</command>"
        stanzas = somebody.sends(f"<iq type='set' id='c' to='{somebody.twin.domain}'>{text}</iq>")
        (answer,) = [stanza for stanza in stanzas if stanza.name == "iq" and stanza.get("id") == "c"]
        found = answer.first()
        assert found is not None and answer.get("type") == "result", answer
        return found

    answer = do("")
    while answer.get("status") == "executing":
        form = answer.find(ns.DATA, "x")
        assert form is not None
        fields = ""
        for field in form.find_all(ns.DATA, "field"):
            var = field.attributes["var"]
            value = "other" if field.get("type") == "list-single" and var == "person" else values.get(var, "")
            value = ns.COMMAND_FORM if var == "FORM_TYPE" else value
            fields += f"<field var='{var}'><value>{value}</value></field>" if value else ""
        answer = do(f"<x xmlns='{ns.DATA}' type='submit'>{fields}</x>", answer.attributes["sessionid"])
    return answer.child_text(ns.COMMANDS, "note") or ""


def test_the_same_by_forms(verona: Verona) -> None:
    romeo, juliet = verona.romeo, verona.juliet
    assert _form(romeo, "follow", person="#Verona").startswith("You follow #verona now")
    verona.follow((romeo, juliet))
    assert _form(romeo, "follow", person="#Mantua").startswith("You follow #mantua now")
    assert _form(romeo, "leave", person="#Mantua") == "You do not follow #mantua any more."
    assert _form(romeo, "list", person=f"juliet@{CAPULET}", name="balcony").startswith(f"juliet@{CAPULET} is in")
    assert "balcony (1)" in _form(romeo, "lists")
    juliet.says("What is in a name?")
    (line,) = romeo.hears()
    number = line.rpartition("#")[2]
    assert _form(romeo, "watch", item=number).startswith("The replies in this thread")
    assert _form(romeo, "unwatch", item=f"#{number}") == "You do not watch this thread any more."
    said = _form(romeo, "report", target=f"#{number}", there="1", text="She asks.")
    assert said.endswith(f"Those of {CAPULET} were told too, without your name.")
    assert _form(romeo, "unlist", person=f"juliet@{CAPULET}", name="balcony") == 'There is no list "balcony" any more.'
