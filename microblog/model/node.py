"""XEP-0060 §4, XEP-0163, XEP-0472: nodes, their configuration, and the profiles that give it defaults.

A profile is what a node is for: ``urn:xmpp:microblog:0`` keeps everything and never pushes the last item;
other PEP nodes keep one item for contacts. A node stores what differs from its profile.
"""

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from microblog.model.jid import JID

MICROBLOG: Final = "urn:xmpp:microblog:0"


class AccessModel(StrEnum):
    """Who may subscribe and read (§4.5)."""

    OPEN = "open"
    PRESENCE = "presence"
    ROSTER = "roster"
    WHITELIST = "whitelist"
    AUTHORIZE = "authorize"


class PublishModel(StrEnum):
    """Who may publish (§4.5.? publish_model)."""

    PUBLISHERS = "publishers"
    SUBSCRIBERS = "subscribers"
    OPEN = "open"


class SendLast(StrEnum):
    """When the last item is pushed."""

    NEVER = "never"
    ON_SUB = "on_sub"
    ON_SUB_AND_PRESENCE = "on_sub_and_presence"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """A node's options; ``max_items`` None means as many as the node keeps."""

    access_model: AccessModel = AccessModel.PRESENCE
    publish_model: PublishModel = PublishModel.PUBLISHERS
    persist_items: bool = True
    max_items: int | None = 1
    item_expire_seconds: int | None = None
    deliver_payloads: bool = True
    deliver_notifications: bool = True
    notify_retract: bool = True
    notify_delete: bool = True
    notify_config: bool = False
    send_last_published_item: SendLast = SendLast.ON_SUB_AND_PRESENCE
    itemreply: str = "publisher"
    notification_type: str = "headline"
    type: str = ""
    title: str = ""
    description: str = ""
    language: str = ""
    roster_groups_allowed: tuple[str, ...] = ()

    def differing(self, other: "NodeConfig") -> dict[str, object]:
        """The options whose values differ from another configuration's, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)}


PLAIN_PEP: Final = NodeConfig()
MICROBLOG_PROFILE: Final = NodeConfig(
    access_model=AccessModel.OPEN,
    max_items=None,
    send_last_published_item=SendLast.NEVER,
    type=MICROBLOG,
)
COMMENTS_PROFILE: Final = NodeConfig(
    access_model=AccessModel.OPEN,
    publish_model=PublishModel.OPEN,
    max_items=None,
    send_last_published_item=SendLast.NEVER,
    type=MICROBLOG,
)


def profile(name: str) -> NodeConfig:
    """The defaults for a node of this name."""
    if name == MICROBLOG:
        return MICROBLOG_PROFILE
    if name.startswith(MICROBLOG + ":comments/"):
        return COMMENTS_PROFILE
    return PLAIN_PEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node at a service; ``key`` is the store's own name for it and means nothing elsewhere."""

    key: int
    service: JID
    name: str
    config: NodeConfig = field(default_factory=NodeConfig)
