"""How much of other domains is kept: quotas, time, and what somebody here needs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.uri import comments_uri, item_uri
from microblog.store.policies import Storage
from microblog.store.transaction import Transaction
from microblog.usecases import conversing, copying, receiving, storing
from microblog.usecases.copying import ReceivedItem, SaidElsewhere
from microblog.usecases.receiving import Received
from tests.usecases.pubsub import BENVOLIO, JULIET, NURSE, PARIS, ROMEO, an_account, an_entry
from tests.usecases.timelines import arrives, writes

CAPULET = "capulet.example"


@pytest.fixture
def verona(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> Transaction:
    """Quotas are small: ten items of each domain."""
    for account in (ROMEO, BENVOLIO):
        an_account(tx, account)
    tx.limits = tx.limits.model_copy(update={"remote_storage_items": 10, "strangers_per_day": 100})
    monkeypatch.setattr(storing, "LOOKED_AT_EVERY", 1)
    monkeypatch.setattr(storing, "REMOVED_AT_ONCE", 4)
    return tx


def of(tx: Transaction, service: JID = JULIET, node: str = MICROBLOG) -> list[str]:
    found = tx.nodes.find(service, node)
    return [] if found is None else tx.items.ids(found.key)


def test_what_is_stored_is_counted_once(verona: Transaction) -> None:
    for _ in range(2):
        arrives(verona, JULIET, "1")
        arrives(verona, JULIET, "1", to=ROMEO)
    one = verona.policies.storage(CAPULET)
    assert (one.items, one.bytes > storing.ITEM_BYTES) == (1, True)
    arrives(verona, NURSE, "1")
    assert verona.policies.storage(CAPULET) == Storage(2, 2 * one.bytes)
    assert verona.policies.storage("verona.example") == Storage()


def test_an_edit_takes_the_room_of_what_it_replaces(verona: Transaction) -> None:
    node = None
    for text in ("short", "a good deal longer than that", "short"):
        arrives(verona, JULIET, "1")
        node = verona.nodes.find(JULIET, MICROBLOG)
        assert node is not None
        old = verona.items.get(node.key, "1")
        received = ReceivedItem(id="1", **an_entry(text))
        now = verona.now
        copying.keep(verona, node, received, old, published=now, updated=now, proof=Proof.CERTIFICATE)
    assert node is not None
    (item,) = verona.items.newest(node.key, 2)
    assert verona.policies.storage(CAPULET) == Storage(1, len(item.payload) + storing.ITEM_BYTES)


def test_beyond_the_quota_the_oldest_go_and_others_lose_nothing(verona: Transaction) -> None:
    arrives(verona, PARIS, "p")
    for number in range(40):
        arrives(verona, JULIET if number % 2 else NURSE, str(number), 40 - number)
    kept = sorted(map(int, of(verona) + of(verona, NURSE)))
    assert kept == list(range(40 - len(kept), 40)) and 6 <= len(kept) <= 12
    assert of(verona, PARIS) == ["p"]
    assert verona.policies.storage(CAPULET).items == len(kept)


def test_bytes_count_too(verona: Transaction) -> None:
    verona.limits = verona.limits.model_copy(update={"remote_storage_items": 1000, "remote_storage_bytes": 6000})
    for number in range(40):
        arrives(verona, JULIET, str(number), 40 - number)
    assert len(of(verona)) <= 12 and "39" in of(verona)


def test_what_somebody_here_needs_stays(verona: Transaction) -> None:
    """Liked, repeated, answered in one's own feed, commented at its author's."""
    for number in range(6):
        arrives(verona, JULIET, f"old{number}", 100 - number)
    here = {number: item_uri(JULIET, MICROBLOG, f"old{number}") for number in range(6)}
    conversing.react(
        verona,
        conversing.React(
            actor=ROMEO,
            address=storing.ItemAddress(JULIET, MICROBLOG, "old0"),
            change=lambda said: ("❤",),
            attach=lambda before, reactions: "<attachments/>",
            send=lambda service, node, id_, payload: "<iq/>",
            withdraw=lambda service, node, id_: "<iq/>",
        ),
    )
    writes(verona, ROMEO, "answer", answers=here[1], thread=here[1])
    repeat = writes(verona, ROMEO, "repeat")
    node = verona.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    verona.items.put(node.key, replace(repeat, via=here[2]), replaces=True)
    said = ReceivedItem(id="c", publisher=ROMEO, **an_entry("O"))
    copying.said_elsewhere(
        verona, SaidElsewhere(author=ROMEO, service=JULIET, node=f"{COMMENTS_PREFIX}old3", item=said)
    )
    for number in range(40):
        arrives(verona, JULIET, f"new{number}", 50 - number)
    assert [item_id for item_id in of(verona) if item_id.startswith("old")] == ["old0", "old1", "old2", "old3"]
    assert comments_uri(JULIET, "old3") and of(verona, node=f"{COMMENTS_PREFIX}old3") == ["c"]


def test_what_is_old_goes_but_for_the_newest_of_each_feed(verona: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "NEWEST_KEPT", 2)
    monkeypatch.setattr(storing, "REMOVED_AT_ONCE", 500)
    for number in range(1, 5):
        arrives(verona, JULIET, str(number), 100 - number)
        arrives(verona, PARIS, str(number), 100 - number)
        writes(verona, ROMEO, str(number), 100 - number)
    verona.now += timedelta(days=verona.limits.remote_copies_days + 1)
    arrives(verona, PARIS, "new", -100)
    monkeypatch.setattr(storing, "FEEDS_AT_ONCE", 1)
    after, gone = 0, 0
    while (old := storing.too_old(verona, after)).after is not None:
        gone += storing.remove_old(verona, old.keys)
        after = old.after
    assert gone == 5
    assert (of(verona), of(verona, PARIS)) == (["3", "4"], ["4", "new"])
    assert len(of(verona, ROMEO)) == 4
    assert verona.policies.storage(CAPULET).items == 2


@pytest.mark.parametrize("how", [{"retracted": ("1",)}, {"purged": True}, {"deleted": True}])
def test_what_its_origin_takes_back_is_not_counted_any_more(verona: Transaction, how: dict[str, Any]) -> None:
    for number in range(4):
        arrives(verona, JULIET, str(number))
    before = verona.policies.storage(CAPULET)
    told(verona, **how)
    left = 3 if "retracted" in how else 0
    assert verona.policies.storage(CAPULET) == Storage(left, before.bytes * left // 4)
    told(verona, **how)  # to the next who follows
    assert verona.policies.storage(CAPULET).items == left


def told(tx: Transaction, **how: Any) -> None:
    receiving.receive(
        tx,
        Received(
            service=JULIET,
            node=MICROBLOG,
            recipient=BENVOLIO,
            sender_domain=CAPULET,
            proof=Proof.CERTIFICATE,
            **how,
        ),
    )


def test_what_went_otherwise_is_found_by_measuring(verona: Transaction) -> None:
    for number in range(4):
        arrives(verona, JULIET, str(number))
    node = verona.nodes.find(JULIET, MICROBLOG)
    assert node is not None
    before = verona.policies.storage(CAPULET)
    assert storing.measure(verona, CAPULET) == before
    verona.items.retract(node.key, "1")
    assert verona.policies.storage(CAPULET) == before
    assert storing.to_measure(verona) == [CAPULET]
    storing.measured(verona, CAPULET, storing.measure(verona, CAPULET))
    assert verona.policies.storage(CAPULET) == Storage(3, before.bytes * 3 // 4)
