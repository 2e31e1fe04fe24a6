"""Timelines in the store: what it costs is one step in an index for each feed, whatever else is stored."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.store import tables, timelines
from microblog.store.prepared import Prepared
from microblog.store.timelines import EVERYTHING, Place
from microblog.store.transaction import Transaction
from tests.usecases.pubsub import ROMEO, an_account

STATEMENTS = {
    "edges, newest": timelines._EDGES[True],
    "edges, oldest": timelines._EDGES[False],
    "edges of tags, newest": timelines._TAG_EDGES[True],
    "edges of tags, oldest": timelines._TAG_EDGES[False],
    "edges of a list, newest": timelines._LIST_EDGES[True],
    "edges of a list, oldest": timelines._LIST_EDGES[False],
    "what tags bring": timelines._BY_TAGS,
    **{
        f"{name}, {'newest' if descending else 'oldest'}": pages[descending]
        for name, pages in (
            ("feed", timelines._OF_FEED),
            ("local", timelines._LOCAL_PAGE),
            ("tag", timelines._TAG_PAGE),
            ("mentions", timelines._MENTIONS_PAGE),
        )
        for descending in (True, False)
    },
    "feeds": timelines._OF_FEEDS,
    "count of a feed": timelines._COUNT_FEED,
    "counts": timelines._COUNTS,
    "affiliations": timelines._PARTICULAR[0],
    "subscriptions": timelines._PARTICULAR[1],
    "count of local posts": timelines._LOCAL_COUNT,
    "items": timelines._ITEMS,
    "nodes": timelines._AT_NODES,
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_table_is_read_from_end_to_end(tx: Transaction, name: str) -> None:
    """SQLite plans without having looked at any data, so a plan that is right here is right everywhere."""
    if tx.connection.dialect.name != "sqlite":
        pytest.skip("PostgreSQL plans by what it has counted")
    plan = explain(tx, STATEMENTS[name])
    # What is read through is what a subquery found.
    assert not [
        line for line in plan if line.startswith("SCAN") and line not in ("SCAN anon_1", "SCAN posts", "SCAN feeds")
    ], plan
    if not name.startswith("edges"):
        assert not [line for line in plan if "FOR ORDER BY" in line], plan


def explain(tx: Transaction, statement: Prepared) -> list[str]:
    statement._compile(tx.connection)
    driver = tx.connection.connection.driver_connection
    assert driver is not None
    rows = driver.execute(f"EXPLAIN QUERY PLAN {statement._sql}", [0] * len(statement._names))
    return [row[3] for row in rows]


def test_what_is_for_many_readers_is_asked_in_batches(tx: Transaction) -> None:
    """More keys than one statement has places for."""
    node = an_account(tx, ROMEO)
    when = datetime(2026, 1, 1, tzinfo=UTC)
    common = {
        "node_id": node.key,
        "publisher": str(ROMEO),
        "payload": "",
        "published": when,
        "updated": when,
        "stands": when,
    }
    for n in range(45):
        tx.connection.execute(insert(tables.items), {**common, "item_id": f"p{n}", "position": n})
    standing = tx.timelines.of_feed(node.key, ROMEO, EVERYTHING, 100, list(Audience))
    keys = [one.place.item for one in standing]
    assert len(keys) == 45 and keys == sorted(keys, reverse=True)
    assert set(tx.timelines.items(keys)) == set(keys)
    assert tx.timelines.items([]) == {}
    assert set(tx.timelines.at_nodes([node.key] * 25 + [node.key + 1], ROMEO)) == {node.key}
    assert tx.timelines.of_feeds([node.key], ROMEO, EVERYTHING, 45) is None
    assert len(tx.timelines.of_feeds([node.key], ROMEO, EVERYTHING, 46) or ()) == 45


def test_a_cursor_never_goes_back(tx: Transaction) -> None:
    an_account(tx, ROMEO)
    account = tx.accounts.get("romeo")
    assert account is not None
    for place, expected in (
        (Place(5, 1), Place(5, 1)),
        (Place(5, 3), Place(5, 3)),
        (Place(5, 2), Place(5, 3)),
        (Place(4, 9), Place(5, 3)),
        (Place(1 << 50, 1 << 40), Place(1 << 50, 1 << 40)),
    ):
        tx.timelines.move_cursor(account.key, "a timeline", place)
        assert tx.timelines.cursor(account.key, "a timeline") == expected
    assert tx.timelines.cursor(account.key, "another") is None
    assert tx.timelines.followed(JID.parse("nobody@montague.example"), EVERYTHING, 10) == []
