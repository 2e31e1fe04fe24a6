"""Who reads what, and what leaves the node."""

from pathlib import Path

import pytest

from microblog.wire import ns
from tests.features.test_following import asks_first
from tests.features.verona import FEED, LOCAL, MONTAGUE, Somebody, Verona, configured, entry
from tests.federation.nodes import Authority


def reads(somebody: Somebody, whose: Somebody) -> set[str]:
    return set(somebody.finds(FEED, str(whose.jid)).values())


def test_each_post_is_read_by_whom_it_is_for(verona: Verona) -> None:
    """Juliet follows Romeo; the nurse, elsewhere, and Benvolio, here, do not."""
    verona.follow((verona.juliet, verona.romeo))
    for audience in ("public", "followers", "local"):
        verona.romeo.publishes(audience, entry(audience), audience=audience)
    verona.romeo.publishes("direct", entry("direct"), audience="direct", reader="nurse@capulet.example")
    assert sorted(line.partition(": ")[2].partition(" ")[0] for line in verona.juliet.hears()) == [
        "followers",
        "public",
    ]
    assert ["direct" in line for line in verona.nurse.hears()] == [True]
    assert reads(verona.romeo, verona.romeo) == {"public", "followers", "local", "direct"}
    assert reads(verona.juliet, verona.romeo) == {"public", "followers"}
    # What is for her alone came to her as a message; nobody elsewhere retrieves it.
    assert reads(verona.nurse, verona.romeo) == {"public"}
    assert reads(verona.benvolio, verona.romeo) == {"public", "local"}


def test_words_say_for_whom(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    for text in ("public one", "friends two", "local three"):
        verona.romeo.says(text)
    assert reads(verona.juliet, verona.romeo) == {"one", "two"}
    assert reads(verona.nurse, verona.romeo) == {"one"}
    assert reads(verona.benvolio, verona.romeo) == {"one", "three"}


def test_a_preview_says_where_a_post_would_go_and_posts_nothing(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo), (verona.benvolio, verona.romeo))
    (said,) = verona.romeo.says("where But soft!")
    assert said == "It would go to 2 people, 1 domain. Nothing was posted.\ncapulet.example"
    (said,) = verona.romeo.says("where local But soft!")
    assert "1 person here; it does not leave this node" in said
    assert verona.juliet.hears() == [] and reads(verona.romeo, verona.romeo) == set()
    verona.romeo.says("But soft!")
    (said,) = verona.romeo.says("where #1")
    assert "capulet.example: stored" in said


BORDER = {"border": {"words": ["dram of poison"], "labels": ["Friar only"]}}
LABEL = (
    f"<securitylabel xmlns='{ns.SECURITY_LABEL}'><displaymarking>friar ONLY</displaymarking><label/></securitylabel>"
)


def test_words_and_labels_stop_a_post_at_the_border(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way it is posted."""
    configured(monkeypatch, BORDER)
    verona = Verona(authority, tmp_path)
    verona.follow((verona.juliet, verona.romeo))
    (said,) = verona.romeo.says("public: A Dram of  poison, please")
    assert "cannot go further" in said
    verona.romeo.publishes("1", entry("a dram of poison!"), audience="public")
    verona.romeo.publishes("2", entry("Thursday", LABEL), audience="public")
    form = (
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        "<value>urn:x-microblog:command:0</value></field><field var='text'><value>my dram of poison</value></field>"
        "<field var='audience'><value>public</value></field></x>"
    )
    command = f"<command xmlns='{ns.COMMANDS}' node='post' action='complete'"
    (asked,) = verona.romeo.sends(
        f"<iq type='set' id='f1' to='{MONTAGUE}'><command xmlns='{ns.COMMANDS}' node='post'/></iq>"
    )
    session = next(asked.elements()).attributes["sessionid"]
    verona.romeo.sends(f"<iq type='set' id='f2' to='{MONTAGUE}'>{command} sessionid='{session}'>{form}</command></iq>")
    stayed = {"A Dram of  poison, please", "a dram of poison!", "Thursday", "my dram of poison"}
    assert reads(verona.benvolio, verona.romeo) == stayed
    assert verona.juliet.hears() == [] and reads(verona.juliet, verona.romeo) == set()
    assert verona.capulet.items(verona.romeo.jid, FEED) == []
    # An edit does not carry it out either.
    verona.romeo.says("A rose")
    (refused,) = verona.romeo.says("edit #5 A dram of poison")
    assert refused.startswith("Nothing was posted") or "cannot" in refused
    assert reads(verona.juliet, verona.romeo) == {"A rose"}


def test_who_does_not_follow_any_more_reads_no_more(verona: Verona) -> None:
    asks_first(verona.romeo)
    for who in (verona.juliet, verona.nurse):
        who.says("follow romeo@montague.example")
    verona.romeo.says("allow all")
    verona.quiet()
    verona.romeo.publishes("1", entry("for us"))
    comments = f"{FEED}:comments/1"
    verona.juliet.publishes("c1", entry("and me"), to=str(verona.romeo.jid), node=comments)
    for who in (verona.juliet, verona.nurse):
        assert reads(who, verona.romeo) == {"for us"}
        assert list(who.finds(comments, str(verona.romeo.jid)).values()) == ["and me"]
    verona.romeo.says("lose juliet@capulet.example")
    verona.romeo.says("yes")
    verona.nurse.says("leave romeo@montague.example")
    verona.quiet()
    verona.romeo.publishes("2", entry("for nobody"))
    for who in (verona.juliet, verona.nurse):
        assert reads(who, verona.romeo) == set()
        assert who.finds(comments, str(verona.romeo.jid)) == {}
        assert who.hears() == []
        assert "for us" not in " ".join(who.says("timeline"))
    assert not [item for item in verona.capulet.items(verona.romeo.jid, FEED) if item.id == "2"]


@pytest.mark.parametrize("audience", ["followers", "local"])
def test_a_node_can_be_private_by_default(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audience: str
) -> None:
    configured(monkeypatch, {"accounts": {"audience": audience}})
    verona = Verona(authority, tmp_path)
    verona.romeo.says("But soft!")
    verona.romeo.publishes("1", entry("What light?"), audience="public")
    assert reads(verona.nurse, verona.romeo) == set()
    assert verona.nurse.finds(LOCAL, MONTAGUE) == {}
    # Here, what is local is for all; what is for followers for those whom Romeo lets in.
    here = {"But soft!", "What light?"} if audience == "local" else set()
    assert reads(verona.benvolio, verona.romeo) == here
    (said,) = verona.nurse.says("follow romeo@montague.example")
    assert "You follow" not in said
    verona.quiet()
    verona.romeo.says("It is the east")
    assert verona.nurse.hears() == []


def test_somebody_can_be_private_by_default(verona: Verona) -> None:
    verona.follow((verona.juliet, verona.romeo))
    verona.romeo.says("set audience local")
    verona.romeo.says("But soft!")
    assert verona.juliet.hears() == [] and reads(verona.juliet, verona.romeo) == set()
    assert reads(verona.benvolio, verona.romeo) == {"But soft!"}
