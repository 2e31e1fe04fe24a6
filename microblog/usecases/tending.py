"""Follow health: whether our people's subscriptions elsewhere are what we take them for.

A service that was set up anew, or lost an account for a while, has forgotten its subscribers and tells nobody. So each
is asked once a day what it knows of its followers here (XEP-0060 §5.6), spread over the day; where it was asked last is
asked first. What it has forgotten is to be subscribed again; why that does not work stands beside the subscription,
named as its error condition, for the follower to see. Services that could not be reached are asked again in an hour.

There are services that grant subscriptions and then send nothing. So the newest posts are fetched as well, and where
that brings what should have come by itself, the follow is ``SILENT``: it is looked after every hour.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from microblog.model.jid import JID
from microblog.model.subscription import SubscriptionState
from microblog.store.subscriptions import Follow
from microblog.store.transaction import Transaction

EVERY: Final = timedelta(days=1)
AGAIN: Final = timedelta(hours=1)
LONGEST: Final = timedelta(days=30)  # what is read back of a feed that nobody knows since when it was silent
UNREACHABLE: Final = "remote-server-not-found"
SILENT: Final = "silent"
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Due(NamedTuple):
    """Somebody of ours, and a service that is to be asked about their subscriptions there."""

    account: JID
    service: JID


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a service says of an account's subscriptions there: each node with its state. None: it does not say."""

    account: JID
    service: JID
    states: dict[str, SubscriptionState] | None


class Broken(NamedTuple):
    """A node to subscribe to again, and whether for everybody to know.

    ``since``: when it was sound for the last time, if the service has forgotten the subscription; what happened at the
    node since then has to be read there. None: it does not say.
    """

    node: str
    public: bool
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``approved``: nodes of which posts come from now on; ``sound``: of which posts should have been coming."""

    broken: tuple[Broken, ...] = ()
    approved: tuple[str, ...] = ()
    sound: tuple[str, ...] = ()


def due(tx: Transaction, limit: int) -> tuple[Due, ...]:
    """Whom to ask about whom now, each pair once."""
    found = tx.subscriptions.due_again(UNREACHABLE, tx.now - AGAIN, limit)
    found += tx.subscriptions.due_again(SILENT, tx.now - AGAIN, limit)
    found += tx.subscriptions.due(tx.now - EVERY, limit)
    return tuple(dict.fromkeys(Due(account, service) for account, service in found))[:limit]


def adopt(tx: Transaction) -> None:
    """Let those subscriptions take part that are older than all this."""
    tx.subscriptions.adopt(tx.domain)


def compare(tx: Transaction, request: Told) -> Verdict:
    """Hold what a service says beside what we have written down, and write down what it knows better."""
    broken, approved, sound = [], [], []
    for known in tx.subscriptions.follows_at(request.service, request.account):
        if known.implicit or known.checked is None:
            continue
        said = None if request.states is None else request.states.get(known.node.name)
        tx.subscriptions.set_health(known.node, request.account.bare, tx.now, "" if said else known.problem)
        if said is None or said is SubscriptionState.NONE:
            since = None if request.states is None else _sound(tx, known)
            broken.append(Broken(known.node.name, known.public, since))
        elif said is not known.subscription.state:
            tx.subscriptions.change(known.node, replace(known.subscription, state=said))
            if said is SubscriptionState.SUBSCRIBED:
                approved.append(known.node.name)
        elif said is SubscriptionState.SUBSCRIBED:
            sound.append(known.node.name)
    return Verdict(broken=tuple(broken), approved=tuple(approved), sound=tuple(sound))


def _sound(tx: Transaction, known: Follow) -> datetime:
    """When a subscription was sound for the last time, as far as that is known."""
    if known.checked is not None and not known.problem:
        return known.checked
    return tx.now - LONGEST


def trouble(tx: Transaction, due: Due, problem: str, nodes: Iterable[str] | None = None) -> None:
    """Something is wrong with an account's subscriptions at a service, or with those to these nodes."""
    only = None if nodes is None else frozenset(nodes)
    for known in tx.subscriptions.follows_at(due.service, due.account):
        if known.checked is not None and not known.implicit and (only is None or known.node.name in only):
            tx.subscriptions.set_health(known.node, due.account.bare, tx.now, problem)


def suspect(tx: Transaction, due: Due) -> None:
    """There is reason to ask a service at once."""
    for known in tx.subscriptions.follows_at(due.service, due.account):
        if known.checked is not None:
            tx.subscriptions.set_health(known.node, due.account.bare, _LONG_AGO, known.problem)
