"""XEP-0470 §4.2.4: summaries of what is attached to items."""

import pytest

from microblog.model.entry import HEART
from microblog.model.errors import ItemNotFound
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.usecases import depending, publishing, retrieving, summing
from microblog.usecases.publishing import Publish
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO, an_account, post
from tests.usecases.test_depending import ATTACHMENTS, attach


def test_what_is_said_to_each_item_is_counted(tx: Transaction) -> None:
    an_account(tx)
    post(tx, "1")
    post(tx, "2")
    attach(tx, JULIET, HEART, "🎉")
    noticed = "<attachments xmlns='urn:xmpp:pubsub-attachments:1'><noticed timestamp='x'/></attachments>"
    request = Publish(
        service=ROMEO, node=ATTACHMENTS, actor=BENVOLIO, item_id=str(BENVOLIO), payload=noticed, reactions=("🎉",)
    )
    publishing.publish(tx, request)
    wanted = retrieving.Retrieve(service=ROMEO, node=MICROBLOG, actor=JULIET)
    found = summing.retrieve(tx, wanted)
    assert [(one.item.id, one.noticed, dict(one.reactions)) for one in found.summed] == [
        ("1", 1, {"🎉": 2, HEART: 1}),
        ("2", 0, {}),
    ]


@pytest.mark.parametrize("node", [ATTACHMENTS, depending.SUMMARY_PREFIX + MICROBLOG, "none"])
def test_of_what_nothing_is_attached_to_there_is_no_summary(tx: Transaction, node: str) -> None:
    an_account(tx)
    post(tx, "1")
    attach(tx, JULIET, HEART)
    with pytest.raises(ItemNotFound):
        summing.retrieve(tx, retrieving.Retrieve(service=ROMEO, node=node, actor=ROMEO))
