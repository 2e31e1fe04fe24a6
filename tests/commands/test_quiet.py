"""Words for quiet, filled in as forms."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from microblog.commands.command import Call, Command, Person
from microblog.commands.forms import Dialogue
from microblog.commands.quiet import QuietWords
from microblog.model.jid import JID
from microblog.model.quiet import Mute, MuteKind
from microblog.model.uri import ItemAddress
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.wire import ns
from microblog.wire.xml import Element
from tests.conftest import DOMAIN, START, Time
from tests.im.town import result

ROMEO, MERCUTIO = JID("romeo", DOMAIN), JID("mercutio", DOMAIN)
POST = ItemAddress(MERCUTIO, "urn:xmpp:microblog:0", "1")


class Lookup:
    async def item(self, person: Person, number: int) -> ItemAddress | None:
        return POST if number == 12 else None

    async def newest(self, person: Person) -> ItemAddress | None:
        return None

    async def account(self, name: str) -> JID | None:
        return JID(name, DOMAIN) if name in ("romeo", "mercutio") else None

    async def people(self, person: Person, command: Command) -> Sequence[JID]:
        return ()


class Desk:
    """Romeo fills in forms. What is blocked is only remembered."""

    def __init__(self, database: Database, time: Time) -> None:
        self.database = database
        self.mutes: list[Mute] = []
        self.blocked: list[JID] = []
        words = QuietWords(database, time.now, self._set, self)
        self.commands = {command.name: command for command in words.commands()}
        account = database.run(registering.create_account, "romeo", "secret")
        self.person = Person(account=account, jid=ROMEO, address=ROMEO.with_resource("phone"))

    def _set(self, account: JID, mutes: Iterable[Mute]) -> None:
        self.mutes = list(mutes)

    async def block(self, account: JID, jids: tuple[JID, ...]) -> tuple[JID, ...]:
        self.blocked += jids
        return jids

    async def unblock(self, account: JID, jids: tuple[JID, ...] | None) -> tuple[JID, ...]:
        gone = tuple(self.blocked) if jids is None else tuple(jid for jid in jids if jid in self.blocked)
        self.blocked = [jid for jid in self.blocked if jid not in gone]
        return gone

    def fills(self, name: str, **values: str) -> str:
        """Run a command by its form; what it says."""
        asking = Dialogue(self.commands[name], ns.COMMAND_FORM, "en", (), DOMAIN)
        form = Element(ns.DATA, "x", {"type": "submit"})
        for var, value in {"FORM_TYPE": ns.COMMAND_FORM, **values}.items():
            form.append(Element(ns.DATA, "field", {"var": var}, Element(ns.DATA, "value", None, value)))
        result(asking.take(form, self.person, Lookup()))
        arguments = result(asking.arguments(self.person, Lookup()))
        done: Any = self.commands[name].function(Call(person=self.person, arguments=arguments))
        return str(result(done).text)


@pytest.fixture
def desk(database: Database, time: Time) -> Desk:
    return Desk(database, time)


@pytest.mark.parametrize(
    ("what", "kind", "value"),
    [
        ("mercutio", MuteKind.PERSON, str(MERCUTIO)),
        ("juliet@capulet.example", MuteKind.PERSON, "juliet@capulet.example"),
        ("capulet.example", MuteKind.DOMAIN, "capulet.example"),
        ("#Feast", MuteKind.TAG, "feast"),
        ("12", MuteKind.THREAD, POST.uri),
        ("a plague", MuteKind.WORD, "a plague"),
        ('"mercutio"', MuteKind.WORD, "mercutio"),
    ],
)
def test_a_mute_is_filled_in_and_ends(desk: Desk, what: str, kind: MuteKind, value: str) -> None:
    assert desk.fills("mute", what=what).startswith("Muted: ")
    assert desk.mutes == [Mute(kind=kind, value=value)]
    assert desk.fills("unmute", what=what).startswith("Not muted any more: ") and desk.mutes == []


def test_for_a_time(desk: Desk) -> None:
    for fields in ({"what": "plague", "for": "1", "span": "2h"}, {"what": "plague for 2h"}):
        desk.mutes.clear()
        assert "until 2026-01-01 14:00 UTC" in desk.fills("mute", **fields)
        (mute,) = desk.mutes
        assert mute.until is not None and (mute.until - START).total_seconds() == 7200
    desk.fills("mute", what="feast")
    assert desk.fills("unmute", what="all") == "Nothing is muted any more; it was 2."


def test_blocks(desk: Desk) -> None:
    desk.fills("block", person="mercutio")
    desk.fills("block", person="capulet.example")
    desk.fills("block", person="juliet@capulet.example")
    assert list(map(str, desk.blocked)) == [str(MERCUTIO), "capulet.example", "juliet@capulet.example"]
    desk.fills("unblock", person="mercutio")
    assert desk.fills("unblock", person="all") == "Nobody is blocked any more; it was 2."
