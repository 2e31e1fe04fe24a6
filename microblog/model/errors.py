"""Refusals: a request turned down by the rules.

A ``Refusal`` is an answer, not a fault of ours: whoever raises one names the case the specification names, and
``microblog.wire.errors`` alone knows which stanza error that becomes. The text is for the peer: what it can do
about it. Anything that is not a ``Refusal`` is our bug and is answered without detail.
"""


class Refusal(Exception):
    """A request turned down; the text tells the peer what it can do."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.text = text


# RFC 6120 §8.3.3, one class per condition we use


class BadRequest(Refusal):
    """The request is malformed."""


class Conflict(Refusal):
    """It exists already, or contradicts what exists."""


class FeatureNotImplemented(Refusal):
    """Known to the specification, not offered here."""


class Forbidden(Refusal):
    """The requester lacks the right."""


class Gone(Refusal):
    """It was here and is not any more."""


class ItemNotFound(Refusal):
    """No such thing (also said of what the asker may not know of)."""


class JIDMalformed(Refusal, ValueError):
    """An address that RFC 7622 does not allow."""


class NotAcceptable(Refusal):
    """Understood, but the content does not meet the criteria."""


class NotAllowed(Refusal):
    """Nobody may do this."""


class NotAuthorized(Refusal):
    """The requester must first obtain a right."""


class PolicyViolation(Refusal):
    """Against the rules of this node."""


class RecipientUnavailable(Refusal):
    """The addressee is not on line."""


class RegistrationRequired(Refusal):
    """Only for registered people."""


class RemoteServerNotFound(Refusal):
    """The other domain does not exist or cannot be reached."""


class RemoteServerTimeout(Refusal):
    """The other domain did not answer in time."""


class ResourceConstraint(Refusal):
    """Not now: a limit or a resource of ours is exhausted; try again later."""


class ServiceUnavailable(Refusal):
    """Nobody here serves this."""


class SubscriptionRequired(Refusal):
    """A subscription is needed first."""


class UnexpectedRequest(Refusal):
    """Understood, but not at this time."""
