"""XEP-0060 §4.1, §4.5 and design of audiences: who may do what at a node, and which items may go to which domain.

Facts in, verdict out. ``check`` answers requests and raises the refusal that the specification names; ``readable`` is
the same rule as a plain yes or no, for everybody who is about to be sent something. ``audiences_allowed`` is the only
answer anywhere to the question which items may leave for a domain.

Whether a node exists is a secret of those who may not read it: retrieving from a node that one has nothing to do with
is answered as if it were not there. Asking to subscribe is how strangers become readers, and is answered plainly.
"""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from microblog.model.errors import (
    ClosedNode,
    EntityNotSubscribed,
    Forbidden,
    ItemNotFound,
    NotInRosterGroup,
    PresenceSubscriptionRequired,
)
from microblog.model.item import Audience, Proof
from microblog.model.node import AccessModel, NodeConfig, PublishModel
from microblog.model.subscription import CAPABILITIES, Affiliation, Capability, SubscriptionState

# One text for both, so that nobody can tell them apart.
NO_SUCH_NODE: Final = "no such node"
WIDTH: Final = {Audience.LOCAL: 0, Audience.DIRECT: 1, Audience.FOLLOWERS: 2, Audience.PUBLIC: 3}


class Action(Enum):
    """What somebody wants with a node."""

    RETRIEVE = auto()
    PUBLISH = auto()
    OWN = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of somebody at a node.

    ``presence``: that the owner's roster lets them see the owner's presence, ``groups``: the groups they are in there.
    ``here``: that they are of our own domain. ``subscribed``: the best state of their subscriptions.
    """

    affiliation: Affiliation = Affiliation.NONE
    subscribed: SubscriptionState = SubscriptionState.NONE
    presence: bool = False
    groups: frozenset[str] = frozenset()
    here: bool = False

    @property
    def capability(self) -> Capability:
        """What the affiliation allows."""
        return CAPABILITIES[self.affiliation]


def _listed(facts: Facts) -> bool:
    """An owner wrote this address down, so no access model stands in its way."""
    return facts.affiliation in (Affiliation.OWNER, Affiliation.PUBLISHER, Affiliation.MEMBER)


def _hidden(config: NodeConfig, facts: Facts) -> bool:
    """A node for this domain only does not exist for others."""
    return config.audience is Audience.LOCAL and not facts.here


def subscription_verdict(config: NodeConfig, facts: Facts) -> SubscriptionState:
    """The state a new subscription gets (§6.1). Raises the errors of §6.1.3."""
    if _hidden(config, facts):
        raise ItemNotFound(NO_SUCH_NODE)
    if not facts.capability.subscribe:
        raise Forbidden("you may not subscribe to this node")
    if _listed(facts):
        return SubscriptionState.SUBSCRIBED
    match config.access_model:
        case AccessModel.PRESENCE if not facts.presence:
            raise PresenceSubscriptionRequired("subscribe to the presence of the node's owner first")
        case AccessModel.ROSTER if not (facts.presence and facts.groups.intersection(config.roster_groups_allowed)):
            raise NotInRosterGroup("the node is for some of its owner's contacts")
        case AccessModel.WHITELIST:
            raise ClosedNode("the node is for those its owner has listed")
        case AccessModel.AUTHORIZE:
            return SubscriptionState.PENDING
    return SubscriptionState.SUBSCRIBED


def readable(config: NodeConfig, facts: Facts) -> bool:
    """May they retrieve items (§6.5.1) and be told of new ones?"""
    if _hidden(config, facts) or not facts.capability.retrieve:
        return False
    if _listed(facts):
        return True
    match config.access_model:
        case AccessModel.OPEN:
            return True
        case AccessModel.PRESENCE:
            return facts.presence
        case AccessModel.ROSTER:
            return facts.presence and not facts.groups.isdisjoint(config.roster_groups_allowed)
        case AccessModel.AUTHORIZE:
            return facts.subscribed is SubscriptionState.SUBSCRIBED
    return False


def audiences_readable(config: NodeConfig, facts: Facts) -> frozenset[Audience]:
    """Of which audiences' items they may be told; none if the node is not theirs to read.

    On an open node an item for followers is for those who follow: by subscription, by presence, or listed. What is for
    this domain only is for nobody elsewhere, not even an owner.
    """
    if not readable(config, facts):
        return frozenset()
    if facts.capability.own:
        return frozenset(Audience) if facts.here else frozenset(Audience) - {Audience.LOCAL}
    allowed = {Audience.PUBLIC}
    if facts.here:
        allowed.add(Audience.LOCAL)
    if facts.presence or _listed(facts) or facts.subscribed is SubscriptionState.SUBSCRIBED:
        allowed.add(Audience.FOLLOWERS)
    return frozenset(allowed)


def reads_directly(config: NodeConfig, facts: Facts) -> bool:
    """May they read the items here that are for them by name? Also where the node's others are not for them."""
    return not _hidden(config, facts) and facts.capability.retrieve


def visible(config: NodeConfig, facts: Facts) -> bool:
    """May they know that the node exists?"""
    if _hidden(config, facts):
        return False
    known = facts.affiliation is not Affiliation.NONE or facts.subscribed is not SubscriptionState.NONE
    return known or readable(config, facts)


def publishable(config: NodeConfig, facts: Facts) -> bool:
    """May they publish (§16.4.4)? The publish model never lets in somebody who may not read."""
    if _hidden(config, facts):
        return False
    if facts.capability.publish:
        return True
    if config.publish_model is PublishModel.OPEN:
        return readable(config, facts)
    if config.publish_model is PublishModel.SUBSCRIBERS:
        return facts.subscribed is SubscriptionState.SUBSCRIBED and readable(config, facts)
    return False


def check(action: Action, config: NodeConfig | None, facts: Facts) -> None:
    """Raise the refusal that the specification names; ``config`` None is a node that does not exist."""
    match action:
        case Action.RETRIEVE:
            _check_retrieve(config, facts)
        case Action.PUBLISH:
            # Of a node that is not there strangers hear the same as of one that is not theirs.
            if config is None or not publishable(config, facts):
                raise Forbidden("you may not publish here")
        case Action.OWN:
            if config is None or _hidden(config, facts):
                raise ItemNotFound(NO_SUCH_NODE)
            if not facts.capability.own:
                raise ItemNotFound(NO_SUCH_NODE) if not visible(config, facts) else Forbidden("only an owner may")


def _check_retrieve(config: NodeConfig | None, facts: Facts) -> None:
    if config is None or _hidden(config, facts):
        raise ItemNotFound(NO_SUCH_NODE)
    if readable(config, facts):
        return
    if not facts.capability.retrieve:
        raise Forbidden("you may not retrieve items of this node")
    if facts.subscribed is SubscriptionState.PENDING:
        raise EntityNotSubscribed("the node's owner has not approved your subscription yet")
    raise ItemNotFound(NO_SUCH_NODE)


def narrower(one: Audience, other: Audience) -> Audience:
    """The narrower of two audiences."""
    return min(one, other, key=WIDTH.__getitem__)


def audience_of(config: NodeConfig) -> Audience:
    """The audience of an item of this node: the access model is the ceiling."""
    ceiling = Audience.PUBLIC if config.access_model is AccessModel.OPEN else Audience.FOLLOWERS
    return narrower(ceiling, config.audience)


def audiences_allowed(domain: str, *, local_domain: str, trusted: bool = True) -> frozenset[Audience]:
    """Which audiences' items may be sent to a domain that has an entitled reader.

    ``trusted``: the domain has proven itself by certificate, or the administrator does without that.
    """
    if domain == local_domain:
        return frozenset(Audience)
    if trusted:
        return frozenset((Audience.PUBLIC, Audience.FOLLOWERS, Audience.DIRECT))
    return frozenset((Audience.PUBLIC,))


def proof_for(audience: Audience) -> Proof:
    """What a domain has to have proved before it is sent an item of this audience, if it may be sent it at all."""
    return Proof.DIALBACK if audience in audiences_allowed("", local_domain="-", trusted=False) else Proof.CERTIFICATE


def may_leave(audience: Audience, domain: str, *, local_domain: str, trusted: bool = True) -> bool:
    """May an item of this audience be sent to a domain?"""
    return audience in audiences_allowed(domain, local_domain=local_domain, trusted=trusted)
