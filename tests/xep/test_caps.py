"""XEP-0115: what is believed of whom."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from microblog.model.errors import RemoteServerTimeout
from microblog.model.jid import JID
from microblog.wire import disco, ns, stanza
from microblog.wire.disco import Caps, Identity, Info
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep import caps as module
from microblog.xep.caps import Capabilities
from tests.im.town import result

ROMEO = JID.parse("romeo@montague.example")
PSI = Info(
    identities=(Identity("client", "pc", "Psi"),), features=(f"{ns.MICROBLOG}+notify", "urn:tune+notify", ns.PING)
)
EXODUS = Info(identities=(Identity("client", "pc", "Exodus"),), features=("urn:mood+notify",))


def caps_of(info: Info, hash_: str = "sha-1") -> Caps:
    return Caps("http://psi-im.example", hash_, disco.verification(info, hash_))


class Clients:
    """Answers discovery, each client as it likes."""

    def __init__(self) -> None:
        self.answers: dict[str, Info | None] = {}
        self.asked: list[str] = []
        self.slow: list[tuple[Deferred[Stanza], Stanza]] | None = None

    async def request(self, type_: str, from_: JID, to: JID, payload: Element) -> Stanza:
        self.asked.append(f"{to} {payload.get('node')}")
        info = self.answers[str(to)]
        if info is None:
            raise RemoteServerTimeout
        request = stanza.iq(type_, from_, to, "1", payload)
        answer = request.result(disco.write_info(info, payload.get("node")))
        if self.slow is None:
            return answer
        waiting: Deferred[Stanza] = Deferred()
        self.slow.append((waiting, answer))
        return await waiting


@pytest.fixture
def clients() -> Clients:
    return Clients()


@pytest.fixture
def capabilities(clients: Clients) -> Capabilities:
    return Capabilities(clients.request, lambda: caps_of(PSI))


def ask(capabilities: Capabilities, caps: Caps, whom: str) -> frozenset[str]:
    found: frozenset[str] = result(capabilities.notify(caps, ROMEO, JID.parse(whom)))
    return found


def test_one_answer_that_is_true_stands_for_all(clients: Clients, capabilities: Capabilities) -> None:
    clients.answers["a@b/c"] = PSI
    caps = caps_of(PSI)
    assert ask(capabilities, caps, "a@b/c") == {ns.MICROBLOG, "urn:tune"}
    assert ask(capabilities, caps, "d@e/f") == {ns.MICROBLOG, "urn:tune"}
    assert clients.asked == [f"a@b/c http://psi-im.example#{caps.ver}"]


def test_a_false_answer_stands_for_nobody_else(clients: Clients, capabilities: Capabilities) -> None:
    """A client that answers for another's hash must not decide what others want."""
    clients.answers |= {"evil@b/c": EXODUS, "d@e/f": PSI}
    caps = caps_of(PSI)
    assert ask(capabilities, caps, "evil@b/c") == {"urn:mood"}
    assert ask(capabilities, caps, "d@e/f") == {ns.MICROBLOG, "urn:tune"}


@pytest.mark.parametrize("hash_", ["sha-256", "sha-512"])
def test_other_hashes_are_verified_as_well(clients: Clients, capabilities: Capabilities, hash_: str) -> None:
    clients.answers["a@b/c"] = PSI
    ask(capabilities, caps_of(PSI, hash_), "a@b/c")
    ask(capabilities, caps_of(PSI, hash_), "d@e/f")
    assert len(clients.asked) == 1


def test_an_unknown_hash_is_asked_about_each_time(clients: Clients, capabilities: Capabilities) -> None:
    clients.answers |= {"a@b/c": PSI, "d@e/f": EXODUS}
    caps = Caps("http://psi-im.example", "md4", "x")
    assert ask(capabilities, caps, "a@b/c") == {ns.MICROBLOG, "urn:tune"}
    assert ask(capabilities, caps, "d@e/f") == {"urn:mood"}


def test_an_ill_formed_answer_says_nothing(clients: Clients, capabilities: Capabilities) -> None:
    clients.answers["a@b/c"] = Info(features=(f"{ns.MICROBLOG}+notify",) * 2)
    assert ask(capabilities, caps_of(PSI), "a@b/c") == frozenset()


def test_no_answer_says_nothing_and_is_not_remembered(clients: Clients, capabilities: Capabilities) -> None:
    clients.answers |= {"a@b/c": None, "d@e/f": PSI}
    assert ask(capabilities, caps_of(PSI), "a@b/c") == frozenset()
    assert ask(capabilities, caps_of(PSI), "d@e/f") == {ns.MICROBLOG, "urn:tune"}


def test_many_with_one_client_are_asked_one_after_the_other(clients: Clients, capabilities: Capabilities) -> None:
    clients.answers |= {"evil@b/c": EXODUS, "d@e/f": PSI, "g@h/i": PSI}
    clients.slow = []
    found: list[Any] = []
    for whom in ("evil@b/c", "d@e/f", "g@h/i"):
        waiting = Deferred.fromCoroutine(capabilities.notify(caps_of(PSI), ROMEO, JID.parse(whom)))
        waiting.addCallback(found.append)
    assert len(clients.slow) == 1
    for number in (0, 1):
        deferred, answer = clients.slow[number]
        deferred.callback(answer)
    assert len(clients.slow) == 2
    assert found == [{"urn:mood"}, {ns.MICROBLOG, "urn:tune"}, {ns.MICROBLOG, "urn:tune"}]


def test_memory_is_bounded(clients: Clients, capabilities: Capabilities, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KNOWN_MAX", 3)
    for number in range(5):
        info = Info(features=(f"urn:{number}+notify",))
        clients.answers[f"a@b/{number}"] = info
        ask(capabilities, caps_of(info), f"a@b/{number}")
    assert len(capabilities._known) == 3
    many = Info(features=tuple(f"urn:{number}+notify" for number in range(1000)))
    clients.answers["a@b/many"] = many
    assert len(ask(capabilities, caps_of(many), "a@b/many")) == module.NOTIFY_MAX


def test_our_own_stand_in_the_stream_features(capabilities: Capabilities) -> None:
    assert disco.read_caps(Element(ns.CLIENT, "presence", None, capabilities.stream_feature)) == caps_of(PSI)
