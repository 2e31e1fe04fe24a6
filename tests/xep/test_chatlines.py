"""New posts as lines of chat."""

import pytest

from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.subscription import Affiliation
from microblog.model.uri import ItemAddress, item_uri, node_uri
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import retracting
from microblog.usecases.owning import SetAffiliations, set_affiliations
from microblog.wire import ns
from tests.conftest import Time
from tests.im.town import Client
from tests.xep.parlour import NODE, Parlour, lines, says
from tests.xep.square import asks, told
from tests.xep.test_following import post

ROMEO = JID("romeo", NODE)
BENVOLIO = JID("benvolio", NODE)
MERCUTIO = JID("mercutio", NODE)


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    return Parlour(database, clock)


def comes(parlour: Parlour, name: str, resource: str = "phone") -> Client:
    """Somebody who talks to the node."""
    client = parlour.online(name, resource)
    says(client, "on")
    client.hears()
    return client


def follow(parlour: Parlour, reader: Client, whom: str) -> None:
    asks(
        reader,
        "set",
        f"<subscribe node='{MICROBLOG}' jid='{reader.session.jid.bare}'/>",
        to=f"{whom}@{NODE}",
    )
    reader.hears()


@pytest.fixture
def romeo(parlour: Parlour) -> Client:
    """Romeo talks to the node and follows benvolio."""
    client = comes(parlour, "romeo")
    follow(parlour, client, "benvolio")
    return client


def test_posts_of_those_one_follows_are_lines(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "Good morrow, cousin")
    parlour.publishes("mercutio", "Nay, gentle Romeo")
    (event, line) = sorted(romeo.hears(), key=lambda element: element.get("type") or "", reverse=True)
    assert told([event]) or told([line]), "and the notification comes as ever"
    line = line if line.get("type") == "chat" else event
    assert line.get("from") == NODE
    assert line.get("to") == "romeo@montague.example"
    assert line.get("id") == "n1"
    assert line.child_text(ns.CLIENT, "body") == "benvolio: Good morrow, cousin  #1"
    parlour.publishes("benvolio", "Is the day so young?")
    assert lines(romeo) == [("n2", "benvolio: Is the day so young?  #2")]
    assert says(romeo, "home") == "home\nbenvolio: Is the day so young?  #2\nbenvolio: Good morrow, cousin  #1"


def test_lines_come_from_the_address_that_is_talked_to(parlour: Parlour, romeo: Client) -> None:
    says(romeo, "home", to="post@montague.example")
    parlour.publishes("benvolio", "Good morrow")
    (line,) = [element for element in romeo.hears() if element.get("type") == "chat"]
    assert line.get("from") == "post@montague.example"


def test_lines_are_in_the_language_that_was_chosen_just_now(parlour: Parlour, romeo: Client) -> None:
    def languages() -> list[str | None]:
        parlour.publishes("benvolio", "Good morrow")
        return [one.get(f"{{{ns.XML}}}lang") for one in romeo.hears() if one.get("type") == "chat"]

    assert languages() == ["en"]
    parlour.database.run(lambda tx: tx.preferences.set(tx.accounts.get("romeo").key, "lang", "it"))
    parlour.lines.changed(ROMEO)
    assert languages() == ["it"]
    says(romeo, "home", to="post@montague.example")
    assert languages() == ["it"], "also from another address"


def test_who_never_talked_or_said_off_gets_none(parlour: Parlour, romeo: Client) -> None:
    mercutio = parlour.online("mercutio", "street")
    follow(parlour, mercutio, "benvolio")
    says(romeo, "off")
    parlour.publishes("benvolio", "Good morrow")
    assert lines(romeo) == [] == lines(mercutio)
    says(romeo, "on")
    parlour.publishes("benvolio", "Is the day so young?")
    assert lines(romeo) == [("n1", "benvolio: Is the day so young?  #1")]
    assert lines(mercutio) == []


def test_sessions_that_ask_for_the_feed_get_no_lines(parlour: Parlour, romeo: Client) -> None:
    desk = parlour.online("romeo", "desk")
    desk.session.notify = frozenset((MICROBLOG,))
    cell = parlour.online("romeo", "cell")
    cell.sends("<presence><priority>-1</priority></presence>")
    for client in (romeo, desk, cell):
        client.hears()
    parlour.publishes("benvolio", "Good morrow")
    assert len(lines(romeo)) == 1
    assert lines(desk) == [] == lines(cell)


def test_delivery_goes_on_at_the_next_login(parlour: Parlour, romeo: Client) -> None:
    romeo.leaves()
    parlour.publishes("benvolio", "Good morrow")
    again = parlour.online("romeo", "street")
    again.hears()
    parlour.publishes("benvolio", "Is the day so young?")
    assert [text for _, text in lines(again)] == ["benvolio: Is the day so young?  #1"]


def test_nothing_is_asked_when_nobody_listens(parlour: Parlour) -> None:
    parlour.online("romeo", "orchard")
    parlour.publishes("benvolio", "Good morrow")
    assert not parlour.lines._events and not parlour.lines._telling


# edits, retractions, copies


def test_an_edit_corrects_the_line_and_a_retraction_takes_it_back(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "Good morow", item_id="1")
    romeo.hears()
    parlour.publishes("benvolio", "Good morrow", item_id="1")
    (line,) = [element for element in romeo.hears() if element.get("type") == "chat"]
    replaced = line.find(ns.CORRECT, "replace")
    assert replaced is not None and replaced.get("id") == "n1"
    assert line.child_text(ns.CLIENT, "body") == "benvolio: Good morrow  #1"
    assert (line.get("id") or "").startswith("n1-")
    says(romeo, "post Ay me")
    request = retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="1", notify=True)
    parlour.database.run(retracting.retract, request)
    (line,) = [element for element in romeo.hears() if element.get("type") == "chat"]
    retracted = line.find(ns.RETRACT, "retract")
    assert retracted is not None and retracted.get("id") == "n1"
    assert line.child_text(ns.CLIENT, "body") == "#1 was deleted."


def test_what_was_never_shown_is_not_taken_back_and_old_edits_are_no_news(
    parlour: Parlour, romeo: Client, time: Time
) -> None:
    romeo.leaves()
    parlour.publishes("benvolio", "Good morow", item_id="1")
    parlour.publishes("benvolio", "Is the day so young?", item_id="2")
    time.advance(25 * 3600)
    again = comes(parlour, "romeo", "street")
    parlour.publishes("benvolio", "Good morrow", item_id="1")
    request = retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="2", notify=True)
    parlour.database.run(retracting.retract, request)
    assert lines(again) == []


def test_who_deletes_something_is_not_told_of_it(parlour: Parlour, romeo: Client) -> None:
    mercutio = comes(parlour, "mercutio")
    follow(parlour, mercutio, "romeo")
    says(romeo, "post Ay me")  # his line is the answer
    assert len(lines(mercutio)) == 1

    def posted(tx):  # type: ignore[no-untyped-def]
        (item,) = tx.items.newest(tx.nodes.find(ROMEO, MICROBLOG).key, 2)
        assert tx.shown.to_all(ItemAddress(ROMEO, MICROBLOG, item.id)) != []
        return item.id

    item_id = parlour.database.run(posted)
    request = retracting.Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id=item_id, notify=True)
    parlour.database.run(retracting.retract, request)
    assert [text for _, text in lines(mercutio)] == ["#1 was deleted."]
    assert lines(romeo) == []


def thread_of(author: JID, item_id: str) -> str:
    return f"<link rel='replies' href='{node_uri(author, COMMENTS_PREFIX + item_id)}'/>"


def answer_to(author: JID, item_id: str) -> str:
    uri = item_uri(author, MICROBLOG, item_id)
    return f"<in-reply-to xmlns='{ns.THREADING}' ref='{uri}' href='{uri}'/>"


def comments_of(parlour: Parlour, name: str, item_id: str) -> None:
    """The node where what somebody posted is commented."""

    def make(tx):  # type: ignore[no-untyped-def]
        service = JID(name, NODE)
        node = COMMENTS_PREFIX + item_id
        tx.nodes.create(service, node, tx.nodes.defaults(service, node))

    parlour.database.run(make)


def test_a_reply_is_one_line_though_it_is_in_a_feed_and_in_a_thread(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("romeo", "Ay me", item_id="1")
    comments_of(parlour, "romeo", "1")
    inside = answer_to(ROMEO, "1") + thread_of(ROMEO, "1")
    parlour.publishes("benvolio", "What sadness?", item_id="r", inside=inside)
    parlour.publishes(
        "benvolio", "What sadness?", item_id="r", inside=inside, node=COMMENTS_PREFIX + "1", service=ROMEO
    )
    assert lines(romeo) == [("n1", "benvolio > you: What sadness?  #1")]
    parlour.publishes(
        "benvolio", "What sadness, Romeo?", item_id="r", inside=inside, node=COMMENTS_PREFIX + "1", service=ROMEO
    )
    assert lines(romeo) == [], "the copy is not what was shown"


def test_a_comment_on_ones_post_is_a_line_and_a_heart_is_none(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("romeo", "Ay me", item_id="1")
    says(romeo, "home")
    comments_of(parlour, "romeo", "1")
    inside = answer_to(ROMEO, "1")
    node = COMMENTS_PREFIX + "1"
    parlour.publishes("mercutio", "Nay", item_id="r", inside=inside, node=node, service=ROMEO)
    assert lines(romeo) == [("n1", "mercutio > you: Nay  #1")]
    parlour.publishes("mercutio", "♥", item_id="h", inside=inside, node=node, service=ROMEO)
    assert [text for _, text in lines(romeo)] == ["mercutio likes #2."], "his post, and the heart has no number"


def test_who_is_named_gets_a_line_without_following(parlour: Parlour, romeo: Client) -> None:
    mention = "<link rel='mentioned' href='xmpp:romeo@montague.example'/>"
    parlour.publishes("mercutio", "O Romeo", inside=mention)
    assert lines(romeo) == [("n1", "mercutio: O Romeo  #1")]
    parlour.publishes("mercutio", "Among friends", inside=mention, audience=Audience.FOLLOWERS)
    assert lines(romeo) == [], "it was not for them"


def test_direct_and_local_posts_say_so(parlour: Parlour, romeo: Client) -> None:
    mercutio = comes(parlour, "mercutio")
    follow(parlour, mercutio, "benvolio")
    parlour.publishes("benvolio", "hush", audience=Audience.DIRECT, readers=(ROMEO,))
    assert lines(romeo) == [("n1", "(private) benvolio: hush  #1")]
    assert lines(mercutio) == []
    parlour.publishes("benvolio", "lunch", audience=Audience.LOCAL)
    assert lines(romeo) == [("n2", "(local) benvolio: lunch  #2")]


def test_who_lost_the_right_to_read_gets_no_line(parlour: Parlour, romeo: Client) -> None:
    changes = ((ROMEO, Affiliation.OUTCAST),)
    shut_out = SetAffiliations(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, changes=changes)
    parlour.database.run(set_affiliations, shut_out)
    parlour.settle()
    assert lines(romeo) == [(None, "You do not follow benvolio: they do not allow it.")]
    parlour.publishes("benvolio", "Good morrow")
    assert lines(romeo) == []


def test_ones_own_posts_are_no_news(parlour: Parlour, romeo: Client) -> None:
    follow(parlour, romeo, "romeo")
    parlour.publishes("romeo", "Ay me")
    assert lines(romeo) == []


def follow_juliet(parlour: Parlour, reader: Client) -> None:
    jid = reader.session.jid.bare
    reader.sends(
        f"<iq type='set' id='f' to='juliet@capulet.example'><pubsub xmlns='{ns.PUBSUB}'>"
        f"<subscribe node='{MICROBLOG}' jid='{jid}'/></pubsub></iq>"
    )
    (request,) = [element for element in parlour.world_hears() if element.get("type") == "set"]
    parlour.inject(
        f"<iq type='result' id='{request.get('id')}' from='juliet@capulet.example' to='{jid}'>"
        f"<pubsub xmlns='{ns.PUBSUB}'><subscription node='{MICROBLOG}' jid='{jid}' "
        f"subscription='subscribed'/></pubsub></iq>"
    )
    reader.hears()


def test_what_a_service_tells_each_of_its_followers_is_told_once(parlour: Parlour, romeo: Client) -> None:
    mercutio = comes(parlour, "mercutio")
    for client in (romeo, mercutio):
        follow_juliet(parlour, client)
    for client in (romeo, mercutio):
        parlour.inject(post("1", to=str(client.session.jid.bare)))
    assert len(lines(romeo)) == len(lines(mercutio)) == 1
    for client in (romeo, mercutio):
        parlour.inject(
            f"<message from='juliet@capulet.example' to='{client.session.jid.bare}' type='headline'>"
            f"<event xmlns='{ns.PUBSUB_EVENT}'><items node='{MICROBLOG}'><retract id='1'/></items></event></message>"
        )
    assert [text for _, text in lines(romeo)] == [text for _, text in lines(mercutio)] == ["#1 was deleted."]


def test_posts_of_elsewhere_have_the_address_of_their_author(parlour: Parlour, romeo: Client) -> None:
    follow_juliet(parlour, romeo)
    parlour.inject(post("1"))
    (line,) = lines(romeo)
    assert line[0] == "n1"
    assert (line[1] or "").startswith("juliet@capulet.example: ")


# what is sent cannot be told from what is said


def test_a_post_stays_in_its_line(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "one\nmercutio: two  #9\u2028three \u202eback")
    assert lines(romeo) == [("n1", "benvolio: one\n  mercutio: two  #9\n  three back  #1")]


def test_long_posts_are_cut(parlour: Parlour, romeo: Client) -> None:
    parlour.publishes("benvolio", "x" * 3000)
    ((_, text),) = lines(romeo)
    assert text is not None and text.endswith("x…  #1") and len(text) < 1100


# addresses elsewhere


@pytest.fixture
def away(parlour: Parlour, romeo: Client) -> Client:
    """Romeo has an address in Mantua, too."""

    def link(tx):  # type: ignore[no-untyped-def]
        tx.linked.add(JID("romeo", "mantua.example"), tx.accounts.get("romeo").key, asked_there=True, confirmed=True)

    parlour.database.run(link)
    parlour.lines.changed(ROMEO)
    return romeo


def mantua(parlour: Parlour) -> list[tuple[str | None, str | None, str | None]]:
    return [
        (element.get("to"), element.get("id"), element.child_text(ns.CLIENT, "body"))
        for element in parlour.world.hears("mantua.example")
    ]


def test_lines_for_addresses_elsewhere_are_owed_to_their_domain(parlour: Parlour, away: Client) -> None:
    away.leaves()
    parlour.publishes("benvolio", "Good morrow", item_id="1")
    parlour.publishes("mercutio", "Nay", item_id="1")
    assert mantua(parlour) == [("romeo@mantua.example", "n1", "benvolio: Good morrow  #1")]
    request = retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="1", notify=True)
    parlour.database.run(retracting.retract, request)
    assert [text for _, _, text in mantua(parlour)] == ["#1 was deleted."]


def test_what_is_local_does_not_go_elsewhere_nor_that_it_was_deleted(parlour: Parlour, away: Client) -> None:
    parlour.publishes("benvolio", "lunch", item_id="1", audience=Audience.LOCAL)
    assert [text for _, text in lines(away)] == ["(local) benvolio: lunch  #1"]
    request = retracting.Retract(service=BENVOLIO, node=MICROBLOG, actor=BENVOLIO, item_id="1", notify=True)
    parlour.database.run(retracting.retract, request)
    assert [text for _, text in lines(away)] == ["#1 was deleted."]
    assert mantua(parlour) == []


def test_an_address_that_is_no_longer_linked_gets_nothing(parlour: Parlour, away: Client) -> None:
    def unlink(tx):  # type: ignore[no-untyped-def]
        tx.linked.remove(JID("romeo", "mantua.example"), tx.accounts.get("romeo").key)

    parlour.database.run(unlink)
    parlour.publishes("benvolio", "Good morrow")
    assert mantua(parlour) == []
