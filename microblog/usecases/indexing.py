"""Posts are found by what they say: the index follows the log of events, behind the publishing.

A step does so many events, and then, as long as there are any, so many of the posts that were here before the index
was: those with the newest keys first. How far both have come is written down with what they did, so that nothing is
left out, or done twice, whenever the server stops. What is retracted is gone from the index with its item.
"""

from collections.abc import Iterable
from typing import Final

from microblog.model.item import Item
from microblog.model.jid import JID
from microblog.model.query import content
from microblog.store import events
from microblog.store.transaction import Transaction

NAME: Final = "search"
# A mark that goes down: the key of the last item that was looked at.
PAST: Final = "search, the past"
# A step keeps the writer for some 15 ms. With the pause between steps, what is published goes before what is indexed.
EVENTS_MAX: Final = 50
PAST_MAX: Final = 50
PAUSE_SECONDS: Final = 0.15
PATIENCE_SECONDS: Final = 2.0


def step(tx: Transaction) -> bool:
    """Do what is next; True if there is more."""
    done = tx.trails.position(NAME)
    if done is None:
        done = tx.events.last()
        tx.trails.reach(NAME, done)
        tx.trails.reach(PAST, tx.search.last() + 1)
    happened = tx.trails.after(done, EVENTS_MAX)
    if happened and done < happened[0].seq - 1 and tx.trails.begins() == happened[0].seq:
        # The log has forgotten what was next: it is found with all that is here.
        tx.trails.reach(PAST, tx.search.last() + 1)
    if happened:
        # What was published several times is read once, as it is now.
        published = {(one.node, one.item_id) for one in happened if one.kind == events.PUBLISHED}
        _index(tx, tx.search.published(sorted(published)))
        tx.trails.reach(NAME, happened[-1].seq)
    if len(happened) == EVENTS_MAX:
        return True
    return _index_past(tx)


def is_complete(tx: Transaction) -> bool:
    """Has all been indexed that was here before the index was?"""
    return not tx.trails.position(PAST)


def _index_past(tx: Transaction) -> bool:
    before = tx.trails.position(PAST) or 0
    if not before:
        return False
    found = tx.search.past(before, PAST_MAX)
    _index(tx, found)
    more = len(found) == PAST_MAX
    tx.trails.reach(PAST, found[-1][1].key if more else 0)
    return more


def _index(tx: Transaction, posts: Iterable[tuple[JID, Item]]) -> None:
    entries = [(service, item, tx.read_entry(item.payload)) for service, item in posts]
    tx.search.put([(item, content(entry, service)) for service, item, entry in entries if entry is not None])
    tx.search.remove([item.key for _, item, entry in entries if entry is None])
