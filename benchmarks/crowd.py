"""Gives the people of a node that does not run policies and tracks, to measure what these cost a fan-out.

    python benchmarks/crowd.py sqlite:///DIRECTORY/data/microblog.db --domain ours.test [--tracks 100000] [--when never]

Every account says when lines of chat are to come, and has as many tracks as everybody else. With `--when never`, which
holds unless something else is said, nobody gets a line beside each notification (which is another thing to measure).
What is tracked is as in `track.py`: words, phrases, tags, authors, places, that few posts meet. The figure is then that
of `compare.py … fanout --show-values online,chat` for this node beside one without any of it.
"""

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from track import Town

from microblog.config import Limits
from microblog.model.account import Account
from microblog.model.when import When, read_when
from microblog.store.database import Database, Transaction, open_database
from microblog.usecases import chatting, deferring
from microblog.usecases.tracking import TRAIL

AT_ONCE = 2000


def policies(tx: Transaction, accounts: Sequence[Account], when: When) -> None:
    for account in accounts:
        deferring.set_when(tx, account.key, when)
        chatting.set_delivery(tx, account.key, True)
    tx.trails.reach(TRAIL, tx.events.last())


def track(database: Database, accounts: Sequence[Account], tracks: int) -> None:
    town = Town()

    def some(tx: Transaction, first: int) -> None:
        for number in range(first, min(first + AT_ONCE, tracks)):
            account = accounts[number % len(accounts)]
            tx.tracks.add(account.jid(tx.domain), town.query(), account=account.key, subid=tx.new_id())

    for first in range(0, tracks, AT_ONCE):
        database.run(some, first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--domain", required=True)
    parser.add_argument("--tracks", type=int, default=100_000)
    parser.add_argument("--when", default="never")
    options = parser.parse_args()
    database = open_database(
        options.url, domain=options.domain, now=lambda: datetime.now(UTC), limits=Limits(), exclusive=True
    )
    began = time.monotonic()
    accounts = database.run(lambda tx: tx.accounts.all())
    database.run(policies, accounts, read_when(options.when))
    track(database, accounts, options.tracks)
    database.close()
    print(f"{len(accounts)} accounts, {options.tracks} tracks in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
