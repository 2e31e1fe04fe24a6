"""Rules on two nodes: they hear of what comes from the other, and cannot set each other off without end."""

from pathlib import Path

import pytest

from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.wire import atom, ns
from tests.federation.abroad import DOMAINS, HOME, Abroad, House, Person
from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Twin, Twins

ROMEO, JULIET = JID("romeo", MONTAGUE), JID("juliet", CAPULET)


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Twins:
    """Romeo and Juliet follow each other."""
    return Twins(authority, tmp_path)


def passes(verona: Twins) -> None:
    for _ in range(10):
        verona.time.advance(0.1)
        verona.settle()


def words(node: Twin, of: JID) -> list[str]:
    entries = [atom.read_text(item.payload) for item in node.items(of, MICROBLOG)]
    return [entry.text for entry in entries if entry is not None]


def test_rules_of_two_nodes_do_not_set_each_other_off(verona: Twins) -> None:
    romeo, juliet = verona.montague.talker("romeo"), verona.capulet.talker("juliet")
    for somebody, other in ((romeo, JULIET), (juliet, ROMEO)):
        somebody.says(f"follow {other}")
        somebody.says("rule when #dance appears then post Let us #dance, indeed")
    passes(verona)
    romeo.hears(), juliet.hears()
    juliet.says("Come, #dance with me")
    passes(verona)
    assert words(verona.montague, ROMEO) == ["Let us #dance, indeed"]
    assert words(verona.capulet, ROMEO) == ["Let us #dance, indeed"], "it came to Juliet's node"
    for _ in range(3):
        verona.time.advance(61)
        passes(verona)
    assert words(verona.capulet, JULIET) == ["Come, #dance with me"], "and fired nothing there"
    assert words(verona.montague, ROMEO) == ["Let us #dance, indeed"]


def test_who_posts_elsewhere_from_near_here_is_told_of(verona: Twins) -> None:
    romeo, juliet = verona.montague.talker("romeo"), verona.capulet.talker("juliet")
    romeo.says("follow juliet@capulet.example")
    romeo.says("place Orchard is 45.442,10.998")
    romeo.says("place Orchard")
    made = romeo.says("rule when anyone posts near here 1km then tell me")
    assert made[-1].startswith("Rule 1:")
    passes(verona)
    juliet.says("place Balcony is 45.441,10.998")
    juliet.says("at Balcony: O Romeo, Romeo!")
    passes(verona)
    heard = romeo.hears()
    assert any(line.startswith("juliet@capulet.example: O Romeo, Romeo!") for line in heard)
    assert any(line.startswith("Rule 1, anyone posts near here 1km: #") for line in heard)


def test_where_one_is_never_leaves_the_node(authority: Authority, tmp_path: Path) -> None:
    house = House(authority, authority.certificates(HOME), tmp_path)
    others = {
        domain: Abroad(house, domain, authority.certificates(domain), trusted=domain == CAPULET) for domain in DOMAINS
    }
    capulet = others[CAPULET]
    for name in ("romeo", "benvolio"):
        house.account(name)
    romeo, benvolio = house.online("romeo"), house.online("benvolio")
    capulet.says(
        f"<iq type='set' id='s' from='{JULIET}/b' to='{ROMEO}'><pubsub xmlns='{ns.PUBSUB}'>"
        f"<subscribe node='{MICROBLOG}' jid='{JULIET}'/></pubsub></iq>"
    )

    def says(person: Person, text: str) -> None:
        house.said = getattr(house, "said", 0) + 1  # type: ignore[attr-defined]  # counts messages
        person.says(f"<message to='{HOME}' type='chat' id='m{house.said}'><body>{text}</body></message>")  # type: ignore[attr-defined]  # whoever speaks
        for _ in range(5):
            house.wait(0.1)

    def heard() -> bytes:
        return b"".join(data for other in others.values() for data in other.bytes_heard())

    says(romeo, "place Cell is 45.4441,11.0011")
    says(benvolio, "place Cell is 45.4441,11.0011")
    says(benvolio, "rule when romeo enters Cell then post Romeo is not alone")
    says(benvolio, "rule when romeo leaves Cell then tell me")
    says(romeo, "place allow benvolio")
    says(romeo, "rule when juliet@capulet.example posts near Cell then tell me")
    says(romeo, "place Cell")
    says(romeo, "place 1,1")
    says(romeo, "place off")
    romeo.says(
        f"<iq type='set' id='g'><pubsub xmlns='{ns.PUBSUB}'><publish node='{ns.GEOLOC}'><item id='current'>"
        f"<geoloc xmlns='{ns.GEOLOC}'><lat>45.4441</lat><lon>11.0011</lon></geoloc></item></publish></pubsub></iq>"
    )
    says(romeo, "place share on")
    assert b"45.44" not in heard() and b"Cell" not in heard() and b"not alone" not in heard()
    says(romeo, "at Cell: Hence banished")
    assert b"<lat>45.444</lat>" in heard(), "what one posts goes where the post goes"
