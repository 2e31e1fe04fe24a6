"""XEP-0060 §4, XEP-0163, XEP-0472: nodes, their configuration, and the profiles that give it defaults.

A profile is what a node is for: ``urn:xmpp:microblog:0`` keeps everything and never pushes the last item;
other PEP nodes keep one item for contacts. A node stores what differs from its profile.

Options come from forms as text. One table, ``OPTIONS``, says how each is read and written, so that a form, a
configuration and a list of preconditions can never disagree about a name or a value. ``FIXED`` has the standard
options for which this server knows only one answer: saying that answer is fine, anything else is refused.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from microblog.model.errors import NotAcceptable, UnsupportedAccessModel
from microblog.model.item import Audience
from microblog.model.jid import JID

MICROBLOG: Final = "urn:xmpp:microblog:0"
COMMENTS_PREFIX: Final = MICROBLOG + ":comments/"
ATTACHMENTS: Final = "urn:xmpp:pubsub-attachments:1"
ATTACHMENTS_PREFIX: Final = ATTACHMENTS + "/"
# What people say of themselves: XEP-0172, XEP-0292, XEP-0084.
NICK: Final = "http://jabber.org/protocol/nick"
VCARD4: Final = "urn:xmpp:vcard4"
AVATAR_DATA: Final = "urn:xmpp:avatar:data"
AVATAR_METADATA: Final = "urn:xmpp:avatar:metadata"
IDENTITY_NODES: Final = frozenset((NICK, VCARD4, AVATAR_DATA, AVATAR_METADATA))
NODE_NAME_MAX_BYTES: Final = 1023
TEXT_MAX_CHARACTERS: Final = 3071

Options = Mapping[str, Sequence[str]]


class AccessModel(StrEnum):
    """Who may subscribe and read (§4.5)."""

    OPEN = "open"
    PRESENCE = "presence"
    ROSTER = "roster"
    WHITELIST = "whitelist"
    AUTHORIZE = "authorize"


class PublishModel(StrEnum):
    """Who may publish (§16.4.4)."""

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
    """A node's options; ``max_items`` None means as many as the node keeps, ``item_expire`` None that items stay.

    Two are ours and in no form: ``audience``, the widest that an item of this node may have, and ``default_audience``,
    which an item has that asks for none.
    """

    access_model: AccessModel = AccessModel.PRESENCE
    publish_model: PublishModel = PublishModel.PUBLISHERS
    persist_items: bool = True
    max_items: int | None = 1
    max_payload_size: int | None = None
    item_expire: int | None = None
    deliver_payloads: bool = True
    deliver_notifications: bool = True
    notify_retract: bool = True
    notify_delete: bool = True
    notify_config: bool = False
    notify_sub: bool = False
    send_last_published_item: SendLast = SendLast.ON_SUB_AND_PRESENCE
    itemreply: str = "publisher"
    notification_type: str = "headline"
    type: str = ""
    title: str = ""
    description: str = ""
    language: str = ""
    roster_groups_allowed: tuple[str, ...] = ()
    audience: Audience = Audience.PUBLIC
    default_audience: Audience = Audience.PUBLIC

    def differing(self, other: "NodeConfig") -> dict[str, Any]:
        """The options whose values differ from another configuration's, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)}

    def options(self) -> dict[str, tuple[str, ...]]:
        """Every option as the text of a form."""
        return {name: option.write(getattr(self, name)) for name, option in OPTIONS.items()}

    def stored(self, defaults: "NodeConfig") -> str:
        """JSON of what differs from the defaults, for the store."""
        differing = self.differing(defaults)
        return json.dumps(differing, ensure_ascii=False, sort_keys=True) if differing else "{}"


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
# Whoever follows somebody wants to see who it is, and need not be their contact for that.
IDENTITY_PROFILE: Final = NodeConfig(access_model=AccessModel.OPEN)
ATTACHMENTS_PROFILE: Final = replace(COMMENTS_PROFILE, type=ATTACHMENTS)


def profile(name: str) -> NodeConfig:
    """The defaults for a node of this name."""
    if name == MICROBLOG:
        return MICROBLOG_PROFILE
    if name.startswith(COMMENTS_PREFIX):
        return COMMENTS_PROFILE
    if name.startswith(ATTACHMENTS_PREFIX):
        return ATTACHMENTS_PROFILE
    if name in IDENTITY_NODES:
        return IDENTITY_PROFILE
    return PLAIN_PEP


def is_feed(name: str) -> bool:
    """A node whose items are posts: Atom entries."""
    return name == MICROBLOG or name.startswith(COMMENTS_PREFIX)


def for_audience(name: str, audience: Audience) -> NodeConfig:
    """The defaults for a node of this name, of an account whose posts are for this audience.

    Followers are those whom the owner has let in: to follow is to ask, and never asks for presence. Who they are
    may be seen by everybody, unless they are for this domain only.
    """
    config = profile(name)
    if name in IDENTITY_NODES and audience is Audience.LOCAL:
        return replace(config, audience=audience)
    if not is_feed(name) or audience is Audience.PUBLIC:
        return config
    if audience is Audience.FOLLOWERS:
        return replace(config, access_model=AccessModel.AUTHORIZE)
    return replace(config, audience=audience)


def stored_config(name: str, text: str) -> NodeConfig:
    """What ``NodeConfig.stored`` wrote for a node of this name."""
    defaults = profile(name)
    if text == "{}":
        return defaults
    return _read_remembered(defaults, text) if len(text) <= _REMEMBERED_MAX_CHARACTERS else _read_stored(defaults, text)


def _read_stored(defaults: NodeConfig, text: str) -> NodeConfig:
    values = json.loads(text)
    for key, read in _STORED.items():
        if key in values:
            values[key] = read(values[key])
    known = {f.name for f in fields(NodeConfig)}
    return replace(defaults, **{key: value for key, value in values.items() if key in known})


# A node is looked up for everything that is done there.
_REMEMBERED_MAX_CHARACTERS: Final = 1024
_read_remembered: Final = lru_cache(maxsize=1024)(_read_stored)
_STORED: Final[dict[str, Any]] = {
    "access_model": AccessModel,
    "publish_model": PublishModel,
    "send_last_published_item": SendLast,
    "roster_groups_allowed": tuple,
    "audience": Audience,
    "default_audience": Audience,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node at a service; ``key`` is the store's own name for it and means nothing elsewhere."""

    key: int
    service: JID
    name: str
    config: NodeConfig = field(default_factory=NodeConfig)


class BadOption(ValueError):
    """An option that is unknown or has a value it cannot have; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """How one option stands in a form: ``kind`` is its XEP-0004 field type."""

    kind: str
    label: str
    choices: tuple[str, ...] = ()
    number: bool = False

    def read(self, name: str, values: Sequence[str]) -> Any:
        """The value from the text of a form. Raises BadOption."""
        if self.kind == "text-multi":
            if len(values) > 100 or any(len(value) > TEXT_MAX_CHARACTERS for value in values):
                raise BadOption(f"{name}: too much")
            return tuple(dict.fromkeys(values))
        if self.kind == "list-multi":
            if not values or not set(values) <= set(self.choices):
                raise BadOption(f"{name}: some of {', '.join(self.choices)}")
            return tuple(choice for choice in self.choices if choice in values)
        if len(values) > 1:
            raise BadOption(f"{name}: one value at most")
        text = values[0].strip() if values else ""
        if self.kind == "boolean":
            if text not in ("0", "1", "false", "true"):
                raise BadOption(f"{name}: 0 or 1")
            return text in ("1", "true")
        if self.number:
            return _number(name, text)
        if self.choices and text not in self.choices:
            raise BadOption(f"{name}: one of {', '.join(self.choices)}")
        if len(text) > TEXT_MAX_CHARACTERS:
            raise BadOption(f"{name}: too long")
        return _ENUMS[name](text) if name in _ENUMS else text

    def write(self, value: Any) -> tuple[str, ...]:
        """The value as the text of a form."""
        if self.kind in ("text-multi", "list-multi"):
            return tuple(value)
        if self.kind == "boolean":
            return ("1" if value else "0",)
        if self.number:
            return ("max" if value is None else str(value),)
        return (str(value),)


def _number(name: str, text: str) -> int | None:
    if text == "max":
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) > 0):
        raise BadOption(f"{name}: a positive number or max")
    return int(text)


def _choices(kind: type[StrEnum]) -> tuple[str, ...]:
    return tuple(member.value for member in kind)


def _flag(label: str) -> Option:
    return Option(kind="boolean", label=label)


_ENUMS: Final[dict[str, Any]] = {
    "access_model": AccessModel,
    "publish_model": PublishModel,
    "send_last_published_item": SendLast,
}

OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "title": Option(kind="text-single", label="A short name for the node"),
        "description": Option(kind="text-single", label="A description of the node"),
        "language": Option(kind="text-single", label="The default language of the node"),
        "type": Option(kind="text-single", label="The kind of node, or the namespace of its payloads"),
        "access_model": Option(
            kind="list-single", label="Who may subscribe and retrieve items", choices=_choices(AccessModel)
        ),
        "roster_groups_allowed": Option(
            kind="text-multi", label="The roster groups that may subscribe and retrieve items"
        ),
        "publish_model": Option(kind="list-single", label="Who may publish", choices=_choices(PublishModel)),
        "persist_items": _flag("Whether to persist items to storage"),
        "max_items": Option(kind="text-single", label="How many items to keep, or max", number=True),
        "max_payload_size": Option(kind="text-single", label="The maximum payload size in bytes, or max", number=True),
        "item_expire": Option(
            kind="text-single", label="After how many seconds items are retracted, or max for never", number=True
        ),
        "deliver_notifications": _flag("Whether to deliver event notifications"),
        "deliver_payloads": _flag("Whether to deliver payloads with event notifications"),
        "notify_retract": _flag("Whether to notify subscribers when items are removed"),
        "notify_delete": _flag("Whether to notify subscribers when the node is deleted"),
        "notify_config": _flag("Whether to notify subscribers when the configuration changes"),
        "notify_sub": _flag("Whether to notify owners about new subscribers and unsubscribes"),
        "send_last_published_item": Option(
            kind="list-single", label="When to send the last published item", choices=_choices(SendLast)
        ),
        "itemreply": Option(kind="list-single", label="Whom replies go to", choices=("owner", "publisher", "none")),
        "notification_type": Option(
            kind="list-single",
            label="The message type of event notifications",
            choices=("normal", "headline", "chat"),
        ),
    }
)

# Standard options with one answer here (empty: the field may also be without value).
FIXED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "node_type": ("leaf",),
        "presence_based_delivery": ("0", "false"),
        "purge_offline": ("0", "false"),
        "tempsub": ("0", "false"),
        "subscribe": ("1", "true"),
        "publish_node_full": ("retract-oldest", "discard-oldest"),
        "collection": ("",),
        "body_xslt": ("",),
        "dataform_xslt": ("",),
    }
)


def read_options(options: Options) -> dict[str, Any]:
    """Typed values by name, for `dataclasses.replace` on a NodeConfig. Raises BadOption."""
    values: dict[str, Any] = {}
    for name, texts in options.items():
        option = OPTIONS.get(name)
        if option is not None:
            values[name] = option.read(name, texts)
        elif name not in FIXED:
            raise BadOption(f"{name}: unknown option")
        elif (tuple(texts) or ("",))[0] not in FIXED[name] or len(texts) > 1:
            raise BadOption(f"{name}: only {FIXED[name][0] or 'empty'} is supported")
    return values


def configured(base: NodeConfig, options: Options) -> NodeConfig:
    """A configuration changed by a form. Raises NotAcceptable, UnsupportedAccessModel (§8.1.2, §8.2.5)."""
    models = options.get("access_model")
    if models and models[0] not in _choices(AccessModel):
        raise UnsupportedAccessModel(f"access_model: one of {', '.join(_choices(AccessModel))}")
    try:
        return replace(base, **read_options(options))
    except BadOption as error:
        raise NotAcceptable(str(error)) from error
