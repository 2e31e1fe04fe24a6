"""RFC 6120 §8.3 and XEP-0060 §7: which stanza error a refusal becomes, in one table.

A class not listed takes its nearest listed ancestor; a test walks every subclass of ``Refusal`` and fails if one
reaches the end. The third column is the application condition, an element in its own namespace.
"""

from typing import Final, NamedTuple

from microblog.model import errors
from microblog.model.errors import Refusal
from microblog.wire import ns
from microblog.wire.xml import Element

ADDRESS_MAX_CHARACTERS: Final = 3100


class StreamError(Exception):
    """RFC 6120 §4.9: what ends a stream; the condition is an element name such as ``policy-violation``.

    ``application``: a condition of an extension beside it (§4.9.4).
    """

    def __init__(self, condition: str, text: str = "", application: Element | None = None) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.application = application


class Condition(NamedTuple):
    """A stanza error: its condition, its type (what the sender should do), and an application condition."""

    name: str
    type: str
    uri: str | None = None
    application: str | None = None
    feature: str | None = None


TABLE: Final[dict[type[Refusal], Condition]] = {
    errors.BadRequest: Condition("bad-request", "modify"),
    errors.Conflict: Condition("conflict", "cancel"),
    errors.FeatureNotImplemented: Condition("feature-not-implemented", "cancel"),
    errors.Forbidden: Condition("forbidden", "auth"),
    errors.Gone: Condition("gone", "cancel"),
    errors.ItemNotFound: Condition("item-not-found", "cancel"),
    errors.JIDMalformed: Condition("jid-malformed", "modify"),
    errors.NotAcceptable: Condition("not-acceptable", "modify"),
    errors.NotAllowed: Condition("not-allowed", "cancel"),
    errors.NotAuthorized: Condition("not-authorized", "auth"),
    errors.PolicyViolation: Condition("policy-violation", "modify"),
    errors.RecipientUnavailable: Condition("recipient-unavailable", "wait"),
    errors.RegistrationRequired: Condition("registration-required", "auth"),
    errors.RemoteServerNotFound: Condition("remote-server-not-found", "cancel"),
    errors.RemoteServerTimeout: Condition("remote-server-timeout", "wait"),
    errors.ResourceConstraint: Condition("resource-constraint", "wait"),
    errors.ServiceUnavailable: Condition("service-unavailable", "cancel"),
    errors.SubscriptionRequired: Condition("subscription-required", "auth"),
    errors.UnexpectedRequest: Condition("unexpected-request", "wait"),
    errors.ClosedNode: Condition("not-allowed", "cancel", ns.PUBSUB_ERRORS, "closed-node"),
    errors.EntityNotSubscribed: Condition("not-authorized", "auth", ns.PUBSUB_ERRORS, "not-subscribed"),
    errors.InvalidJID: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "invalid-jid"),
    errors.InvalidOptions: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "invalid-options"),
    errors.InvalidPayload: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "invalid-payload"),
    errors.InvalidSubID: Condition("not-acceptable", "modify", ns.PUBSUB_ERRORS, "invalid-subid"),
    errors.ItemForbidden: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "item-forbidden"),
    errors.ItemRequired: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "item-required"),
    errors.JIDRequired: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "jid-required"),
    errors.MaxNodesExceeded: Condition("conflict", "cancel", ns.PUBSUB_ERRORS, "max-nodes-exceeded"),
    errors.NodeIDRequired: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "nodeid-required"),
    errors.NotInRosterGroup: Condition("not-authorized", "auth", ns.PUBSUB_ERRORS, "not-in-roster-group"),
    errors.NotSubscribed: Condition("unexpected-request", "cancel", ns.PUBSUB_ERRORS, "not-subscribed"),
    errors.PayloadRequired: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "payload-required"),
    errors.PayloadTooBig: Condition("not-acceptable", "modify", ns.PUBSUB_ERRORS, "payload-too-big"),
    errors.PendingSubscription: Condition("not-authorized", "auth", ns.PUBSUB_ERRORS, "pending-subscription"),
    errors.PreconditionNotMet: Condition("conflict", "cancel", ns.PUBSUB_ERRORS, "precondition-not-met"),
    errors.PresenceSubscriptionRequired: Condition(
        "not-authorized", "auth", ns.PUBSUB_ERRORS, "presence-subscription-required"
    ),
    errors.SubIDRequired: Condition("bad-request", "modify", ns.PUBSUB_ERRORS, "subid-required"),
    errors.TooManySubscriptions: Condition("policy-violation", "wait", ns.PUBSUB_ERRORS, "too-many-subscriptions"),
    errors.UnsupportedAccessModel: Condition("not-acceptable", "modify", ns.PUBSUB_ERRORS, "unsupported-access-model"),
    errors.PersistentItemsUnsupported: Condition(
        "feature-not-implemented", "cancel", ns.PUBSUB_ERRORS, "unsupported", "persistent-items"
    ),
    errors.MultiSubscribeUnsupported: Condition(
        "feature-not-implemented", "cancel", ns.PUBSUB_ERRORS, "unsupported", "multi-subscribe"
    ),
    errors.BadAction: Condition("bad-request", "modify", ns.COMMANDS, "bad-action"),
    errors.BadLocale: Condition("bad-request", "modify", ns.COMMANDS, "bad-locale"),
    errors.BadPayload: Condition("bad-request", "modify", ns.COMMANDS, "bad-payload"),
    errors.BadSessionID: Condition("bad-request", "modify", ns.COMMANDS, "bad-sessionid"),
    errors.MalformedAction: Condition("bad-request", "modify", ns.COMMANDS, "malformed-action"),
    errors.SessionExpired: Condition("not-allowed", "cancel", ns.COMMANDS, "session-expired"),
    errors.Blocking: Condition("not-acceptable", "cancel", ns.BLOCKING_ERRORS, "blocked"),
    errors.BeyondHorizon: Condition("item-not-found", "cancel", ns.FANOUT, "horizon"),
    errors.AnotherEpoch: Condition("conflict", "cancel", ns.FANOUT, "epoch"),
}
INTERNAL: Final = Condition("internal-server-error", "cancel")


def condition(refusal: type[Refusal]) -> Condition:
    """The condition of a refusal class. Raises KeyError if neither it nor an ancestor is in the table."""
    for ancestor in refusal.__mro__:
        found = TABLE.get(ancestor)
        if found is not None:
            return found
    raise KeyError(refusal.__name__)


def error_element(refusal: Refusal) -> Element:
    """The ``<error/>`` child for a refusal."""
    found = condition(type(refusal))
    uri = refusal.uri if isinstance(refusal, errors.Gone) else None
    error = Element(ns.CLIENT, "error", {"type": found.type}, Element(ns.STANZAS, found.name, None, uri or None))
    if refusal.text:
        error.append(Element(ns.STANZAS, "text", {"{" + ns.XML + "}lang": "en"}, refusal.text))
    if found.uri and found.application:
        application = Element(found.uri, found.application)
        if found.feature:
            application.attributes["feature"] = found.feature
        match refusal:
            case errors.BeyondHorizon(number=number):
                application.attributes["seq"] = str(number)
            case errors.AnotherEpoch(epoch=epoch):
                application.attributes["now"] = epoch
        error.append(application)
    return error


def internal_error(incident: str) -> Element:
    """The ``<error/>`` child for a bug of ours: an incident id that is also in the log, nothing else."""
    text = Element(ns.STANZAS, "text", {"{" + ns.XML + "}lang": "en"}, f"incident {incident}")
    return Element(ns.CLIENT, "error", {"type": INTERNAL.type}, Element(ns.STANZAS, INTERNAL.name), text)


def read_condition(stanza_element: Element) -> tuple[str, str]:
    """The (condition, type) of a received error stanza; what is missing reads as undefined-condition, cancel."""
    error = stanza_element.find(stanza_element.uri, "error") or stanza_element.find(ns.SERVER, "error")
    if error is None:
        return "undefined-condition", "cancel"
    for child in error.elements():
        if child.uri == ns.STANZAS and child.name != "text":
            return child.name, error.get("type") or "cancel"
    return "undefined-condition", error.get("type") or "cancel"


def new_address(stanza_element: Element) -> str:
    """RFC 6120 §8.3.3.5: where somebody who is gone can be had now, as the error says it; empty if it does not."""
    error = stanza_element.find(stanza_element.uri, "error") or stanza_element.find(ns.SERVER, "error")
    gone = None if error is None else error.find(ns.STANZAS, "gone")
    return "" if gone is None else gone.text.strip()[:ADDRESS_MAX_CHARACTERS]
