"""Whom a node speaks with, across two whole nodes: what its administrator says on the command line, and in chat."""

from typing import Any

import pytest

from microblog.model.jid import JID
from microblog.model.policy import Grade
from microblog.usecases import policing, registering
from tests.features.verona import CAPULET, FEED, MONTAGUE, Somebody, Verona, configured, entry
from tests.federation.nodes import Authority
from tests.federation.twins import Twin

LOOK = 10
PICTURE = "<link rel='enclosure' href='https://capulet.example/rose.png'/>"


def says(verona: Verona, grade: Grade, domain: str = CAPULET) -> None:
    """The administrator of Montague, beside the running server."""
    verona.montague.database.run(policing.set_grade, domain, grade, outside=True)
    verona.later(LOOK)


def streams(twin: Twin) -> list[str]:
    """The domains that have streams to a node, or it to them."""
    incoming = [domain for one in twin.server_streams.status() for domain in one.domains]
    return incoming + [one.domain for one in twin.servers.status() if one.state == "open"]


def posts(twin: Twin, name: str, domain: str) -> list[str]:
    return [item.id for item in twin.items(JID(name, domain), FEED)]


@pytest.fixture
def friends(verona: Verona) -> Verona:
    """Romeo and Juliet follow each other, and both have posted."""
    verona.follow((verona.romeo, verona.juliet), (verona.juliet, verona.romeo))
    verona.romeo.says("By a name")
    verona.juliet.says("What man art thou #night")
    verona.later(LOOK)
    verona.quiet()
    assert len(posts(verona.montague, "juliet", CAPULET)) == len(posts(verona.capulet, "romeo", MONTAGUE)) == 1
    return verona


def test_f34_a_domain_is_refused_while_it_streams(friends: Verona) -> None:
    assert streams(friends.montague)
    says(friends, Grade.REFUSED)
    assert streams(friends.montague) == []
    assert friends.romeo.hears() == [
        "This server has nothing to do with that of juliet@capulet.example any more; you do not follow it now."
    ]
    assert posts(friends.montague, "juliet", CAPULET) == []
    friends.romeo.says("I know not how to tell thee")
    friends.juliet.says("How camest thou hither")
    friends.later(3600)
    assert posts(friends.montague, "juliet", CAPULET) == [] == friends.romeo.hears()
    assert len(posts(friends.capulet, "romeo", MONTAGUE)) == 1
    assert friends.montague.database.run(policing.present) == []
    assert streams(friends.montague) == []
    assert friends.romeo.says("follow juliet@capulet.example") == ["This node does not speak with capulet.example."]


def test_who_is_allowed_again_begins_anew(friends: Verona) -> None:
    says(friends, Grade.REFUSED)
    friends.later(3600)
    friends.montague.database.run(policing.reset, CAPULET, outside=True)
    friends.later(LOOK)
    friends.quiet()
    friends.juliet.says("The orchard walls are high")
    friends.later(7200)
    assert posts(friends.montague, "juliet", CAPULET) == []
    friends.follow((friends.romeo, friends.juliet))
    friends.juliet.says("By whose direction")
    friends.later(LOOK)
    assert len(posts(friends.montague, "juliet", CAPULET)) == 3
    assert any("By whose direction" in line for line in friends.romeo.hears())


def test_others_below_a_refused_domain_are_refused_with_it(friends: Verona) -> None:
    says(friends, Grade.REFUSED, "example")
    assert friends.montague.database.run(policing.present) == [] and streams(friends.montague) == []


def test_a_silenced_domain_is_read_by_those_who_follow(friends: Verona) -> None:
    assert any("What man" in line for line in friends.benvolio.says("timeline #night"))
    says(friends, Grade.SILENCED)
    assert not any("What man" in line for line in friends.benvolio.says("timeline #night"))
    assert any("What man" in line for line in friends.romeo.says("timeline #night"))
    friends.quiet()
    friends.juliet.says("@benvolio@montague.example @romeo@montague.example good morrow")
    friends.later(LOOK)
    assert friends.benvolio.hears() == []
    assert any("good morrow" in line for line in friends.romeo.hears())


def test_posts_without_media(friends: Verona) -> None:
    says(friends, Grade.NO_MEDIA)
    friends.juliet.publishes("p1", entry("A rose", PICTURE))
    friends.later(LOOK)
    (item,) = [one for one in friends.montague.items(JID("juliet", CAPULET), FEED) if one.id == "p1"]
    assert "A rose" in item.payload and "rose.png" not in item.payload


def test_only_those_who_are_allowed(authority: Authority, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = {MONTAGUE: "127.0.0.2:5269", CAPULET: "127.0.0.3:5269"}
    configured(monkeypatch, {"s2s": {"federation": "allowlist", "routes": routes}})
    verona = Verona(authority, tmp_path)
    verona.follow((verona.romeo, verona.juliet))
    assert verona.montague.database.run(policing.present) == []
    for twin, other in ((verona.montague, CAPULET), (verona.capulet, MONTAGUE)):
        twin.database.run(policing.set_grade, other, Grade.ALLOWED, outside=True)
    verona.later(600)
    verona.follow((verona.romeo, verona.juliet))
    verona.juliet.says("What man art thou")
    verona.later(LOOK)
    assert len(posts(verona.montague, "juliet", CAPULET)) == 1


def test_an_administrator_does_it_in_chat(friends: Verona) -> None:
    friends.montague.database.run(registering.create_account, "escalus", "secret", admin=True)
    escalus = Somebody(friends.montague, "escalus")
    assert any("yes" in line for line in escalus.says("admin refuse capulet.example"))
    assert streams(friends.montague)
    assert escalus.says("yes")[-1].startswith("capulet.example is refused")
    friends.later(LOOK)
    assert streams(friends.montague) == [] == posts(friends.montague, "juliet", CAPULET)
    assert any("capulet.example refused" in line for line in escalus.says("admin domains"))
    assert "allowed" in escalus.says("admin grade capulet.example allowed")[-1]
    assert "speak with" not in " ".join(friends.romeo.says("admin domains"))
