"""Following across two nodes."""

from microblog.store.transaction import Transaction
from microblog.wire import ns
from tests.features.verona import CAPULET, FEED, HOME, Somebody, Verona

OWNER = ns.PUBSUB_OWNER


def asks_first(somebody: Somebody) -> None:
    """Their feed is for those whom they let in."""
    form = (
        f"<x xmlns='{ns.DATA}' type='submit'>"
        f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_NODE_CONFIG}</value></field>"
        "<field var='pubsub#access_model'><value>authorize</value></field></x>"
    )
    answer = somebody.asks("set", f"<configure node='{FEED}'>{form}</configure>", uri=OWNER)
    assert answer.get("type") == "result"


def test_following_shares_no_presence_and_goes_one_way(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    for somebody in (verona.romeo, verona.juliet):
        (roster, *_) = somebody.sends("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        query = roster.first()
        assert query is not None and list(query.elements()) == []
    verona.juliet.line.written.clear()
    assert verona.romeo.sends("<presence><status>in the orchard</status></presence>")
    assert b"orchard" not in b"".join(verona.juliet.line.written)
    verona.quiet()
    verona.romeo.says("She does not read this")
    assert verona.juliet.hears() == [] and verona.juliet.finds(HOME) == {}
    verona.juliet.says("He reads this")
    assert set(verona.romeo.finds(HOME).values()) == {"She does not read this", "He reads this"}


def test_followers_are_let_in_by_a_word(verona: Verona) -> None:
    asks_first(verona.juliet)
    (said,) = verona.romeo.says("follow juliet@capulet.example")
    assert "has to allow it first" in said
    (asked,) = verona.juliet.hears()
    assert asked.startswith("romeo@montague.example wants to follow you")
    verona.juliet.says("one")
    assert verona.romeo.hears() == [] and verona.romeo.finds(HOME) == {}
    assert verona.romeo.finds(FEED, str(verona.juliet.jid)) == {}
    verona.juliet.says("allow romeo@montague.example")
    assert any("lets you follow" in line for line in verona.romeo.hears())
    verona.juliet.says("two")
    assert any(": two" in line for line in verona.romeo.hears())
    assert set(verona.romeo.finds(HOME).values()) == {"one", "two"}
    verona.nurse.says("follow juliet")
    verona.juliet.says("deny nurse")
    verona.quiet()
    verona.juliet.says("three")
    assert verona.nurse.hears() == [] and verona.nurse.finds(FEED, str(verona.juliet.jid)) == {}


def test_a_follower_who_is_dropped_hears_no_more(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.benvolio, verona.juliet))
    verona.juliet.says("lose romeo@montague.example")
    verona.juliet.says("yes")
    verona.quiet()
    verona.juliet.says("friends: Who is here?")
    assert verona.romeo.hears() == []
    assert [line.partition(":")[0] for line in verona.benvolio.hears()] == ["juliet@capulet.example"]
    (following,) = verona.romeo.says("following")
    assert "juliet" not in following
    (followers,) = verona.juliet.says("followers")
    assert "benvolio@montague.example" in followers and "romeo" not in followers


def test_whom_one_follows_is_seen_by_others_only_if_one_wants_it(verona: Verona) -> None:
    verona.romeo.says("follow juliet@capulet.example public")
    verona.romeo.says("follow nurse@capulet.example")
    listed = verona.juliet.items(ns.PUBLIC_FOLLOWS, str(verona.romeo.jid))
    found = [one.attributes["jid"] for item in listed.values() if (one := item.first()) is not None]
    assert found == [f"juliet@{CAPULET}"]


def test_a_follow_that_was_forgotten_elsewhere_is_made_again(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))

    def forget(tx: Transaction) -> None:
        node = tx.nodes.find(verona.juliet.jid, FEED)
        assert node is not None
        tx.subscriptions.remove(node, verona.romeo.jid)

    verona.capulet.database.run(forget)
    verona.juliet.says("Not heard")
    assert verona.romeo.hears() == [] and verona.romeo.finds(HOME) == {}
    verona.later(90_000)
    assert list(verona.romeo.finds(HOME).values()) == ["Not heard"]
    verona.quiet()
    verona.juliet.says("Heard again")
    assert any("Heard again" in line for line in verona.romeo.hears())
