"""RFC 6121 §2, §3: contacts, and how presence subscriptions move from state to state.

The tables of Appendix A are here as data. A state is a subscription with two flags: ``ask`` (our request to see the
contact is pending) and ``pending_in`` (theirs to see us is). A stanza that a table does not mention for a state
changes nothing in that state.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

from microblog.model.jid import JID


class Subscription(StrEnum):
    """Who sees whose presence: TO: we see theirs; FROM: they see ours."""

    NONE = "none"
    TO = "to"
    FROM = "from"
    BOTH = "both"


class State(NamedTuple):
    """One of the nine states of Appendix A."""

    subscription: Subscription
    ask: bool = False
    pending_in: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """An entry of a roster; not ``listed``: only a request of theirs, which the roster does not show.

    ``request``: their pending request as it came (XML), to be shown at every login until it is answered.
    """

    jid: JID
    name: str = ""
    groups: tuple[str, ...] = ()
    subscription: Subscription = Subscription.NONE
    ask: bool = False
    pending_in: bool = False
    approved: bool = False
    listed: bool = True
    request: str | None = None

    @property
    def sees_us(self) -> bool:
        """They have a subscription to our presence (from, both)."""
        return self.subscription in (Subscription.FROM, Subscription.BOTH)

    @property
    def is_seen(self) -> bool:
        """We have a subscription to theirs (to, both)."""
        return self.subscription in (Subscription.TO, Subscription.BOTH)

    @property
    def state(self) -> State:
        """Where it stands in Appendix A."""
        return State(self.subscription, self.ask, self.pending_in)

    def moved(self, state: State) -> "Contact":
        """The same contact in another state; an answered request is forgotten."""
        return replace(
            self,
            subscription=state.subscription,
            ask=state.ask,
            pending_in=state.pending_in,
            request=self.request if state.pending_in else None,
        )

    def looks_like(self, other: "Contact") -> bool:
        """No difference that a roster push could show."""
        return replace(self, pending_in=False, request=None) == replace(other, pending_in=False, request=None)


NONE: Final = State(Subscription.NONE)
NONE_OUT: Final = State(Subscription.NONE, ask=True)
NONE_IN: Final = State(Subscription.NONE, pending_in=True)
NONE_OUT_IN: Final = State(Subscription.NONE, ask=True, pending_in=True)
TO: Final = State(Subscription.TO)
TO_IN: Final = State(Subscription.TO, pending_in=True)
FROM: Final = State(Subscription.FROM)
FROM_OUT: Final = State(Subscription.FROM, ask=True)
BOTH: Final = State(Subscription.BOTH)

STATES: Final = (NONE, NONE_OUT, NONE_IN, NONE_OUT_IN, TO, TO_IN, FROM, FROM_OUT, BOTH)

# A.2: what we send. subscribe and unsubscribe are routed in every state, the answers only if they move it.
OUTBOUND: Final[dict[str, dict[State, State]]] = {
    "subscribe": {NONE: NONE_OUT, NONE_IN: NONE_OUT_IN, FROM: FROM_OUT},
    "unsubscribe": {NONE_OUT: NONE, NONE_OUT_IN: NONE_IN, TO: NONE, TO_IN: NONE_IN, FROM_OUT: FROM, BOTH: FROM},
    "subscribed": {NONE_IN: FROM, NONE_OUT_IN: FROM_OUT, TO_IN: BOTH},
    "unsubscribed": {
        NONE_IN: NONE,
        NONE_OUT_IN: NONE_OUT,
        TO_IN: TO,
        FROM: NONE,
        FROM_OUT: NONE_OUT,
        BOTH: TO,
    },
}
# A.3: what comes; delivered only if it moves the state.
INBOUND: Final[dict[str, dict[State, State]]] = {
    "subscribe": {NONE: NONE_IN, NONE_OUT: NONE_OUT_IN, TO: TO_IN},
    "unsubscribe": {
        NONE_IN: NONE,
        NONE_OUT_IN: NONE_OUT,
        TO_IN: TO,
        FROM: NONE,
        FROM_OUT: NONE_OUT,
        BOTH: TO,
    },
    "subscribed": {NONE_OUT: TO, NONE_OUT_IN: TO_IN, FROM_OUT: BOTH},
    "unsubscribed": {NONE_OUT: NONE, NONE_OUT_IN: NONE_IN, TO: NONE, TO_IN: NONE_IN, FROM_OUT: FROM, BOTH: FROM},
}
# §3.4: a request that was approved before it came skips the pending state.
APPROVED: Final[dict[State, State]] = {NONE: FROM, NONE_OUT: FROM_OUT, TO: BOTH}
