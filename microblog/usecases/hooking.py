"""Webhooks: programs that are called, instead of coming for their events themselves.

What they are told and how far they are is that of every program (``informing``). Here is where they are called, with
which secret the calls are signed, and how often that failed.
"""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from microblog.model.account import Account
from microblog.model.errors import BadRequest, Conflict, ItemNotFound, ResourceConstraint
from microblog.model.program import Position, Program, Source
from microblog.store.transaction import Transaction
from microblog.store.webhooks import Webhook
from microblog.usecases import informing, noticing
from microblog.usecases.informing import Make

EACH_MAX: Final = 5
TOTAL_MAX: Final = 1000
# The pause after a failure doubles up to the longest; after so many, about five days, it is given up.
PAUSE_SECONDS: Final = 5
PAUSE_MAX_SECONDS: Final = 3600
FAILURES_MAX: Final = 130
PROBLEM_MAX_CHARACTERS: Final = 300


def add(
    tx: Transaction,
    account: Account,
    name: str,
    url: str,
    secret: str,
    sources: Collection[Source],
    *,
    start: bool = False,
    outside: bool = False,
) -> Webhook:
    """Make one; ``url`` was checked. Raises BadRequest, Conflict, ResourceConstraint."""
    if not sources:
        raise BadRequest("say what it is to be told of")
    if tx.programs.find(account.key, name) is not None:
        raise Conflict(f"{account.localpart} has a program of the name {name} already")
    if tx.webhooks.count(account.key) >= EACH_MAX:
        raise ResourceConstraint(f"an account has at most {EACH_MAX} webhooks")
    if tx.webhooks.count() >= TOTAL_MAX:
        raise ResourceConstraint(f"this node has {TOTAL_MAX} webhooks, and calls no more")
    program = informing.make(tx, Make(account=account, name=name, sources=frozenset(sources), start=start, url=url))
    tx.webhooks.set_secret(program.key, secret)
    if outside:
        noticing.webhooks_changed(tx)
    return _get(tx, program.key)


def remove(tx: Transaction, account: Account, name: str, *, outside: bool = False) -> Webhook:
    """Call it no more, and forget it. Raises ItemNotFound."""
    webhook = find(tx, account, name)
    informing.remove(tx, account, name)
    if outside:
        noticing.webhooks_changed(tx)
    return webhook


def resume(tx: Transaction, account: Account, name: str, *, outside: bool = False) -> Webhook:
    """Call it again, at once, whatever there was. Raises ItemNotFound."""
    webhook = find(tx, account, name)
    tx.webhooks.well(webhook.key)
    if outside:
        noticing.webhooks_changed(tx)
    return _get(tx, webhook.key)


def find(tx: Transaction, account: Account, name: str) -> Webhook:
    """Somebody's, by its name. Raises ItemNotFound."""
    program = tx.programs.find(account.key, name)
    webhook = None if program is None else tx.webhooks.get(program.key)
    if webhook is None:
        raise ItemNotFound(f"{account.localpart} has no webhook of the name {name}")
    return webhook


def everybodys(tx: Transaction) -> list[tuple[Webhook, Program]]:
    """All there are, of accounts that may log in."""
    found = ((webhook, tx.programs.get(webhook.key)) for webhook in tx.webhooks.all())
    return [(webhook, program) for webhook, program in found if program is not None]


# the calls


def taken(tx: Transaction, key: int, cursor: Position, *, gap: bool = False) -> None:
    """The program has taken what it was called with; ``gap``: that said so. Raises ItemNotFound."""
    informing.acknowledge(tx, key, cursor, heard_gap=gap)
    tx.webhooks.well(key)


def failed(tx: Transaction, key: int, problem: str, *, pause: float | None, final: bool) -> Webhook:
    """It has not. ``pause``: what it asked for itself; ``final``: it wants to hear no more. Raises ItemNotFound."""
    webhook = _get(tx, key)
    if final or webhook.failures + 1 >= FAILURES_MAX:
        again = None
    else:
        seconds = min(PAUSE_SECONDS * 2 ** min(webhook.failures, 20), PAUSE_MAX_SECONDS)
        again = tx.now + timedelta(seconds=max(seconds, min(pause or 0, PAUSE_MAX_SECONDS)))
    tx.webhooks.failed(key, again, problem[:PROBLEM_MAX_CHARACTERS])
    return _get(tx, key)


def _get(tx: Transaction, key: int) -> Webhook:
    webhook = tx.webhooks.get(key)
    if webhook is None:
        raise ItemNotFound("there is no such webhook")
    return webhook
