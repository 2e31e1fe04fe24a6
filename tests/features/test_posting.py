"""Posting, from the author's client to the reader's at another node."""

from datetime import timedelta

import pytest

from microblog.wire import atom, ns
from tests.conftest import START
from tests.features.verona import FEED, HOME, Verona, entry

GEOLOC = "http://jabber.org/protocol/geoloc"
PLACE = f"<geoloc xmlns='{GEOLOC}'><lat>45.44</lat><lon>10.99</lon><text>Verona</text></geoloc>"


@pytest.mark.parametrize("address", ["montague.example", "post@montague.example"])
@pytest.mark.parametrize("type_", ["chat", "normal"])
def test_a_plain_message_is_a_post_for_followers_elsewhere(verona: Verona, address: str, type_: str) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.sends(f"<message to='{address}' type='{type_}'><body>But soft!</body></message>")
    assert verona.juliet.hears() == ["romeo@montague.example: But soft!  #1"]
    assert list(verona.romeo.finds(FEED).values()) == ["But soft!"]


def test_an_entry_of_a_client_reaches_followers_elsewhere_as_it_was(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.publishes("1", entry("Ay me!", "<mood xmlns='urn:example:mood'>sad</mood>"))
    assert verona.romeo.hears() == ["juliet@capulet.example: Ay me!  #1"]
    (item,) = verona.romeo.items(HOME).values()
    content = item.first()
    assert content is not None and content.child_text("urn:example:mood", "mood") == "sad"
    links = {link.get("rel"): link.get("href") for link in content.find_all(ns.ATOM, "link")}
    assert links["alternate"] == "xmpp:juliet@capulet.example?;node=urn%3Axmpp%3Amicroblog%3A0;item=1"


def test_a_nought_is_a_post_like_any_other_and_only_the_item_of_that_name_is_none(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo), (verona.benvolio, verona.romeo))
    verona.romeo.says("0")
    verona.romeo.publishes("1", entry("0"))
    # XEP-0277 §3.2: it describes the feed.
    verona.romeo.publishes("0", entry("The feed of Romeo"))
    assert verona.juliet.hears() == ["romeo@montague.example: 0  #1", "romeo@montague.example: 0  #2"]
    assert verona.benvolio.hears() == ["romeo: 0  #1", "romeo: 0  #2"]
    assert list(verona.juliet.finds(HOME).values()) == ["0", "0"]
    assert sorted(verona.romeo.finds(FEED).values()) == ["0", "0", "The feed of Romeo"]


def test_an_edit_and_a_correction_reach_who_has_the_post(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.says("I am her foal")
    (line,) = verona.juliet.lines()
    verona.romeo.says("edit #1 I am her fowl")
    (edited,) = verona.juliet.lines()
    verona.romeo.adds("I am her fool", "<replace xmlns='urn:xmpp:message-correct:0' id='m2'/>")
    (corrected,) = verona.juliet.lines()
    for stanza, words in ((edited, "her fowl"), (corrected, "her fool")):
        replaces = stanza.find("urn:xmpp:message-correct:0", "replace")
        assert replaces is not None and replaces.get("id") == line.get("id")
        assert words in (stanza.child_text(ns.CLIENT, "body") or "")
    assert list(verona.juliet.finds(HOME).values()) == ["I am her fool"]


def test_what_is_deleted_is_gone_everywhere_with_what_repeats_it(verona: Verona) -> None:
    verona.follow((verona.romeo, verona.juliet), (verona.benvolio, verona.romeo), (verona.nurse, verona.juliet))
    verona.juliet.publishes("1", entry("Tybalt is dead"))
    verona.romeo.says("repost #1")
    assert len(verona.benvolio.finds(HOME)) == 1
    # Who does not follow any more has it nevertheless.
    verona.romeo.says("leave juliet@capulet.example")
    verona.quiet()
    assert verona.montague.items(verona.romeo.jid, FEED) and verona.montague.items(verona.juliet.jid, FEED)
    verona.juliet.asks("set", f"<retract node='{FEED}'><item id='1'/></retract>")
    for somebody in (verona.romeo, verona.benvolio, verona.nurse):
        assert somebody.finds(HOME) == {} and somebody.finds(FEED, str(verona.romeo.jid)) == {}
    assert verona.montague.items(verona.juliet.jid, FEED) == []
    (taken,) = verona.nurse.lines()
    assert taken.find("urn:xmpp:message-retract:1", "retract") is not None


def test_a_post_is_no_longer_than_the_administrator_said(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    longest = verona.montague.config.limits.post_max_characters
    (said,) = verona.romeo.says("a" * (longest + 1))
    assert said.startswith("Nothing was posted.")
    (refused,) = verona.romeo.publishes("1", entry("a" * (longest + 1)))
    assert refused.get("type") == "error"
    assert verona.romeo.finds(FEED) == {} and verona.juliet.hears() == []
    verona.romeo.publishes("1", entry("a" * longest))
    assert list(verona.romeo.finds(FEED)) == ["1"]


def test_markup_arrives_as_xhtml_beside_its_words(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.says("Love is a *smoke*, https://verona.example/x")
    assert verona.juliet.hears() == ["romeo@montague.example: Love is a *smoke*, https://verona.example/x  #1"]
    (item,) = verona.juliet.items(HOME).values()
    payload = item.first()
    assert payload is not None
    contents = {content.get("type"): content for content in payload.find_all(ns.ATOM, "content")}
    assert contents["text"].text == "Love is a *smoke*, https://verona.example/x"
    xhtml = repr(contents["xhtml"].first())
    assert "<strong>smoke</strong>" in xhtml and "href='https://verona.example/x'" in xhtml


def test_what_there_is_a_warning_of_is_not_shown_before_it(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.says("cw last act: They both die.")
    (line,) = verona.juliet.hears()
    assert line.startswith("romeo@montague.example: [last act] They both die.")
    (item,) = verona.juliet.items(HOME).values()
    payload = item.first()
    assert payload is not None
    read = atom.read_entry(payload)
    assert read is not None and read.warning == "last act"
    assert payload.child_text(ns.ATOM, "title") is not None and "die" not in (
        payload.child_text(ns.ATOM, "title") or ""
    )


def test_a_place_goes_with_the_post_and_not_with_its_repetition(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo), (verona.nurse, verona.juliet))
    verona.romeo.publishes("1", entry("Here I stand", PLACE))
    (item,) = verona.juliet.items(HOME).values()
    payload = item.first()
    assert payload is not None
    place = payload.find(GEOLOC, "geoloc")
    assert place is not None and (place.child_text(GEOLOC, "lat"), place.child_text(GEOLOC, "text")) == (
        "45.44",
        "Verona",
    )
    verona.juliet.says("repost #1")
    (item,) = verona.nurse.items(HOME).values()
    payload = item.first()
    assert payload is not None and "Here I stand" in repr(payload) and payload.find(GEOLOC, "geoloc") is None


def test_a_post_that_ends_ends_on_both_nodes(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.publishes("1", entry("lightning"), expires=(START + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"))
    verona.romeo.publishes("2", entry("the sun"))
    verona.juliet.hears()
    verona.later(3000)
    assert set(verona.juliet.finds(HOME).values()) == {"lightning", "the sun"}
    verona.later(1200)
    assert list(verona.romeo.finds(FEED).values()) == ["the sun"]
    assert list(verona.juliet.finds(HOME).values()) == ["the sun"]
    assert [line for line in verona.juliet.hears() if "deleted" in line]


def test_what_is_sent_again_is_posted_once(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    for _ in range(2):
        verona.romeo.publishes("1", entry("But soft!"))
        verona.romeo.adds("What light?", "<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>", "x1")
    assert [line.rpartition(":")[2] for line in verona.juliet.hears()] == [" But soft!  #1", " What light?  #2"]
    assert sorted(verona.romeo.finds(FEED).values()) == ["But soft!", "What light?"]
