"""XEP-0060 §5: what one may find out, and what one may not."""

import pytest

from microblog.model.errors import ItemNotFound
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import Affiliation, SubscriptionState
from microblog.store.transaction import Transaction
from microblog.usecases import browsing
from microblog.usecases.browsing import Metadata, MyAffiliations, MySubscriptions, Nodes
from tests.usecases.pubsub import (
    JULIET,
    MOOD,
    NURSE,
    PARIS,
    ROMEO,
    a_contact,
    affiliate,
    an_account,
    configure,
    post,
    put,
    subscribe,
)


def some_nodes(tx: Transaction) -> None:
    an_account(tx)
    put(tx, MOOD)
    put(tx, "listed", options={"access_model": ["whitelist"]})
    a_contact(tx, ROMEO, JULIET, "from")
    affiliate(tx, NURSE, Affiliation.MEMBER, "listed")


def names(tx: Transaction, asker: JID, service: JID = ROMEO) -> list[str]:
    return [node.name for node in browsing.nodes(tx, Nodes(service=service, asker=asker))]


def test_everybody_sees_the_nodes_they_may_read(tx: Transaction) -> None:
    some_nodes(tx)
    assert names(tx, ROMEO) == [MOOD, "listed", MICROBLOG]
    assert names(tx, JULIET) == [MOOD, MICROBLOG]
    assert names(tx, NURSE) == ["listed", MICROBLOG]
    assert names(tx, PARIS) == [MICROBLOG]
    assert names(tx, PARIS, JULIET) == []


def test_metadata_of_a_node(tx: Transaction) -> None:
    some_nodes(tx)
    post(tx, "1")
    subscribe(tx, PARIS)
    found = browsing.metadata(tx, Metadata(service=ROMEO, node=MICROBLOG, asker=PARIS))
    assert (found.owners, found.items, found.subscribers, found.created) == ((ROMEO,), 1, 1, tx.now)


def test_a_private_node_is_none(tx: Transaction) -> None:
    some_nodes(tx)
    answers = []
    for node in ("listed", "none"):
        with pytest.raises(ItemNotFound) as refused:
            browsing.metadata(tx, Metadata(service=ROMEO, node=node, asker=PARIS))
        answers.append(refused.value.text)
        with pytest.raises(ItemNotFound):
            browsing.subscriptions(tx, MySubscriptions(service=ROMEO, actor=PARIS, node=node))
        with pytest.raises(ItemNotFound):
            browsing.affiliations(tx, MyAffiliations(service=ROMEO, actor=PARIS, node=node))
    assert answers[0] == answers[1]


def test_my_subscriptions(tx: Transaction) -> None:
    """§5.6."""
    some_nodes(tx)
    configure(tx, access_model="authorize")
    subscribe(tx, JULIET)
    subscribe(tx, JULIET.with_resource("balcony"), MOOD)
    subscribe(tx, NURSE, "listed")
    mine = browsing.subscriptions(tx, MySubscriptions(service=ROMEO, actor=JULIET))
    assert [(one.node, one.jid, one.state) for one in mine] == [
        (MOOD, JULIET.with_resource("balcony"), SubscriptionState.SUBSCRIBED),
        (MICROBLOG, JULIET, SubscriptionState.PENDING),
    ]
    of_one = browsing.subscriptions(tx, MySubscriptions(service=ROMEO, actor=JULIET, node=MICROBLOG))
    assert [one.node for one in of_one] == [MICROBLOG]


def test_my_affiliations(tx: Transaction) -> None:
    """§5.7."""
    some_nodes(tx)

    def mine(jid: JID, node: str | None = None) -> list[tuple[str, Affiliation]]:
        found = browsing.affiliations(tx, MyAffiliations(service=ROMEO, actor=jid, node=node))
        return [(one.node, one.affiliation) for one in found]

    assert mine(NURSE) == [("listed", Affiliation.MEMBER)]
    assert mine(NURSE, "listed") == [("listed", Affiliation.MEMBER)]
    assert mine(NURSE, MICROBLOG) == []
    assert mine(ROMEO, MOOD) == [(MOOD, Affiliation.OWNER)]
    assert {node for node, _ in mine(ROMEO)} == {MOOD, "listed", MICROBLOG}
