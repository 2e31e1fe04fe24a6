"""XEP-0060 §4.1 and §4.2: subscriptions, affiliations, and what each affiliation may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from microblog.model.errors import InvalidOptions
from microblog.model.jid import JID
from microblog.model.node import BadOption, Option, Options
from microblog.model.when import Show


class SubscriptionState(StrEnum):
    """§4.2; nothing here has to be configured first, so there is no ``unconfigured``."""

    NONE = "none"
    PENDING = "pending"
    SUBSCRIBED = "subscribed"


class Affiliation(StrEnum):
    """§4.1, from the most rights to the fewest."""

    OWNER = "owner"
    PUBLISHER = "publisher"
    PUBLISH_ONLY = "publish-only"
    MEMBER = "member"
    NONE = "none"
    OUTCAST = "outcast"


class Capability(NamedTuple):
    """A row of the table in §4.1. ``subscribe`` and ``retrieve`` mean: as far as the access model lets one."""

    subscribe: bool
    retrieve: bool
    publish: bool
    delete_any_item: bool
    own: bool


CAPABILITIES: Final[Mapping[Affiliation, Capability]] = MappingProxyType(
    {
        Affiliation.OWNER: Capability(True, True, True, True, True),
        Affiliation.PUBLISHER: Capability(True, True, True, False, False),
        Affiliation.PUBLISH_ONLY: Capability(False, False, True, False, False),
        Affiliation.MEMBER: Capability(True, True, False, False, False),
        Affiliation.NONE: Capability(True, True, False, False, False),
        Affiliation.OUTCAST: Capability(False, False, False, False, False),
    }
)

SHOWS: Final = tuple(show.value for show in Show)
SUBSCRIBE_OPTIONS: Final[Mapping[str, Option]] = MappingProxyType(
    {
        "deliver": Option(kind="boolean", label="Whether to deliver event notifications"),
        "show-values": Option(
            kind="list-multi", label="The presence states in which to deliver event notifications", choices=SHOWS
        ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeOptions:
    """§6.3: how a subscriber wants to be told. A subscription that is not ``deliver`` keeps the right to read.

    ``show_values``: what their presence has to say for that.
    """

    deliver: bool = True
    show_values: tuple[str, ...] = SHOWS

    @property
    def is_picky(self) -> bool:
        """Does it depend on their presence?"""
        return self.show_values != SHOWS

    def options(self) -> dict[str, tuple[str, ...]]:
        """Every option as the text of a form."""
        return {name: option.write(getattr(self, _field(name))) for name, option in SUBSCRIBE_OPTIONS.items()}

    def changed(self, options: Options) -> "SubscribeOptions":
        """These options changed by a form. Raises InvalidOptions (§6.3.7.2)."""
        values = {}
        for name, texts in options.items():
            if name not in SUBSCRIBE_OPTIONS:
                raise InvalidOptions(f"{name}: unknown option")
            try:
                values[_field(name)] = SUBSCRIBE_OPTIONS[name].read(name, texts)
            except BadOption as error:
                raise InvalidOptions(str(error)) from error
        return replace(self, **values)


def _field(name: str) -> str:
    return name.replace("-", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Somebody's subscription to a node; ``jid`` is the address as subscribed, bare or full."""

    service: JID
    node: str
    jid: JID
    state: SubscriptionState
    subid: str = ""
    options: SubscribeOptions = field(default_factory=SubscribeOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Affiliated:
    """Somebody's affiliation with a node."""

    service: JID
    node: str
    jid: JID
    affiliation: Affiliation
