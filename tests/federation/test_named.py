"""Who is named by a post of another node hears of it once, whatever they read with and whenever they come."""

from pathlib import Path

from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.wire import ns
from microblog.wire.xml import Element
from tests.federation.nodes import Authority
from tests.federation.test_fanout import Verona
from tests.federation.twins import CAPULET, Talker
from tests.im.town import Line
from tests.xmltext import read, read_all
from tests.xmpp.lines import start


def messages(talker: Talker) -> list[tuple[str | None, str]]:
    """Whom chat came from, and the words."""
    return [(one.get("from"), _words(one)) for one in talker.receives() if one.get("type") == "chat"]


def _words(message: Element) -> str:
    return (message.child_text(ns.CLIENT, "body") or "").partition("\n")[0]


def knows(verona: Verona) -> None:
    """Romeo's node learns with a first post that the other one keeps up a log."""
    verona.posts("first")
    verona.hear()
    verona.wire.delivered.clear()


def writes(verona: Verona, name: str, text: str) -> None:
    """Romeo publishes a direct post."""
    reader = f"{name}@{CAPULET}"
    fields = {"FORM_TYPE": ns.PUBSUB_PUBLISH_OPTIONS, "microblog#audience": "direct", "microblog#reader": reader}
    form = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in fields.items())
    entry = f"<entry xmlns='{ns.ATOM}'><title>{text}</title></entry>"
    verona._asks(
        f"<publish node='{MICROBLOG}'><item id='{text}'>{entry}</item></publish>"
        f"<publish-options><x xmlns='jabber:x:data' type='submit'>{form}</x></publish-options>"
    )


def test_direct_posts_and_mentions_go_by_the_log(authority: Authority, tmp_path: Path) -> None:
    verona = Verona(authority, tmp_path)
    guest, other = verona.crowd
    stranger = verona.capulet.talker("rosaline")
    knows(verona)
    writes(verona, "rosaline", "You are not invited")
    writes(verona, "guest0", "You are")
    verona.romeo.says(f"Good morrow @rosaline@{CAPULET}")
    verona.settle()
    # Rosaline never spoke to her node, and is written to as anybody is; the others hear it as lines.
    romeo = f"romeo@{verona.montague.domain}"
    heard = messages(stranger)
    assert [(by, words.partition(" @")[0]) for by, words in heard] == [
        (romeo, "You are not invited"),
        (romeo, "Good morrow"),
    ]
    assert [by for by, _ in messages(guest)] == [CAPULET, CAPULET]
    assert [by for by, _ in messages(other)] == [CAPULET]
    audiences = [entry.audience for delivered in verona.wire.delivered for entry in delivered.entries]
    assert [str(audience) for audience in audiences if audience] == ["direct", "direct", "public"]
    assert verona.wire.notifications == 0


def test_who_was_not_there_is_written_to_when_they_come(authority: Authority, tmp_path: Path) -> None:
    verona = Verona(authority, tmp_path, crowd=1)
    node, romeo = verona.capulet, JID("romeo", verona.montague.domain)
    gone = node.talker("rosaline")
    knows(verona)
    start(node.router.session_ended(gone.session))
    writes(verona, "rosaline", "Come back")
    writes(verona, "rosaline", "No, do not")
    assert verona.capulet.items(romeo, MICROBLOG)[-1].audience is Audience.DIRECT
    verona.retracts("Come back")
    lines = {}
    for name in ("phone", "tablet"):
        lines[name] = Line()
        session = node.sessions.bind(JID("rosaline", CAPULET), name, lines[name])
        start(node.router.from_client(session, read("<presence/>")))
        verona.settle()
    phone, tablet = (read_all(b"".join(line.written).decode()) for line in lines.values())
    assert [_words(one) for one in phone if one.name == "message"] == ["No, do not"]
    assert not [one for one in tablet if one.name == "message"]
