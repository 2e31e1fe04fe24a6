"""Answers to people elsewhere: who keeps the thread hears of it there; who has no comments is written to."""

import pytest

from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.uri import item_uri, node_uri
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.wire import elsewhere, mention, ns
from microblog.wire.xml import Element
from tests.im.town import Client
from tests.xep.parlour import Parlour
from tests.xep.service import JULIET

NIGHT = item_uri(JID.parse(JULIET), MICROBLOG, "7")
INSIDE = (
    f"<in-reply-to xmlns='{ns.THREADING}' ref='{NIGHT}' href='{NIGHT}'/>"
    f"<link rel='replies' href='{node_uri(JID.parse(JULIET), COMMENTS_PREFIX + '7')}'/>"
    f"<link rel='mentioned' href='xmpp:{JULIET}'/>"
)
PARIS = "paris@verona.example"


@pytest.fixture
def parlour(database: Database, clock: Clock) -> Parlour:
    parlour = Parlour(database, clock)
    parlour.router.answer_listeners.append(parlour.outbox.answered)
    return parlour


def answers(parlour: Parlour, text: str = "So soon?") -> Element:
    """Romeo answers Juliet; the copy that her server is given."""
    parlour.publishes("romeo", text, item_id="a", inside=INSIDE, copy=elsewhere.copy, mention=mention.write_mention)
    heard = parlour.world.hears()
    (copy,) = (one for one in heard if one.name == "iq")
    # An edit is told to whoever holds the post as well, as an event.
    assert not any(one.child_text(ns.CLIENT, "body") for one in heard), "no message: the comment says it"
    return copy


def refuses(parlour: Parlour, copy: Element, *, by: str = JULIET, type_: str = "error") -> list[str | None]:
    """What people are told when the copy is answered."""
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    parlour.inject(
        f"<iq type='{type_}' id='{copy.get('id')}' from='{by}' to='romeo@montague.example'>"
        f"{error if type_ == 'error' else ''}</iq>"
    )
    return [one.child_text(ns.CLIENT, "body") for one in parlour.world.hears() if one.get("to") == JULIET]


def test_who_has_no_comments_is_told_once(parlour: Parlour) -> None:
    copy = answers(parlour)
    (body,) = refuses(parlour, copy)
    assert body is not None and body.startswith("So soon?\nxmpp:romeo@montague.example")
    assert refuses(parlour, copy) == [], "not twice"
    assert refuses(parlour, answers(parlour, "So soon, love?")) == [], "nor of an edit"


def test_who_has_comments_is_not_written_to(parlour: Parlour) -> None:
    assert refuses(parlour, answers(parlour), type_="result") == []


def test_nobody_else_can_make_us_write(parlour: Parlour) -> None:
    copy = answers(parlour)
    assert refuses(parlour, copy, by=PARIS) == []
    assert refuses(parlour, Element(ns.CLIENT, "iq", {"id": "copy-999-0"})) == []
    assert refuses(parlour, Element(ns.CLIENT, "iq", {"id": f"copy-{'9' * 30}-0"})) == []
    assert elsewhere.copied("copy-12-0a") == 12


def test_answers_to_sessions_still_reach_them(parlour: Parlour) -> None:
    romeo: Client = parlour.online("romeo", "orchard")
    parlour.inject(f"<iq type='result' id='x' from='{JULIET}' to='romeo@montague.example/orchard'/>")
    assert [one.get("id") for one in romeo.hears()] == ["x"]
