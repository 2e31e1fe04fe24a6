"""Two nodes and their people, who do by chat and by feed what docs/features.md says can be done."""

from pathlib import Path
from typing import Any

import pytest

from microblog.usecases import registering
from microblog.wire import atom, ns
from microblog.wire.xml import Element
from tests.federation import twins
from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Talker, Twin, Twins
from tests.xmltext import read_all

FEED = ns.MICROBLOG
HOME = "urn:x-microblog:home:0"
LOCAL = "urn:x-microblog:local:0"


class Somebody(Talker):
    """A client that chats, and publishes and reads feeds as well."""

    def sends(self, text: str) -> list[Element]:
        """Anything; what comes of it, which is still there to be heard."""
        before = len(self.line.written)
        self._sends(text)
        return read_all(b"".join(self.line.written[before:]).decode())

    def lines(self) -> list[Element]:
        """The lines that have come, with all that is in them."""
        return [stanza for stanza in self.receives() if stanza.find(ns.CLIENT, "body") is not None]

    def asks(self, type_: str, content: str, to: str = "", *, uri: str = ns.PUBSUB) -> Element:
        """A request of XEP-0060, answered."""
        addressee = f" to='{to}'" if to else ""
        stanzas = self.sends(f"<iq type='{type_}' id='q'{addressee}><pubsub xmlns='{uri}'>{content}</pubsub></iq>")
        (answer,) = [stanza for stanza in stanzas if stanza.name == "iq" and stanza.get("id") == "q"]
        return answer

    def publishes(self, item_id: str, entry: str, to: str = "", node: str = FEED, **wishes: str) -> list[Element]:
        """An entry, with what is wished for it; all that comes back."""
        fields = "".join(
            f"<field var='microblog#{name}'><value>{value}</value></field>" for name, value in wishes.items()
        )
        form_type = f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_PUBLISH_OPTIONS}</value></field>"
        form = f"<publish-options><x xmlns='{ns.DATA}' type='submit'>{form_type}{fields}</x></publish-options>"
        publish = f"<publish node='{node}'><item id='{item_id}'>{entry}</item></publish>{form if wishes else ''}"
        addressee = f" to='{to}'" if to else ""
        return self.sends(f"<iq type='set' id='p'{addressee}><pubsub xmlns='{ns.PUBSUB}'>{publish}</pubsub></iq>")

    def finds(self, node: str, at: str = "", inside: str = "") -> dict[str, str]:
        """Items of a node by id, with their text; nothing where there is nothing for this reader."""
        found = {
            item_id: atom.read_entry(item.first() or item) for item_id, item in self.items(node, at, inside).items()
        }
        return {item_id: "" if entry is None else entry.text for item_id, entry in found.items()}

    def items(self, node: str, at: str = "", inside: str = "") -> dict[str, Element]:
        answer = self.asks("get", f"<items node='{node}'/>{inside}", at)
        found = answer.find(ns.PUBSUB, "pubsub")
        if answer.get("type") == "error" or found is None:
            return {}
        items = found.find(ns.PUBSUB, "items")
        assert items is not None
        return {item.attributes["id"]: item for item in items.elements()}

    def adds(self, text: str, inside: str, id_: str = "c1") -> list[str]:
        """A line with something in it that only clients say."""
        stanzas = self.sends(
            f"<message type='chat' id='{id_}' to='{self.twin.domain}'><body>{text}</body>{inside}</message>"
        )
        return [body for stanza in stanzas if (body := stanza.child_text(ns.CLIENT, "body"))]


class Verona(Twins):
    """Romeo and Benvolio at one node, Juliet and her nurse at the other. Nobody follows anybody yet."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(authority, folder)
        self.romeo, self.benvolio = self._settle(self.montague, "romeo"), self._settle(self.montague, "benvolio")
        self.juliet, self.nurse = self._settle(self.capulet, "juliet"), self._settle(self.capulet, "nurse")

    @staticmethod
    def _settle(twin: Twin, name: str) -> Somebody:
        twin.database.run(registering.create_account, name, "secret")
        somebody = Somebody(twin, name)
        somebody.says("stats")
        return somebody

    def follow(self, *pairs: tuple[Somebody, Somebody]) -> None:
        for who, whom in pairs:
            who.says(f"follow {whom.jid}")
        self.quiet()

    def quiet(self) -> None:
        """Nobody remembers what they have heard so far."""
        for somebody in (self.romeo, self.benvolio, self.juliet, self.nurse):
            somebody.hears()

    def later(self, seconds: float) -> None:
        """Time goes by in steps, so that what was due meanwhile is done."""
        while seconds > 0:
            self.time.advance(min(seconds, 600))
            seconds -= 600
            self.settle()


def configured(monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]) -> None:
    """Both nodes have these settings as well."""
    parse = twins.parse

    def with_settings(values: dict[str, Any], folder: Path) -> Any:
        return parse({**values, **settings}, folder)

    monkeypatch.setattr(twins, "parse", with_settings)


def entry(title: str, inside: str = "") -> str:
    return f"<entry xmlns='{ns.ATOM}'><title>{title}</title>{inside}</entry>"


__all__ = ["CAPULET", "FEED", "HOME", "LOCAL", "MONTAGUE", "Somebody", "Verona", "configured", "entry"]
