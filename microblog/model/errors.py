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
    """It was here and is not any more; ``uri``: where it is now, if that is known (XEP-0283 §4.3)."""

    def __init__(self, text: str = "", *, uri: str = "") -> None:
        super().__init__(text)
        self.uri = uri


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


# XEP-0060 §7 and its error schema: the same refusals, told more exactly


class ClosedNode(NotAllowed):
    """The node has a whitelist and the requester is not on it (§6.1.3.4)."""


class EntityNotSubscribed(NotAuthorized):
    """The node is read by its subscribers only (§6.5.9.3)."""


class InvalidJID(BadRequest):
    """One subscribes oneself and nobody else (§6.1.3.1)."""


class InvalidOptions(BadRequest):
    """Subscription options that make no sense (§6.3.7.2)."""


class InvalidPayload(BadRequest):
    """Not one payload element of the kind that the node takes (§7.1.3.6)."""


class InvalidSubID(NotAcceptable):
    """No such subscription identifier (§6.2.3.5)."""


class ItemForbidden(BadRequest):
    """A node that only notifies takes no item (§7.1.3.7)."""


class ItemRequired(BadRequest):
    """The item or its id is missing (§7.1.3.7, §7.2.3.4)."""


class JIDRequired(BadRequest):
    """The subscriber's address is missing (§6.3.4.3)."""


class MaxNodesExceeded(Conflict):
    """The service keeps no more nodes."""


class NodeIDRequired(BadRequest):
    """The node's name is missing (§7.2.3.3)."""


class NotInRosterGroup(NotAuthorized):
    """The node is for certain groups of its owner's roster (§6.1.3.3)."""


class NotSubscribed(UnexpectedRequest):
    """There is no such subscription (§6.2.3.2)."""


class PayloadRequired(BadRequest):
    """The payload is missing (§7.1.3.7)."""


class PayloadTooBig(NotAcceptable):
    """The payload is longer than this service takes (§7.1.3.5)."""


class PendingSubscription(NotAuthorized):
    """The subscription waits for an owner's decision (§6.1.3.7)."""


class PreconditionNotMet(Conflict):
    """The node is not configured as the publisher expects it to be (§7.1.5)."""


class PresenceSubscriptionRequired(NotAuthorized):
    """The node is for those who are subscribed to its owner's presence (§6.1.3.2)."""


class SubIDRequired(BadRequest):
    """Several subscriptions, and none was named (§6.2.3.1)."""


class TooManySubscriptions(PolicyViolation):
    """More subscriptions than this service allows (§6.1.3.9)."""


class UnsupportedAccessModel(NotAcceptable):
    """No such access model here (§8.1.2)."""


class PersistentItemsUnsupported(FeatureNotImplemented):
    """The node keeps no items (§7.2.3.5)."""


class MultiSubscribeUnsupported(FeatureNotImplemented):
    """One subscription for each address (§6.1.6)."""


# XEP-0050 §4.4: commands


class BadAction(BadRequest):
    """The command cannot do this now."""


class BadLocale(BadRequest):
    """The language is none."""


class BadPayload(BadRequest):
    """Not the form that the command asked for."""


class BadSessionID(BadRequest):
    """There is no such session of the command, or it is not theirs."""


class MalformedAction(BadRequest):
    """There is no such action."""


class SessionExpired(NotAllowed):
    """The session of the command was left alone for too long."""


# XEP-0191


class Blocking(NotAcceptable):
    """Whoever asks has blocked whom they address (§3.3.3)."""


# docs/protocol/fanout.md: delivery logs


class BeyondHorizon(ItemNotFound):
    """The log does not reach back so far: it begins behind ``number``."""

    def __init__(self, text: str = "", *, number: int = 0) -> None:
        super().__init__(text)
        self.number = number


class AnotherEpoch(Conflict):
    """The numbers that were asked for are of an earlier log: it is ``epoch`` now."""

    def __init__(self, text: str = "", *, epoch: str = "") -> None:
        super().__init__(text)
        self.epoch = epoch
