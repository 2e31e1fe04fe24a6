"""XEP-0191: the command, and that nothing passes between the two ends of a block."""

from typing import Any

import pytest

from microblog.model.errors import Blocking as ServerSaysBlocked
from microblog.model.errors import NotAllowed
from microblog.model.jid import JID
from microblog.runtime import Tasks
from microblog.usecases import blocking
from microblog.wire import ns
from microblog.wire.xml import Element
from microblog.xep.blocking import Blocking
from microblog.xep.quiet import Quiet
from tests.im.town import Client, Town, result
from tests.xep.square import FEED, Square, asks, error, publishes, told
from tests.xep.square import result as payload

BLOCKED = f"<blocked xmlns='{ns.BLOCKING_ERRORS}'/>"
JULIET = "juliet@capulet.example"


def wired(town: Town) -> Blocking:
    """Blocks, as they are put together when it serves."""
    quiet = Quiet(town.database, town.clock, Tasks())
    quiet.load()
    town.router.blocks = quiet.blocks
    extension = Blocking(town.database, town.sessions, town.presence, quiet, town.clock, Tasks())
    town.install(extension)
    return extension


@pytest.fixture
def verona(square: Square) -> Square:
    wired(square)
    return square


def items(*jids: str) -> str:
    return "".join(f"<item jid='{jid}'/>" for jid in jids)


def says(client: Client, name: str, *jids: str, type_: str = "set", to: str = "") -> Element:
    """Send the command; the answer to it, what else came stays to be heard."""
    from microblog.wire.xml import to_text

    addressee = f"to='{to}'" if to else ""
    client.sends(f"<iq type='{type_}' id='b' {addressee}><{name} xmlns='{ns.BLOCKING}'>{items(*jids)}</{name}></iq>")
    heard = client.hears()
    (answer,) = [one for one in heard if one.get("id") == "b"]
    for one in heard:
        if one is not answer:
            client.line.write(to_text(one).encode())
    return answer


def blocks(client: Client, *jids: str) -> None:
    assert says(client, "block", *jids).get("type") == "result"


def listed(client: Client) -> list[str]:
    found = says(client, "blocklist", type_="get").first()
    assert found is not None
    return [item.attributes["jid"] for item in found.elements()]


def condition(answer: Element) -> str:
    return error(answer)[0]


# the command


def test_a_list_is_asked_for_changed_and_kept(verona: Square) -> None:
    romeo = verona.online("romeo", "orchard")
    assert listed(romeo) == []
    blocks(romeo, JULIET, "tybalt@capulet.example/sword")
    romeo.hears()
    blocks(romeo, "verona.example", JULIET)
    assert listed(romeo) == [JULIET, "tybalt@capulet.example/sword", "verona.example"]
    assert says(romeo, "unblock", JULIET, "nobody@x.example").get("type") == "result"
    assert listed(romeo) == ["tybalt@capulet.example/sword", "verona.example"]
    assert says(romeo, "unblock").get("type") == "result"
    assert listed(romeo) == []


def test_clients_that_asked_hear_of_changes(verona: Square) -> None:
    orchard, street, cell = (verona.online("romeo", name) for name in ("orchard", "street", "cell"))
    for client in (orchard, street):
        listed(client)
    for client in (orchard, street, cell):
        client.hears()
    blocks(cell, JULIET)
    push = (
        "<iq type='set' id='*' from='romeo@montague.example' to='romeo@montague.example/{}'><{} xmlns='{}'>{}</{}></iq>"
    )
    for client in (orchard, street):
        name = client.session.jid.resourcepart
        client.receives(push.format(name, "block", ns.BLOCKING, items(JULIET), "block"))
    cell.receives()
    # What was so before is no change.
    blocks(cell, JULIET)
    orchard.receives()
    says(cell, "unblock")
    orchard.receives(push.format("orchard", "unblock", ns.BLOCKING, "", "unblock"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<block xmlns='urn:xmpp:blocking'/>", "bad-request"),
        ("<block xmlns='urn:xmpp:blocking'><item/></block>", "bad-request"),
        ("<block xmlns='urn:xmpp:blocking'><item jid=''/></block>", "jid-malformed"),
        ("<block xmlns='urn:xmpp:blocking'><item jid='@@'/></block>", "jid-malformed"),
        ("<block xmlns='urn:xmpp:blocking'><x xmlns='y'/></block>", "bad-request"),
        ("<unblock xmlns='urn:xmpp:blocking'><item/></unblock>", "bad-request"),
        ("<block xmlns='urn:xmpp:blocking'><item jid='romeo@montague.example'/></block>", "not-allowed"),
        ("<block xmlns='urn:xmpp:blocking'><item jid='romeo@montague.example/other'/></block>", "not-allowed"),
        ("<block xmlns='urn:xmpp:blocking'><item jid='montague.example'/></block>", "not-allowed"),
        ("<block xmlns='urn:xmpp:blocking'><item jid='post@montague.example'/></block>", "not-allowed"),
    ],
)
def test_what_is_wrong_is_refused_and_changes_nothing(verona: Square, content: str, expected: str) -> None:
    romeo = verona.online("romeo", "orchard")
    romeo.sends(f"<iq type='set' id='b'>{content}</iq>")
    (answer,) = romeo.hears()
    assert condition(answer) == expected and listed(romeo) == []


def test_too_many(verona: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "BLOCKS_MAX", 3)
    romeo = verona.online("romeo", "orchard")
    assert condition(says(romeo, "block", *(f"x{n}@y.example" for n in range(4)))) == "bad-request"
    blocks(romeo, *(f"x{n}@y.example" for n in range(3)))
    assert condition(says(romeo, "block", "z@y.example")) == "resource-constraint"


def test_nobody_else_asks(verona: Square) -> None:
    verona.online("romeo", "orchard")
    mercutio = verona.online("mercutio", "street")
    assert condition(says(mercutio, "blocklist", type_="get", to="romeo@montague.example")) == "forbidden"
    assert condition(says(mercutio, "block", "x@y.example", to="romeo@montague.example")) == "forbidden"
    for name in ("blocklist", "block", "unblock"):
        type_ = "get" if name == "blocklist" else "set"
        verona.inject(
            f"<iq type='{type_}' id='1' from='{JULIET}/x' to='romeo@montague.example'>"
            f"<{name} xmlns='{ns.BLOCKING}'/></iq>"
        )
        (answer,) = verona.world_hears()
        assert condition(answer) == "service-unavailable"


def test_it_lasts(verona: Square) -> None:
    blocks(verona.online("romeo", "orchard"), JULIET)
    quiet = Quiet(verona.database, verona.clock, Tasks())
    quiet.load()
    romeo = JID.parse("romeo@montague.example")
    assert quiet.blocks(romeo, JID.parse(f"{JULIET}/balcony")) and not quiet.blocks(romeo, JID.parse("x@y.example"))


# messages


def test_messages_do_not_arrive(verona: Square) -> None:
    romeo = verona.online("romeo", "orchard")
    blocks(romeo, JULIET)
    for to in ("romeo@montague.example", "romeo@montague.example/orchard", "romeo@montague.example/away"):
        verona.inject(f"<message type='chat' id='1' from='{JULIET}/balcony' to='{to}'><body>o</body></message>")
        (answer,) = verona.world_hears()
        assert condition(answer) == "service-unavailable"
    verona.inject(f"<message type='headline' from='{JULIET}' to='romeo@montague.example'><body>o</body></message>")
    verona.inject(
        f"<message type='error' from='{JULIET}' to='romeo@montague.example/orchard'>"
        "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    )
    verona.world_receives()
    romeo.receives()
    # Nor later.
    romeo.leaves()
    verona.inject(f"<message type='chat' from='{JULIET}' to='romeo@montague.example'><body>o</body></message>")
    verona.world_hears()
    back = verona.login("romeo", "orchard")
    back.sends("<presence/>")
    assert [one.name for one in back.hears()] == ["presence"]


def test_it_looks_like_somebody_who_is_not_there(verona: Square) -> None:
    romeo = verona.online("romeo", "orchard")
    blocks(romeo, JULIET)
    for to in ("romeo@montague.example", "nobody@montague.example"):
        verona.inject(f"<message type='chat' id='1' from='{JULIET}' to='{to}'><body>o</body></message>")
    one, other = verona.world_hears()
    assert one.replaced(**{"from": None}) == other.replaced(**{"from": None})


def test_between_people_here(verona: Square) -> None:
    romeo, mercutio = verona.online("romeo", "orchard"), verona.online("mercutio", "street")
    blocks(romeo, "mercutio@montague.example")
    mercutio.sends("<message type='chat' id='1' to='romeo@montague.example'><body>o</body></message>")
    (answer,) = mercutio.hears()
    assert condition(answer) == "service-unavailable"
    romeo.sends("<message type='chat' id='2' to='mercutio@montague.example/street'><body>o</body></message>")
    (answer,) = romeo.hears()
    assert error(answer)[0] == "not-acceptable"
    assert next(answer.find_all(ns.CLIENT, "error")).find(ns.BLOCKING_ERRORS, "blocked") is not None
    mercutio.receives()
    says(romeo, "unblock")
    mercutio.sends("<message type='chat' id='3' to='romeo@montague.example'><body>o</body></message>")
    assert len(romeo.hears()) == 1


def test_one_resource(verona: Square) -> None:
    romeo = verona.online("romeo", "orchard")
    blocks(romeo, f"{JULIET}/balcony")
    for resource, number in (("balcony", 0), ("chamber", 1)):
        verona.inject(
            f"<message type='chat' from='{JULIET}/{resource}' to='romeo@montague.example'><body>o</body></message>"
        )
        assert len(romeo.hears()) == number


def test_a_domain(verona: Square) -> None:
    romeo = verona.online("romeo", "orchard")
    blocks(romeo, "capulet.example")
    for sender in (JULIET, "capulet.example", "nurse@capulet.example/x"):
        verona.inject(f"<message type='chat' from='{sender}' to='romeo@montague.example'><body>o</body></message>")
    verona.inject(
        "<message type='chat' from='x@sub.capulet.example' to='romeo@montague.example'><body>o</body></message>"
    )
    assert len(romeo.hears()) == 1


# requests


def test_requests(verona: Square) -> None:
    romeo = verona.online("romeo", "orchard")
    blocks(romeo, JULIET)
    for to in ("romeo@montague.example", "romeo@montague.example/orchard"):
        verona.inject(f"<iq type='get' id='1' from='{JULIET}/balcony' to='{to}'><query xmlns='{ns.DISCO_INFO}'/></iq>")
        (answer,) = verona.world_hears()
        assert condition(answer) == "service-unavailable"
    verona.inject(f"<iq type='result' id='1' from='{JULIET}/balcony' to='romeo@montague.example/orchard'/>")
    romeo.receives()
    romeo.sends(f"<iq type='get' id='2' to='{JULIET}/balcony'><query xmlns='{ns.DISCO_INFO}'/></iq>")
    (answer,) = romeo.hears()
    assert condition(answer) == "not-acceptable"
    # What answers to what is blocked is dropped.
    romeo.sends(f"<iq type='result' id='3' to='{JULIET}/balcony'/>")
    romeo.receives()
    verona.world_receives()
    # The node itself can always be asked.
    romeo.sends(f"<iq type='get' id='4' to='montague.example'><query xmlns='{ns.DISCO_INFO}'/></iq>")
    (answer,) = romeo.hears()
    assert answer.get("type") == "result"


# presence


def test_whoever_is_blocked_sees_one_go(verona: Square) -> None:
    verona.makes_contact("romeo", JULIET, "both")
    verona.befriend("romeo", "mercutio")
    romeo, mercutio = verona.online("romeo", "orchard"), verona.online("mercutio", "street")
    romeo.hears()
    romeo.sends("<presence to='paris@verona.example'/>")
    verona.world_hears()
    blocks(romeo, JULIET, "mercutio@montague.example", "paris@verona.example")
    gone = "<presence type='unavailable' from='romeo@montague.example/orchard' to='{}'/>"
    verona.world_receives(gone.format(JULIET), gone.format("paris@verona.example"))
    mercutio.receives(gone.format("mercutio@montague.example"))
    # From now on neither sees the other.
    romeo.sends("<presence><show>away</show></presence>")
    mercutio.sends("<presence><show>dnd</show></presence>")
    verona.inject(f"<presence from='{JULIET}/balcony' to='romeo@montague.example'/>")
    verona.inject(f"<presence type='probe' from='{JULIET}/balcony' to='romeo@montague.example'/>")
    verona.inject(f"<presence type='subscribe' from='{JULIET}' to='romeo@montague.example'/>")
    verona.world_receives()
    mercutio.receives(
        "<presence from='mercutio@montague.example/street' to='mercutio@montague.example'><show>dnd</show></presence>"
    )
    romeo.receives(
        "<presence from='romeo@montague.example/orchard' to='romeo@montague.example'><show>away</show></presence>"
    )
    romeo.sends(f"<presence to='{JULIET}'/>")
    (answer,) = romeo.hears()
    assert condition(answer) == "not-acceptable"
    says(romeo, "unblock", JULIET, "mercutio@montague.example")
    there = "<presence from='romeo@montague.example/orchard' to='{}'><show>away</show></presence>"
    mercutio.receives(there.format("mercutio@montague.example"))
    heard = verona.world_hears()
    assert [(one.get("type"), one.get("to")) for one in heard] == [(None, JULIET), ("probe", JULIET)]
    assert [(one.get("from"), one.child_text(ns.CLIENT, "show")) for one in romeo.hears()] == [
        ("mercutio@montague.example/street", "dnd")
    ]


def test_who_comes_later_sees_nothing(verona: Square) -> None:
    verona.befriend("romeo", "mercutio")
    romeo = verona.online("romeo", "orchard")
    blocks(romeo, "mercutio@montague.example")
    romeo.hears()
    mercutio = verona.login("mercutio", "street")
    mercutio.asks_for_roster()
    mercutio.sends("<presence/>")
    assert {one.get("from") for one in mercutio.hears()} == {"mercutio@montague.example/street"}
    romeo.receives()
    again = verona.login("romeo", "street")
    again.asks_for_roster()
    again.sends("<presence/>")
    assert all((one.get("from") or "").startswith("romeo@") for one in again.hears())
    mercutio.receives()


# feeds


def test_feeds(verona: Square) -> None:
    romeo, mercutio, benvolio = (verona.online(name, "x") for name in ("romeo", "mercutio", "benvolio"))
    for client in (mercutio, benvolio):
        payload(
            asks(
                client,
                "set",
                f"<subscribe node='{FEED}' jid='{client.session.jid.bare}'/>",
                to="romeo@montague.example",
            )
        )
    blocks(romeo, "mercutio@montague.example")
    mercutio.hears()
    payload(publishes(romeo, "1"))
    assert told(benvolio.hears()) == [("romeo@montague.example", "benvolio@montague.example", "1")]
    mercutio.receives()
    for type_, content in (
        ("get", f"<items node='{FEED}'/>"),
        ("set", f"<subscribe node='{FEED}' jid='mercutio@montague.example'/>"),
    ):
        assert error(asks(mercutio, type_, content, to="romeo@montague.example"))[0] == "service-unavailable"


def test_what_happens_at_a_feed_elsewhere_happens_to_our_copy(verona: Square) -> None:
    """Also if it is said only to somebody who has blocked its author."""
    romeo = verona.online("romeo", "orchard")
    benvolio = verona.online("benvolio", "street")
    for name in ("romeo", "benvolio"):
        verona.makes_contact(name, JULIET, "to")
    event = f"<event xmlns='{ns.PUBSUB_EVENT}'><items node='{FEED}'>{{}}</items></event>"
    item = f"<item id='j'><entry xmlns='{ns.ATOM}'><title>sweet</title></entry></item>"
    for name in ("romeo", "benvolio"):
        verona.inject(
            f"<message type='headline' from='{JULIET}' to='{name}@montague.example'>{event.format(item)}</message>"
        )
    node = verona.database.run(lambda tx: tx.nodes.find(JID.parse(JULIET), FEED))
    assert node is not None and verona.database.run(lambda tx: tx.items.get(node.key, "j")) is not None
    blocks(romeo, JULIET)
    gone = event.format("<retract id='j'/>")
    verona.inject(f"<message type='headline' from='{JULIET}' to='romeo@montague.example'>{gone}</message>")
    assert verona.database.run(lambda tx: tx.items.get(node.key, "j")) is None
    del benvolio


def test_a_report_comes_before_the_block(verona: Square) -> None:
    extension = wired_again(verona)
    said: list[Any] = []

    async def accuse(account: JID, jid: JID, what: Any) -> None:
        said.append((str(account), str(jid), what.text))
        raise NotAllowed("too many")

    extension.accuse = accuse
    romeo = verona.online("romeo", "orchard")
    romeo.sends(
        f"<iq type='set' id='b'><block xmlns='{ns.BLOCKING}'><item jid='{JULIET}'>"
        "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'><text>letters</text></report>"
        "</item></block></iq>"
    )
    romeo.hears()
    assert said == [("romeo@montague.example", JULIET, "letters")] and listed(romeo) == [JULIET]


def wired_again(square: Square) -> Blocking:
    found = square.router.dispatch._routes  # the extension that answers
    function: Any = next(one for key, one in found.items() if key[2] == ns.BLOCKING)
    extension: Blocking = function.__self__
    return extension


def test_a_domain_is_severed_in_slices_also_after_a_restart(verona: Square, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "SLICE", 2)
    for n in range(7):
        verona.inject(
            f"<iq type='set' id='1' from='f{n}@capulet.example' to='romeo@montague.example'>"
            f"<pubsub xmlns='{ns.PUBSUB}'><subscribe node='{FEED}' jid='f{n}@capulet.example'/></pubsub></iq>"
        )
    romeo = JID.parse("romeo@montague.example")
    node = verona.database.run(lambda tx: tx.nodes.find(romeo, FEED))
    assert node is not None and verona.database.run(lambda tx: tx.subscriptions.count(node)) == 7
    extension = wired_again(verona)
    verona.database.run(
        lambda tx: blocking.block(
            tx, blocking.Block(account=1, actor=romeo, jids=(JID("", "capulet.example"),), notices=notices())
        )
    )
    assert verona.database.run(lambda tx: tx.subscriptions.count(node)) == 5
    extension.start()
    assert verona.database.run(lambda tx: tx.subscriptions.count(node)) == 0
    assert result(extension.unblock(romeo, None)) == (JID("", "capulet.example"),)


def notices() -> blocking.Notices:
    from microblog.xep.blocking import NOTICES

    return NOTICES


def test_who_asked_before_is_not_shown_again(verona: Square) -> None:
    """A request to see one's presence that waits, and one's own, rest while there is a block."""
    verona.inject(f"<presence type='subscribe' from='{JULIET}' to='romeo@montague.example'/>")
    romeo = verona.online("romeo", "orchard")
    romeo.sends("<presence type='subscribe' to='nurse@capulet.example'/>")
    blocks(romeo, "capulet.example")
    romeo.leaves()
    verona.world_hears()
    again = verona.login("romeo", "orchard")
    again.asks_for_roster()
    again.sends("<presence/>")
    assert [one.get("from") for one in again.hears()] == ["romeo@montague.example/orchard"]
    verona.world_receives()
    says(again, "unblock")
    again.leaves()
    verona.world_hears()
    back = verona.login("romeo", "orchard")
    back.asks_for_roster()
    back.sends("<presence/>")
    assert JULIET in [one.get("from") for one in back.hears()]
    assert "nurse@capulet.example" in [one.get("to") for one in verona.world_hears()]


def test_nor_is_anything_asked_in_ones_name(verona: Square) -> None:
    blocks(verona.online("romeo", "orchard"), JULIET)
    asked = verona.router.request("get", JID.parse("romeo@montague.example"), JID.parse(JULIET), Element("urn:x", "x"))
    with pytest.raises(ServerSaysBlocked):
        result(asked)
    verona.world_receives()
