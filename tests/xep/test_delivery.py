"""Lines of chat come by what somebody's presence says."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.event import listen
from twisted.internet.defer import Deferred

from microblog.model.errors import ResourceConstraint
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import Affiliation
from microblog.runtime import Clock
from microblog.store.database import Database, Transaction
from microblog.usecases import deferring, reading, retracting
from microblog.usecases.chatting import HELD_MAX
from microblog.wire import ns
from microblog.xep.heldlines import AT_ONCE
from tests.conftest import Time
from tests.im.town import Client, done
from tests.usecases.test_deferring import comes_back
from tests.xep.parlour import NODE, Parlour, lines, says, shown
from tests.xep.test_chatlines import comes, follow

ROMEO = JID("romeo", NODE)
BENVOLIO = JID("benvolio", NODE)
MINUTE = 60


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    return Parlour(database, clock)


@pytest.fixture
def romeo(parlour: Parlour) -> Client:
    """Romeo talks to the node and follows benvolio."""
    client = comes(parlour, "romeo")
    follow(parlour, client, "benvolio")
    return client


def shows(client: Client, show: str = "") -> list[str | None]:
    """Another presence, and the lines that come of it."""
    client.sends(f"<presence><show>{show}</show></presence>" if show else "<presence/>")
    return texts(client)


def texts(client: Client) -> list[str | None]:
    return [text for _, text in lines(client)]


def mention(of: JID = ROMEO) -> str:
    return f"<link rel='mentioned' href='xmpp:{of}'/>"


def held(parlour: Parlour) -> list[tuple[str, str | None]]:
    key = parlour.database.run(lambda tx: tx.accounts.get("romeo").key)
    rows = parlour.database.run(lambda tx: tx.deferred.due(key, 0, 1000))
    return [(row.kind, row.address.item_id if row.address else row.text) for row in rows]


# dnd


def test_who_does_not_want_to_be_disturbed_gets_posts_later_and_in_order(parlour: Parlour, romeo: Client) -> None:
    assert shows(romeo, "dnd") == []
    for number in range(3):
        parlour.publishes("benvolio", f"Good morrow {number}")
    assert texts(romeo) == []
    assert shows(romeo) == [f"benvolio: Good morrow {number}  #{number + 1}" for number in range(3)]
    assert shows(romeo, "dnd") == [] == shows(romeo), "and once"
    assert held(parlour) == []


def test_what_is_direct_or_urgent_comes_at_once(parlour: Parlour, romeo: Client) -> None:
    shows(romeo, "dnd")
    parlour.publishes("mercutio", "Gentle Romeo", inside=mention())
    assert texts(romeo) == [], "a mention waits"
    mercutio = comes(parlour, "mercutio")
    says(mercutio, "dm romeo We must have you dance")
    assert texts(romeo) == ["(private) mercutio: We must have you dance  #1"]
    done(parlour.lines.say(ROMEO, "Fire in the house", urgent=True))
    assert texts(romeo) == ["Fire in the house"]
    assert shows(romeo) == ["mercutio: Gentle Romeo  #2"]


def test_of_several_clients_the_best_one_counts(parlour: Parlour, romeo: Client) -> None:
    desk = parlour.online("romeo", "desk")
    shows(romeo, "dnd"), desk.hears()
    parlour.publishes("benvolio", "Good morrow")
    assert texts(romeo) == texts(desk) == ["benvolio: Good morrow  #1"]
    desk.leaves(), romeo.hears()
    parlour.publishes("benvolio", "Is the day so young?")
    assert texts(romeo) == []
    again = parlour.online("romeo", "desk")
    again.hears()
    assert texts(romeo) == ["benvolio: Is the day so young?  #2"], "all clients have it when one is there"
    third = parlour.online("romeo", "cell")
    assert third.hears() == [] or texts(third) == [], "and none later"


def test_a_client_for_feeds_does_not_count(parlour: Parlour, romeo: Client) -> None:
    desk = parlour.online("romeo", "desk")
    desk.session.notify = frozenset((MICROBLOG,))
    shows(romeo, "dnd"), desk.hears()
    parlour.publishes("benvolio", "Good morrow")
    assert texts(romeo) == []
    assert shows(romeo) == ["benvolio: Good morrow  #1"]


def test_what_waited_is_as_it_is_then(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "A sall sound", item_id="0a")
    romeo.hears()
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "Good morow", item_id="a")
    parlour.publishes("benvolio", "Forget this", item_id="b")
    parlour.publishes("benvolio", "Good morrow", item_id="a")
    parlour.publishes("benvolio", "A small sound", item_id="0a")
    request = retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="b", notify=True)
    parlour.database.run(retracting.retract, request)
    assert texts(romeo) == []
    romeo.sends("<presence/>")
    first, second = [element for element in romeo.hears() if element.get("type") == "chat"]
    assert first.child_text(ns.CLIENT, "body") == "benvolio: Good morrow  #2"
    replaced = second.find(ns.CORRECT, "replace")
    assert replaced is not None and replaced.get("id") == "n1"
    assert second.child_text(ns.CLIENT, "body") == "benvolio: A small sound  #1"
    assert held(parlour) == []


def test_what_one_may_not_read_any_more_does_not_come(parlour: Parlour, romeo: Client) -> None:
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "Good morrow")
    node = parlour.database.run(lambda tx: tx.nodes.find(BENVOLIO, MICROBLOG))
    parlour.database.run(lambda tx: tx.affiliations.set(node, ROMEO, Affiliation.OUTCAST))
    assert shows(romeo) == []
    assert held(parlour) == []


# away


def test_to_those_who_are_away_lines_come_in_batches(parlour: Parlour, romeo: Client, time: Time) -> None:
    shows(romeo, "away")
    parlour.publishes("benvolio", "One")
    time.advance(10 * MINUTE)
    parlour.publishes("benvolio", "Two")
    assert texts(romeo) == []
    time.advance(5 * MINUTE)
    assert texts(romeo) == ["benvolio: One  #1", "benvolio: Two  #2"]
    parlour.publishes("benvolio", "Three")
    time.advance(14 * MINUTE)
    assert texts(romeo) == []
    time.advance(MINUTE)
    assert texts(romeo) == ["benvolio: Three  #3"]
    parlour.publishes("benvolio", "Four")
    assert shows(romeo, "xa") == []
    assert shows(romeo) == ["benvolio: Four  #4"], "who comes back does not wait"
    time.advance(20 * MINUTE)
    assert texts(romeo) == []


def test_who_goes_from_away_to_dnd_has_no_batches(parlour: Parlour, romeo: Client, time: Time) -> None:
    shows(romeo, "away")
    parlour.publishes("benvolio", "One")
    shows(romeo, "dnd")
    time.advance(60 * MINUTE)
    assert texts(romeo) == []
    assert shows(romeo, "chat") == ["benvolio: One  #1"]


@pytest.mark.parametrize(
    ("said", "answer", "paces"),
    [
        ("when away 5m", "every 5 minutes while you are away", {"": 0, "away": 5, "xa": 5, "dnd": None}),
        ("when online", "while you are away or do not want", {"": 0, "chat": 0, "away": None, "dnd": None}),
        ("when always", "at once, whatever", {"": 0, "away": 0, "dnd": 0}),
        ("when never", "No posts come by themselves", {"": None, "away": None, "dnd": None}),
    ],
)
def test_when(
    parlour: Parlour, romeo: Client, time: Time, said: str, answer: str, paces: dict[str, int | None]
) -> None:
    assert answer in says(romeo, said)
    assert answer in says(romeo, "when"), "it is remembered"
    for show, minutes in paces.items():
        shows(romeo, show)
        parlour.publishes("benvolio", f"When I am {show or 'here'}")
        if minutes:
            assert texts(romeo) == []
            time.advance(minutes * MINUTE)
        assert [str(text).partition("  ")[0] for text in texts(romeo)] == (
            [] if minutes is None else [f"benvolio: When I am {show or 'here'}"]
        ), show
        time.advance(60 * MINUTE)
        shows(romeo), romeo.hears()


def test_when_makes_sense_or_says_so(parlour: Parlour, romeo: Client) -> None:
    assert "every 15 minutes" in says(romeo, "when")
    assert "every 30 minutes" in says(romeo, "when 30m")
    assert "every 30 minutes" in says(romeo, "when away")
    for nonsense in ("when online 15m", "when away 3d", "when dnd 0m", "when away 99999999999m", "when shall we meet"):
        answer = says(romeo, nonsense)
        assert "30 minutes" not in answer and answer, nonsense
        says(romeo, "no")
    assert "every 30 minutes" in says(romeo, "when")
    assert not [event for event in parlour.words.done if event[0] == "post"]


# off line


def test_who_is_off_line_costs_nothing_and_is_told_how_much_it_was(parlour: Parlour, romeo: Client, time: Time) -> None:
    parlour.publishes("benvolio", "Before")
    romeo.hears()
    romeo.leaves()
    assert not parlour.lines.listeners.any()
    time.advance(MINUTE)
    for number in range(14):
        parlour.publishes("benvolio", f"Good morrow {number}", inside=mention() if number < 2 else "")
    assert not parlour.lines._events and held(parlour) == []
    time.advance(MINUTE)
    again = parlour.login("romeo", "street")
    again.sends("<presence/>")
    assert texts(again) == [], "it is not known yet whether it asks for feeds"
    time.advance(1)
    assert texts(again) == ['While you were away: 14 posts, 2 to you. "catchup" to read.']
    other = parlour.login("romeo", "desk")
    other.sends("<presence/>")
    assert texts(other) == [] == texts(again), "once"


def test_catching_up_begins_with_what_was_missed(parlour: Parlour, romeo: Client, time: Time) -> None:
    account = parlour.database.run(lambda tx: tx.accounts.get("romeo"))
    parlour.publishes("benvolio", "Old")
    assert len(texts(romeo)) == 1
    romeo.leaves()
    time.advance(MINUTE)
    parlour.publishes("benvolio", "New")
    time.advance(MINUTE)
    parlour.login("romeo", "street").sends("<presence/>")
    time.advance(1)
    found = parlour.database.run(reading.catch_up, reading.CatchUp(account=account, most=10))
    assert found.unread == 1 and [shown(one.node, one.item).entry.title for one in found.page.posts] == ["New"]


def test_a_client_for_feeds_is_told_nothing_when_it_comes(parlour: Parlour, romeo: Client, time: Time) -> None:
    romeo.leaves()
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Good morrow")
    desk = parlour.login("romeo", "desk")
    desk.sends("<presence/>")
    desk.session.notify = frozenset((MICROBLOG,))
    time.advance(1)
    assert texts(desk) == []


def test_who_comes_and_goes_and_comes_is_told_once(parlour: Parlour, romeo: Client, time: Time) -> None:
    romeo.leaves()
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Good morrow")
    for _ in range(3):
        again = parlour.login("romeo", "street")
        again.sends("<presence/>")
        time.advance(0.3)
        assert texts(again) == []
        again.leaves()
    again = parlour.login("romeo", "street")
    again.sends("<presence/>")
    time.advance(0.5)
    parlour.publishes("benvolio", "Is the day so young?")
    time.advance(2)
    assert texts(again) == [
        'While you were away: 1 post. "catchup" to read.',
        "benvolio: Is the day so young?  #1",
    ]


def test_no_digest_for_nothing_nor_for_who_wants_none(parlour: Parlour, romeo: Client, time: Time) -> None:
    romeo.leaves()
    time.advance(MINUTE)
    again = parlour.login("romeo", "street")
    again.sends("<presence/>")
    assert texts(again) == []
    key = parlour.database.run(lambda tx: tx.accounts.get("romeo").key)
    parlour.database.run(lambda tx: tx.preferences.set(key, "digest", "off"))
    again.leaves()
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Good morrow")
    third = parlour.login("romeo", "street")
    third.sends("<presence/>")
    assert texts(third) == []


def test_who_comes_back_and_is_busy_gets_the_digest_when_they_have_time(
    parlour: Parlour, romeo: Client, time: Time
) -> None:
    romeo.leaves()
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Good morrow")
    again = parlour.login("romeo", "street")
    assert shows(again, "dnd") == []
    time.advance(1)
    parlour.publishes("benvolio", "Is the day so young?")
    assert shows(again) == [
        'While you were away: 1 post. "catchup" to read.',
        "benvolio: Is the day so young?  #1",
    ]


def test_what_waited_when_somebody_went_is_counted_and_not_lost(parlour: Parlour, romeo: Client, time: Time) -> None:
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "While busy")
    time.advance(MINUTE)
    romeo.leaves()
    time.advance(MINUTE)
    again = parlour.login("romeo", "street")
    assert shows(again) == ["benvolio: While busy  #1"], "nothing else happened: it comes by itself"
    shows(again, "dnd")
    parlour.publishes("benvolio", "While busy again")
    time.advance(MINUTE)
    again.leaves()
    time.advance(MINUTE)
    parlour.publishes("benvolio", "While away", inside=mention())
    third = parlour.login("romeo", "street")
    assert shows(third) == []
    time.advance(1)
    assert texts(third) == ['While you were away: 2 posts, 1 to you. "catchup" to read.']
    assert says(third, "more") == "What waited for you:\nbenvolio: While busy again  #2"
    assert says(third, "more") == "There is no more."


# very much


def test_of_very_much_one_line_says_how_much_and_more_shows_it(parlour: Parlour, romeo: Client) -> None:
    shows(romeo, "dnd")
    for number in range(AT_ONCE + 5):
        parlour.publishes("benvolio", f"Good morrow {number}")
    done(parlour.lines.say(ROMEO, "Juliet is near"))
    assert shows(romeo) == [f'What waited for you: {AT_ONCE + 5} posts. "more" to read.', "Juliet is near"]
    first = says(romeo, "more")
    assert first.splitlines()[:2] == ['What waited for you, "more" for more:', "benvolio: Good morrow 0  #1"]
    parlour.publishes("benvolio", "And now")
    assert texts(romeo) == ["benvolio: And now  #11"], "what is new comes as ever"
    assert says(romeo, "more").splitlines()[1] == "benvolio: Good morrow 10  #12"
    assert says(romeo, "more").splitlines()[-1] == f"benvolio: Good morrow {AT_ONCE + 4}  #26"
    assert says(romeo, "more") == "There is no more."
    assert held(parlour) == []


def test_reading_settles_what_waits(parlour: Parlour, romeo: Client) -> None:
    shows(romeo, "dnd")
    for number in range(3):
        parlour.publishes("benvolio", f"Good morrow {number}")
    romeo.hears()
    says(romeo, "home")
    assert shows(romeo) == ["benvolio: Good morrow 0  #3"], "the page had two of them"


def test_no_more_waits_than_is_good(parlour: Parlour, romeo: Client) -> None:
    key = parlour.database.run(lambda tx: tx.accounts.get("romeo").key)
    shows(romeo, "dnd")
    for number in range(HELD_MAX + 3):
        done(parlour.lines.say(ROMEO, f"Line {number}"))
    waiting = held(parlour)
    assert len(waiting) == HELD_MAX and waiting[0] == ("line", "Line 3")
    assert texts(romeo) == []
    came = shows(romeo)
    assert came == [f"Line {number}" for number in range(3, HELD_MAX + 3)]
    assert not parlour.database.run(lambda tx: tx.deferred.waits(key))


# on and off


def test_a_source_can_be_turned_off_for_a_time(parlour: Parlour, romeo: Client, time: Time) -> None:
    follow(parlour, romeo, "mercutio")
    assert "until you say" in says(romeo, "off benvolio")
    parlour.publishes("benvolio", "Good morrow")
    parlour.publishes("mercutio", "Nay, gentle Romeo")
    assert texts(romeo) == ["mercutio: Nay, gentle Romeo  #1"]
    parlour.publishes("benvolio", "For you, Romeo", inside=mention())
    assert texts(romeo) == ["benvolio: For you, Romeo  #2"], "what is for oneself comes"
    assert "benvolio" in says(romeo, "when")
    assert "come here again" in says(romeo, "on benvolio")
    assert "was not off" in says(romeo, "on benvolio")
    parlour.publishes("benvolio", "Is the day so young?")
    assert texts(romeo) == ["benvolio: Is the day so young?  #3"]
    says(romeo, "off mercutio for 2h")
    parlour.publishes("mercutio", "Hungry")
    assert texts(romeo) == []
    time.advance(121 * MINUTE)
    parlour.publishes("mercutio", "A plague")
    assert texts(romeo) == ["mercutio: A plague  #4"]
    assert "Off:" not in says(romeo, "when")


def test_a_tag_can_be_turned_off(parlour: Parlour, romeo: Client) -> None:
    assert "#ball" in says(romeo, "off #Ball")
    parlour.publishes("benvolio", "Dance", inside="<category term='ball'/>")
    parlour.publishes("benvolio", "Fight", inside="<category term='sword'/>")
    assert texts(romeo) == ["benvolio: Fight  #1"]
    says(romeo, "on #ball")
    parlour.publishes("benvolio", "Dance", inside="<category term='ball'/>")
    assert len(texts(romeo)) == 1


def test_all_of_it_can_be_off_for_a_time(parlour: Parlour, romeo: Client, time: Time) -> None:
    assert "until" in says(romeo, "off for 2h")
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Good morrow")
    assert texts(romeo) == []
    assert "It is all off until" in says(romeo, "when")
    time.advance(130 * MINUTE)
    time.advance(1)
    assert texts(romeo) == ['While you were away: 1 post. "catchup" to read.']
    parlour.publishes("benvolio", "Is the day so young?")
    assert texts(romeo) == ["benvolio: Is the day so young?  #1"]
    says(romeo, "off for 2h")
    says(romeo, "on")
    parlour.publishes("benvolio", "Come")
    assert texts(romeo) == ["benvolio: Come  #2"]


@pytest.mark.parametrize("text", ["on the way home", "off we go then", "end of the day", "stop it, please"])
def test_what_is_no_command_is_a_post(parlour: Parlour, romeo: Client, text: str) -> None:
    assert says(romeo, text) == "sent"


@pytest.mark.parametrize(
    "text", ["off julliet", "off #ball for ever", "off for lunch", "off benvolio please", "on @x y"]
)
def test_what_looks_like_a_command_is_asked_about(parlour: Parlour, romeo: Client, text: str) -> None:
    assert says(romeo, text).startswith("Nothing was posted.")


def test_only_so_many_sources_are_paused(parlour: Parlour, romeo: Client) -> None:
    for number in range(deferring.PAUSES_MAX):
        key = parlour.database.run(lambda tx: tx.accounts.get("romeo").key)
        assert parlour.database.run(deferring.pause, key, f"#tag{number}", None)
    assert says(romeo, "off #more") == "That is off for too many already."
    assert len(says(romeo, "when")) < 1000


# what others have to say


def test_others_show_posts_to_whom_they_like_but_nobody_twice(parlour: Parlour, romeo: Client) -> None:
    item = parlour.publishes("mercutio", "The lift is back")
    node = parlour.database.run(lambda tx: tx.nodes.find(JID("mercutio", NODE), MICROBLOG))
    post = shown(node, item)
    readers = {ROMEO: "[~lift]", JID("tybalt", NODE): "", BENVOLIO: ""}
    for _ in range(2):
        done(parlour.lines.show(post, readers, kind="track"))
    assert texts(romeo) == ["[~lift] mercutio: The lift is back  #1"]
    item = parlour.publishes("mercutio", "And down")
    shows(romeo, "dnd")
    for _ in range(2):
        done(parlour.lines.show(shown(node, item), readers, kind="track"))
    assert texts(romeo) == []
    done(parlour.lines.show(shown(node, item), readers, kind="track", urgent=True))
    assert texts(romeo) == ["[~lift] mercutio: And down  #2"]
    assert shows(romeo) == []
    item = parlour.publishes("mercutio", "And up")
    shows(romeo, "dnd")
    done(parlour.lines.show(shown(node, item), readers, kind="track"))
    assert shows(romeo) == ["[~lift] mercutio: And up  #3"], "the mark is kept"


def test_who_does_not_want_to_read_it_is_not_told(parlour: Parlour, romeo: Client) -> None:
    hushed = {ROMEO}
    parlour.lines.hushes = lambda event, entry: hushed
    parlour.publishes("benvolio", "Good morrow")
    assert texts(romeo) == []
    hushed.clear()
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "Good morrow again")
    hushed.add(ROMEO)
    assert shows(romeo) == [] and held(parlour) == []


def test_others_are_told_besides_if_they_may_read_it(parlour: Parlour, romeo: Client) -> None:
    parlour.lines.besides = lambda event, entry: [ROMEO, JID("tybalt", NODE)]
    parlour.publishes("mercutio", "Nay")
    assert texts(romeo) == ["mercutio: Nay  #1"]
    parlour.publishes("mercutio", "For my followers", audience=Audience.FOLLOWERS)
    assert texts(romeo) == []


# restarts, removal


def test_what_waits_survives_a_restart(parlour: Parlour, romeo: Client, clock: Clock, time: Time) -> None:
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "Good morrow")
    again = Parlour.__new__(Parlour)
    settle, Parlour.settle = Parlour.settle, lambda self, *names: None  # type: ignore[method-assign]  # put back below
    try:
        parlour.database.listeners.clear()
        again.__init__(parlour.database, clock)  # type: ignore[misc]  # again on the same object
    finally:
        Parlour.settle = settle  # type: ignore[method-assign]  # put back below
    client = again.login("romeo", "phone")
    assert shows(client) == ["benvolio: Good morrow  #1"]
    client.leaves()
    client = again.login("romeo", "phone")
    assert shows(client) == []


def test_what_came_before_the_server_died_is_not_missed(
    parlour: Parlour, romeo: Client, clock: Clock, time: Time
) -> None:
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Seen")
    assert len(texts(romeo)) == 1
    parlour.lines.listeners.here.clear()  # as if it had been killed
    parlour.database.run(deferring.begin)
    key = parlour.database.run(lambda tx: tx.accounts.get("romeo").key)
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Not seen")
    missed = comes_back(parlour.database, "romeo")
    assert missed is not None and missed.posts == 1
    assert parlour.database.run(lambda tx: tx.deferred.absence(key)).since is None


def test_what_waited_when_the_server_died_is_counted_once(parlour: Parlour, romeo: Client, time: Time) -> None:
    shows(romeo, "dnd")
    time.advance(MINUTE)
    parlour.publishes("benvolio", "Held")
    parlour.publishes("benvolio", "Held as well")
    parlour.lines.listeners.here.clear()  # as if it had been killed
    parlour.database.run(deferring.begin)
    missed = comes_back(parlour.database, "romeo")
    assert missed is not None and missed.posts == 2


def test_an_account_that_is_removed_leaves_nothing(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "off benvolio")
    says(romeo, "on benvolio")
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "Good morrow")
    assert held(parlour)
    key = parlour.database.run(lambda tx: tx.accounts.get("romeo").key)
    parlour.database.run(lambda tx: tx.accounts.remove(tx.accounts.get("romeo")))
    assert parlour.database.run(lambda tx: tx.deferred.absence(key)) is None
    assert not parlour.database.run(lambda tx: tx.deferred.waits(key))
    follow(parlour, parlour.online("mercutio", "street"), "benvolio")
    mercutio = comes(parlour, "mercutio")
    shows(romeo, "dnd"), mercutio.hears()
    parlour.publishes("benvolio", "Is the day so young?")
    assert texts(mercutio) == ["benvolio: Is the day so young?  #1"], "and others are told"
    assert shows(romeo) == []


def statements(parlour: Parlour) -> list[str]:
    """What the database is asked from now on."""
    said: list[str] = []
    listen(parlour.database._engine, "before_cursor_execute", lambda *args: said.append(str(args[2])))
    return said


def test_presence_that_changes_without_end_asks_the_database_nothing(parlour: Parlour, romeo: Client) -> None:
    said = statements(parlour)
    for _ in range(50):
        for show in ("away", "", "dnd", "chat", "xa"):
            shows(romeo, show)
    assert said == []


def test_a_post_asks_no_more_for_those_who_are_busy_elsewhere(parlour: Parlour, romeo: Client) -> None:
    """Who gets no lines costs a post nothing, whatever their presence says."""
    for name in ("benvolio", "mercutio"):
        client = parlour.online(name, "street")
        client.sends("<presence><show>dnd</show></presence>")
    romeo.leaves()
    said = statements(parlour)
    parlour.publishes("benvolio", "Good morrow")
    assert not [one for one in said if "held_lines" in one or "absences" in one or "shown" in one]
    assert held(parlour) == []


# addresses elsewhere


@pytest.fixture
def away(parlour: Parlour, romeo: Client) -> Parlour:
    """Romeo has an address in Mantua, and is on line nowhere else."""

    def link(tx: Transaction) -> None:
        account = tx.accounts.get("romeo")
        assert account is not None
        tx.linked.add(JID("romeo", "mantua.example"), account.key, asked_there=True, confirmed=True)

    parlour.database.run(link)
    parlour.lines.changed(ROMEO)
    romeo.leaves()
    return parlour


def mantua(parlour: Parlour) -> list[str | None]:
    return [
        element.child_text(ns.CLIENT, "body")
        for element in parlour.world.hears("mantua.example")
        if element.name == "message"
    ]


def presence(parlour: Parlour, show: str, type_: str = "", resource: str = "orchard") -> None:
    """Romeo shows himself to the node, from Mantua."""
    kind = f" type='{type_}'" if type_ else ""
    parlour.inject(f"<presence from='romeo@mantua.example/{resource}' to='{NODE}'{kind}><show>{show}</show></presence>")


def test_an_address_elsewhere_counts_as_there_unless_it_says_more(away: Parlour, time: Time) -> None:
    away.publishes("benvolio", "One")
    assert mantua(away) == ["benvolio: One  #1"]
    presence(away, "dnd")
    away.publishes("benvolio", "Two")
    assert mantua(away) == []
    presence(away, "away")
    time.advance(15 * MINUTE)
    assert mantua(away) == ["benvolio: Two  #2"]
    presence(away, "", "unavailable")
    time.advance(MINUTE)
    away.publishes("benvolio", "Three")
    assert mantua(away) == []
    time.advance(MINUTE)
    presence(away, "chat")
    away.publishes("benvolio", "Four")
    time.advance(1)
    assert mantua(away)[-1] == "benvolio: Four  #3"


def test_the_digest_goes_elsewhere_too(away: Parlour, time: Time) -> None:
    for _ in range(2):
        presence(away, "")
        mantua(away)
        presence(away, "", "unavailable")
        time.advance(MINUTE)
        away.publishes("benvolio", "Good morrow")
        time.advance(MINUTE)
    presence(away, "")
    time.advance(1)
    assert mantua(away) == ['While you were away: 1 post. "catchup" to read.']


def test_presence_of_others_elsewhere_says_nothing(away: Parlour) -> None:
    presence(away, "")
    for number in range(50):
        presence(away, "dnd", resource=f"r{number}")
    away.inject(f"<presence from='tybalt@mantua.example/a' to='{NODE}'><show>dnd</show></presence>")
    away.publishes("benvolio", "One")
    assert mantua(away) == ["benvolio: One  #1"]
    assert len(away.lines.listeners._abroad) == 1
    assert len(away.lines.listeners._abroad[JID("romeo", "mantua.example")]) == 10


def test_who_wants_to_see_the_node_is_asked_to_show_themselves(away: Parlour) -> None:
    away.world_hears()
    for name in ("romeo", "tybalt"):
        away.inject(f"<presence from='{name}@mantua.example' to='{NODE}' type='subscribe'/>")
    came = [(one.get("to"), one.get("type")) for one in away.world_hears()]
    assert came == [
        ("romeo@mantua.example", "subscribed"),
        ("romeo@mantua.example", None),
        ("romeo@mantua.example", "subscribe"),
        ("tybalt@mantua.example", "subscribed"),
        ("tybalt@mantua.example", None),
    ]
    away.inject(f"<presence from='romeo@mantua.example' to='{NODE}' type='subscribed'/>")
    presence(away, "dnd")
    away.publishes("benvolio", "One")
    assert mantua(away) == []


def test_what_is_local_does_not_go_elsewhere_later_either(away: Parlour) -> None:
    presence(away, "dnd")
    away.publishes("benvolio", "lunch", audience=Audience.LOCAL)
    presence(away, "chat")
    assert mantua(away) == []


def test_addresses_of_items_are_kept_as_they_are(parlour: Parlour, romeo: Client) -> None:
    shows(romeo, "dnd")
    item = parlour.publishes("benvolio", "Good morrow", item_id="a'b&c<d>")
    assert held(parlour) == [("post", item.id)]
    assert shows(romeo) == ["benvolio: Good morrow  #1"]


# a database that has too much to do


class Reluctant:
    """The database, which refuses so many writes of a use case, or answers them when the test says so."""

    def __init__(self, database: Database, use_case: object, refusals: int = 0, slow: bool = False) -> None:
        self._database = database
        self._use_case = use_case
        self._refusals = refusals
        self._slow = slow
        self.waiting: list[Deferred[None]] = []

    def read(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._database.read(fn, *args)

    async def write(self, fn: Callable[..., Any], *args: Any) -> Any:
        if fn is self._use_case:
            if self._refusals:
                self._refusals -= 1
                raise ResourceConstraint("too much to do")
            if self._slow:
                waiting: Deferred[None] = Deferred()
                self.waiting.append(waiting)
                await waiting
        return await self._database.write(fn, *args)


def test_what_cannot_be_given_is_given_later(parlour: Parlour, romeo: Client, time: Time) -> None:
    parlour.lines._held._database = Reluctant(parlour.database, deferring.give, refusals=2)  # type: ignore[assignment]  # busy for a while
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "One")
    assert shows(romeo) == []
    parlour.publishes("benvolio", "Two")
    assert texts(romeo) == [], "in order"
    time.advance(30)
    assert texts(romeo) == []
    time.advance(30)
    assert texts(romeo) == ["benvolio: One  #1", "benvolio: Two  #2"]
    parlour.publishes("benvolio", "Three")
    assert texts(romeo) == ["benvolio: Three  #3"]


def test_who_goes_while_something_is_given_has_it_or_has_it_later(parlour: Parlour, romeo: Client, time: Time) -> None:
    slow = Reluctant(parlour.database, deferring.give, slow=True)
    parlour.lines._held._database = slow  # type: ignore[assignment]  # busy for a while
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "One")
    assert shows(romeo) == []
    romeo.leaves()
    again = parlour.login("romeo", "street")
    assert shows(again) == [], "both are about to be given what waits"
    while slow.waiting:
        slow.waiting.pop(0).callback(None)
    assert texts(again) == ["benvolio: One  #1"]
    assert held(parlour) == []


def test_what_is_published_while_somebody_comes_is_behind_what_waited(parlour: Parlour, romeo: Client) -> None:
    slow = Reluctant(parlour.database, deferring.give, slow=True)
    parlour.lines._held._database = slow  # type: ignore[assignment]  # busy for a while
    shows(romeo, "dnd")
    parlour.publishes("benvolio", "One")
    shows(romeo)
    parlour.publishes("benvolio", "Two")
    done(parlour.lines.say(ROMEO, "Juliet is near"))
    done(parlour.lines.say(ROMEO, "Fire in the house", urgent=True))
    assert texts(romeo) == ["Fire in the house"]
    while slow.waiting:
        slow.waiting.pop(0).callback(None)
    assert texts(romeo) == ["benvolio: One  #1", "benvolio: Two  #2", "Juliet is near"]


def test_a_batch_that_is_due_when_nobody_is_there(parlour: Parlour, romeo: Client, time: Time) -> None:
    shows(romeo, "away")
    parlour.publishes("benvolio", "One")
    romeo.leaves()
    time.advance(20 * MINUTE)
    again = parlour.login("romeo", "street")
    assert shows(again, "away") == []
    time.advance(15 * MINUTE)
    assert texts(again) == ["benvolio: One  #1"]
    assert not parlour.lines._held._batches and not parlour.lines._held._giving
