"""RFC 6120 §7: bound resources.

A ``Session`` is a resource with its stream, and what the rest of the house remembers of it while it lives: its
presence, whether it asked for the roster and for whom it blocks, which pubsub nodes it wants to hear of. Nothing here
outlives a session.
"""

import secrets
from collections.abc import Iterable, ValuesView
from typing import Protocol

from microblog.model import jid as addresses
from microblog.model.errors import ResourceConstraint
from microblog.model.jid import JID
from microblog.wire.errors import StreamError
from microblog.wire.stanza import Stanza


class Sink(Protocol):
    """What a session needs of its stream."""

    def write(self, data: bytes) -> None:
        """Send ready bytes."""

    def fail(self, error: StreamError) -> None:
        """End the stream with an error."""


class Session:
    """A bound resource of one of our accounts."""

    __slots__ = ("blocklist", "directed", "interested", "jid", "notify", "presence", "priority", "stream")

    def __init__(self, jid: JID, stream: Sink) -> None:
        self.jid = jid
        self.stream = stream
        self.presence: Stanza | None = None
        self.priority = 0
        self.interested = False
        self.blocklist = False
        self.notify: frozenset[str] = frozenset()
        self.directed: set[JID] = set()

    @property
    def available(self) -> bool:
        """True between its initial presence and its unavailable presence."""
        return self.presence is not None

    def write(self, data: bytes) -> None:
        """Send ready bytes."""
        self.stream.write(data)

    def send(self, stanza: Stanza) -> None:
        """Send a stanza."""
        self.stream.write(stanza.to_bytes())


class Sessions:
    """All bound resources of this process, by full and by bare JID."""

    def __init__(self, sessions_per_account: int) -> None:
        self._limit = sessions_per_account
        self._by_bare: dict[JID, dict[str, Session]] = {}

    def bind(self, account: JID, resource: str | None, stream: Sink) -> Session:
        """Bind a resource; none asked for means one of ours.

        The older session of the same name is ended with ``conflict`` (RFC 6120 §7.7.2.2). Raises JIDMalformed,
        ResourceConstraint.
        """
        prepared = addresses.resourcepart(resource) if resource else secrets.token_urlsafe(9)
        siblings = self._by_bare.get(account, {})
        older = siblings.get(prepared)
        if older is None and len(siblings) >= self._limit:
            raise ResourceConstraint("too many sessions of this account")
        session = Session(account.with_resource(prepared), stream)
        if older is not None:
            older.stream.fail(StreamError("conflict", "replaced by a new session of the same resource"))
        self._by_bare.setdefault(account, {})[prepared] = session
        return session

    def unbind(self, session: Session) -> None:
        """Forget a session (not one that has taken its name since)."""
        account = session.jid.bare
        siblings = self._by_bare.get(account)
        if siblings and siblings.get(session.jid.resourcepart) is session:
            del siblings[session.jid.resourcepart]
            if not siblings:
                del self._by_bare[account]

    def get(self, full: JID) -> Session | None:
        """The session bound to a full JID."""
        siblings = self._by_bare.get(full.bare)
        return siblings.get(full.resourcepart) if siblings else None

    def of(self, account: JID) -> ValuesView[Session] | tuple[()]:
        """The sessions of an account, available or not."""
        siblings = self._by_bare.get(account)
        return siblings.values() if siblings else ()

    def available(self, account: JID) -> list[Session]:
        """The sessions of an account that have sent presence."""
        return [session for session in self.of(account) if session.presence is not None]

    def all(self) -> Iterable[Session]:
        """Every session."""
        return (session for siblings in list(self._by_bare.values()) for session in list(siblings.values()))

    def __len__(self) -> int:
        return sum(len(siblings) for siblings in self._by_bare.values())
