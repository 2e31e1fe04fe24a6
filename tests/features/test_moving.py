"""Moving house, and leaving for good, across two nodes."""

from datetime import timedelta
from typing import Any

import pytest

from microblog.model.jid import JID
from microblog.model.uri import comments_uri
from microblog.store.transaction import Transaction
from microblog.usecases import moving, registering
from microblog.usecases.moving import Learned
from microblog.wire import notification, ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from tests.conftest import START
from tests.features.verona import CAPULET, FEED, MONTAGUE, Somebody, Verona
from tests.federation.twins import Twin

OLD, NEW = "juliet@capulet.example", "juliet@montague.example"
FIRST = f'{OLD} says that they are juliet now: "follow juliet".'
DAY = 86_400


def moves(somebody: Somebody, to: str) -> list[str]:
    """They are asked whether they mean it."""
    (asked,) = somebody.says(f"move {to}")
    assert "yes" in asked
    return somebody.says("yes")


def new_account(verona: Verona, name: str = "juliet") -> Somebody:
    verona.montague.database.run(registering.create_account, name, "secret")
    return Somebody(verona.montague, name)


def contacts(verona: Verona, one: Somebody, other: Somebody) -> None:
    """Each sees the other's presence."""
    for asks, allows in ((one, other), (other, one)):
        asks.sends(f"<presence type='subscribe' to='{allows.jid}'/>")
        allows.sends(f"<presence type='subscribed' to='{asks.jid}'/>")
    verona.settle()


def roster(somebody: Somebody) -> dict[str, str]:
    (answer, *_) = somebody.sends("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
    query = answer.first()
    assert query is not None
    return {item.attributes["jid"]: item.attributes["subscription"] for item in query.elements()}


def asks_under_the_new_address(new: Somebody, whom: Somebody, old: str = OLD) -> None:
    moved = f"<moved xmlns='{ns.MOVED}'><old-jid>{old}</old-jid></moved>"
    new.sends(f"<presence type='subscribe' to='{whom.jid}' id='s1'>{moved}</presence>")


def copies(twin: Twin, publisher: str) -> list[str]:
    """The items of somebody that are kept at a node, wherever."""

    def read(tx: Transaction) -> list[str]:
        rows = tx.connection.exec_driver_sql(f"SELECT item_id FROM items WHERE publisher = '{publisher}'")
        return [row[0] for row in rows]

    return twin.database.run(read)


# leaving for another address


def test_followers_here_and_elsewhere_hear_of_the_new_address_and_follow_nobody(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.benvolio, verona.juliet), (verona.nurse, verona.juliet))
    new_account(verona)
    (done,) = moves(verona.juliet, NEW)
    assert NEW in done
    for follower in (verona.romeo, verona.benvolio):
        assert follower.hears() == [FIRST]
        (listed,) = follower.says("following")
        assert 'says that they are juliet now: "follow juliet"' in listed
        assert listed.startswith("You follow 1")
    assert verona.nurse.hears() == [f'juliet says that they are {NEW} now: "follow {NEW}".']
    # The statement is where XEP-0283 looks for it.
    (item,) = verona.juliet.items(ns.MOVED).values()
    statement = item.first()
    assert statement is not None and statement.child_text(ns.MOVED, "new-jid") == NEW
    (followed,) = verona.romeo.says("follow juliet")
    assert followed == "You follow juliet now."


def test_a_statement_of_a_client_is_told_likewise_and_once(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    statement = f"<moved xmlns='{ns.MOVED}'><new-jid>{NEW}</new-jid></moved>"
    verona.juliet.publishes("current", statement, node=ns.MOVED)
    verona.settle()
    assert verona.romeo.hears() == [FIRST]
    verona.juliet.publishes("current", statement, node=ns.MOVED)
    verona.settle()
    assert verona.romeo.hears() == []
    (said,) = moves(verona.juliet, NEW)
    assert "is known" in said


def test_what_is_taken_back_is_not_shown_any_more(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    moves(verona.juliet, NEW)
    verona.quiet()
    moves(verona.juliet, "here")
    assert verona.juliet.items(ns.MOVED) == {}
    assert "moved" in moves(verona.juliet, "here")[0]
    (said,) = moves(verona.juliet, OLD)
    assert "not another address" in said


def test_nobody_is_called_again_and_again(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    moves(verona.juliet, NEW)
    (said,) = moves(verona.juliet, "juliet@verona.example")
    assert "ten minutes" in said
    verona.later(700)
    verona.quiet()
    moves(verona.juliet, "juliet@verona.example")
    assert verona.romeo.hears() == []
    assert "juliet@verona.example" in verona.romeo.says("following")[0]
    verona.later(DAY)
    verona.quiet()
    moves(verona.juliet, NEW)
    assert verona.romeo.hears() == [FIRST]


def test_who_comes_and_goes_calls_nobody_again_and_again(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.nurse, verona.juliet))
    statement = f"<moved xmlns='{ns.MOVED}'><new-jid>{NEW}</new-jid></moved>"
    for _ in range(3):
        verona.juliet.publishes("current", statement, node=ns.MOVED)
        verona.settle()
        verona.juliet.sends(
            f"""<iq type='set' id='r'><pubsub xmlns='{ns.PUBSUB}'><retract node='{ns.MOVED}' notify='true'>
            <item id='current'/></retract></pubsub></iq>"""
        )
        verona.settle()
    assert (len(verona.romeo.hears()), len(verona.nurse.hears())) == (1, 1)
    # Its own server, which may tell what it wants to, is not believed to be in such a hurry.
    new = Learned(old=JID.parse(OLD), new=JID.parse("juliet@verona.example"))
    back = Learned(old=JID.parse(OLD), new=None)
    assert [verona.montague.database.run(moving.learn, one) for one in (new, back, new, back)] == [()] * 4


@pytest.mark.parametrize(
    "address", ["juliet@capulet.example/balcony", "capulet.example", "@@", "", "juliet@capulet.example"]
)
def test_a_statement_that_says_nothing(verona: Verona, address: str) -> None:
    verona.follow((verona.romeo, verona.juliet))
    statement = f"<moved xmlns='{ns.MOVED}'><new-jid>{address}</new-jid></moved>"
    verona.juliet.publishes("current", statement, node=ns.MOVED)
    verona.settle()
    assert verona.romeo.hears() == []


def test_only_the_old_server_says_who_moved(verona: Verona) -> None:
    """Nobody of Montague's can say it of Juliet, nor of somebody whom nobody here follows."""
    verona.follow((verona.romeo, verona.juliet))
    statement = f"<moved xmlns='{ns.MOVED}'><new-jid>tybalt@montague.example</new-jid></moved>"
    items = f"<items node='{ns.MOVED}'><item id='current'>{statement}</item></items>"
    event = f"<event xmlns='{ns.PUBSUB_EVENT}'>{items}</event>"
    verona.benvolio.sends(f"<message type='headline' to='{verona.romeo.jid}'>{event}</message>")
    verona.nurse.sends(f"<message type='headline' to='{verona.romeo.jid}'>{event}</message>")
    verona.settle()
    assert verona.romeo.hears() == []
    known = [JID.parse(OLD), verona.nurse.jid, verona.benvolio.jid]
    assert verona.montague.database.run(lambda tx: moving.moved(tx, known)) == {}


# asking contacts under the new address


def test_a_contact_who_moved_keeps_what_they_might(verona: Verona) -> None:
    contacts(verona, verona.juliet, verona.romeo)
    new = new_account(verona)
    moves(verona.juliet, NEW)
    verona.quiet()
    verona.romeo.line.written.clear()
    asks_under_the_new_address(new, verona.romeo)
    verona.settle()
    assert b"type='subscribe'" not in b"".join(verona.romeo.line.written)
    # The old one sees Romeo no more; the new one does, and is asked for the same (§4.4).
    assert roster(verona.romeo) == {OLD: "to", NEW: "from"}
    assert roster(new) == {str(verona.romeo.jid): "to"}
    assert roster(verona.juliet) == {str(verona.romeo.jid): "from"}
    (asked,) = [one for one in new_requests(new) if one.get("from") == str(verona.romeo.jid)]
    assert asked.get("type") == "subscribe"


def new_requests(somebody: Somebody) -> list[Element]:
    somebody.sends("<presence type='unavailable'/>")
    return [one for one in somebody.sends("<presence/>") if one.get("type") == "subscribe"]


@pytest.mark.parametrize("why", ["no statement", "another address", "no right", "no such account"])
def test_a_request_that_is_not_vouched_for_is_like_any_other(verona: Verona, why: str) -> None:
    old = OLD
    if why != "no right":
        contacts(verona, verona.juliet, verona.romeo)
    new = new_account(verona)
    if why == "another address":
        moves(verona.juliet, "juliet@verona.example")
    elif why == "no right":
        moves(verona.juliet, NEW)
    elif why == "no such account":
        old = "nobody@capulet.example"
    before = roster(verona.romeo)
    verona.romeo.line.written.clear()
    asks_under_the_new_address(new, verona.romeo, old)
    verona.settle()
    # It is shown as it came, with what it says of itself.
    written = b"".join(verona.romeo.line.written)
    assert b"type='subscribe'" in written and b"<old-jid>" in written
    assert roster(verona.romeo) == before
    assert roster(new) == {str(verona.romeo.jid): "none"}


def test_a_right_that_is_taken_away_while_the_old_account_is_asked_does_not_pass(verona: Verona) -> None:
    contacts(verona, verona.juliet, verona.romeo)
    new = new_account(verona)
    moves(verona.juliet, NEW)
    request = verona.montague.router.request

    async def slow(*asked: Any, **more: Any) -> Stanza:
        answer = await request(*asked, **more)
        verona.romeo.sends(f"<presence type='unsubscribed' to='{OLD}'/>")
        return answer

    verona.montague.router.request = slow  # type: ignore[method-assign]  # answers late
    asks_under_the_new_address(new, verona.romeo)
    verona.settle()
    assert NEW not in roster(verona.romeo)
    assert roster(new) == {str(verona.romeo.jid): "none"}


def test_a_right_passes_once(verona: Verona) -> None:
    contacts(verona, verona.juliet, verona.romeo)
    new, other = new_account(verona), new_account(verona, "rosaline")
    moves(verona.juliet, NEW)
    asks_under_the_new_address(new, verona.romeo)
    verona.later(700)
    moves(verona.juliet, str(other.jid))
    asks_under_the_new_address(other, verona.romeo)
    verona.settle()
    assert roster(verona.romeo) == {OLD: "to", NEW: "from"}


# leaving for good


def ends(verona: Verona, somebody: Somebody) -> None:
    somebody.twin.database.run(registering.remove_account, somebody.jid.localpart, notification)
    for domain in (CAPULET, MONTAGUE):
        somebody.twin.outbox.wake(domain)
    verona.settle()


def test_who_is_gone_is_said_to_be_where_they_went(verona: Verona) -> None:
    contacts(verona, verona.juliet, verona.romeo)
    new = new_account(verona)
    moves(verona.juliet, NEW)
    ends(verona, verona.juliet)
    (said,) = verona.romeo.says(f"follow {OLD}")
    assert said == f'{OLD} says that they are juliet now: "follow juliet".'
    # And that vouches for the new address as the statement would (§4.3); the right has ended with the account, though.
    asks_under_the_new_address(new, verona.romeo)
    verona.settle()
    assert NEW not in roster(verona.romeo)


def test_where_somebody_went_whose_feed_was_not_for_all_is_said_to_nobody(verona: Verona) -> None:
    new_account(verona)
    form = (
        f"<x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{ns.PUBSUB_NODE_CONFIG}</value></field>"
        "<field var='pubsub#access_model'><value>authorize</value></field></x>"
    )
    verona.juliet.asks("set", f"<configure node='{FEED}'>{form}</configure>", uri=ns.PUBSUB_OWNER)
    moves(verona.juliet, NEW)
    ends(verona, verona.juliet)
    (said,) = verona.romeo.says(f"follow {OLD}")
    assert NEW not in said and "says that they are" not in said


def test_a_service_that_says_gone_is_shown_with_the_new_address(verona: Verona) -> None:
    """The notice was lost, but the account is gone when its followers are looked after."""
    verona.follow((verona.romeo, verona.juliet))
    moves(verona.juliet, NEW)
    verona.romeo.says("stats")
    verona.montague.database.run(lambda tx: tx.moved.remove(JID.parse(OLD)))
    verona.part()
    verona.capulet.database.run(registering.remove_account, "juliet", notification)
    verona.settle()
    verona.capulet.database.run(lambda tx: tx.connection.exec_driver_sql("DELETE FROM outbox") and None)
    verona.meet()
    verona.quiet()
    verona.later(2 * DAY)
    assert FIRST in verona.romeo.hears()
    (listed,) = verona.romeo.says("following")
    assert "juliet now" in listed


def test_an_account_that_ends_is_gone_everywhere(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.juliet, verona.romeo))
    verona.juliet.says("My bounty is as boundless as the sea")
    verona.romeo.says("O, wilt thou leave me so unsatisfied?")
    (line,) = [line for line in verona.juliet.hears() if "unsatisfied" in line]
    verona.juliet.says(f"#{line.rpartition('#')[2]} What satisfaction?")
    verona.settle()
    assert len(copies(verona.montague, OLD)) >= 2
    verona.quiet()
    ends(verona, verona.juliet)
    assert copies(verona.montague, OLD) == []
    assert verona.romeo.finds(FEED, OLD) == {}
    assert any(f"{OLD} has no feed any more" in line for line in verona.romeo.hears())


def test_an_account_that_ends_is_gone_where_nobody_follows_any_more(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.says("My bounty is as boundless as the sea")
    verona.romeo.says(f"leave {OLD}")
    assert copies(verona.montague, OLD) != []
    ends(verona, verona.juliet)
    assert copies(verona.montague, OLD) == []


def test_an_answer_that_ends_is_gone_from_the_thread_elsewhere(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.says("O, wilt thou leave me so unsatisfied?")
    post = verona.montague.newest(verona.romeo.jid, FEED)
    reply = (
        f"<entry xmlns='{ns.ATOM}'><title>What satisfaction?</title>"
        f"<in-reply-to xmlns='{ns.THREADING}' ref='{post.uri}' href='{post.uri}'/>"
        f"<link rel='replies' href='{comments_uri(post.service, post.item_id or '')}'/></entry>"
    )
    verona.juliet.publishes("answer", reply, expires=(START + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    verona.settle()
    assert copies(verona.montague, OLD) == ["answer"]
    verona.later(2 * 3600)
    assert copies(verona.montague, OLD) == []
    assert "answer" not in verona.juliet.finds(FEED)
