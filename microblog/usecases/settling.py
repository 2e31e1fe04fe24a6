"""What people set for themselves: a name, and one of a few values.

Most are kept as they are and read by whoever goes by them. ``audience`` is the feed's: what a post is that says nothing
of whom it is for; it cannot be wider than the feed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from microblog.model.access import WIDTH, audience_of
from microblog.model.account import Account
from microblog.model.errors import ItemNotFound, NotAcceptable
from microblog.model.item import Audience
from microblog.model.node import MICROBLOG, Node
from microblog.store.transaction import Transaction
from microblog.usecases import listing
from microblog.usecases.following import PUBLIC_LISTS

LINES_MAX: Final = 50
LANGUAGE: Final = "lang"
DIGEST: Final = "digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """``choices``: what it may be; ``most``: or a number up to that. ``default``: what it is until it is set."""

    default: str
    choices: tuple[str, ...] = ()
    most: int = 0


SETTINGS: Final[Mapping[str, Setting]] = {
    # Whom a post is for that does not say.
    "audience": Setting(default="", choices=("public", "followers", "local")),
    # Whether a command needs a slash before it.
    "commands": Setting(default="plain", choices=("plain", "slash")),
    # In which language the node speaks; without it, the one that is spoken to it.
    LANGUAGE: Setting(default="auto"),
    # How many posts are shown at once.
    "limit": Setting(default="10", most=LINES_MAX),
    # Whether one is told how much one missed, when one comes back.
    DIGEST: Setting(default="on", choices=("on", "off")),
    # Whether others may see whom one follows (XEP-0465).
    PUBLIC_LISTS: Setting(default="off", choices=("on", "off")),
}
_ALSO: Final = {"friends": "followers", "yes": "on", "no": "off"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """``value`` empty or ``default``: as it was before it was ever set. ``languages``: which there are."""

    account: Account
    name: str
    value: str
    languages: tuple[str, ...] = ("en",)


def settings(tx: Transaction, account: Account) -> dict[str, str]:
    """All there are, with their values."""
    known = tx.preferences.of(account.key)
    found = {name: known.get(name, setting.default) for name, setting in SETTINGS.items()}
    node = _feed(tx, account)
    if node is not None:
        widest = audience_of(node.config)
        found["audience"] = min(widest, node.config.default_audience, key=WIDTH.__getitem__).value
    return found


def change(tx: Transaction, request: Set) -> str:
    """Set one; what it is now. Raises: ItemNotFound for a name there is none of, NotAcceptable for the value."""
    setting = SETTINGS.get(request.name)
    if setting is None:
        raise ItemNotFound(f"there is no setting of this name; there are {', '.join(SETTINGS)}")
    value = request.value.strip().casefold()
    value = _ALSO.get(value, value)
    if request.name == "audience":
        return _set_audience(tx, request.account, value)
    if value in ("", "default", setting.default):
        tx.preferences.remove(request.account.key, request.name)
        _changed(tx, request.account, request.name, setting.default)
        return setting.default
    choices = request.languages if request.name == LANGUAGE else setting.choices
    if setting.most:
        if not (value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= setting.most):
            raise NotAcceptable(f"{request.name} is a number from 1 to {setting.most}")
        value = str(int(value))
    elif value not in choices:
        raise NotAcceptable(f"{request.name} is one of {', '.join(choices)}")
    tx.preferences.set(request.account.key, request.name, value)
    _changed(tx, request.account, request.name, value)
    return value


def _changed(tx: Transaction, account: Account, name: str, value: str) -> None:
    """What is so from now on is so for what there is already."""
    if name == PUBLIC_LISTS:
        listing.publish_all(tx, account.jid(tx.domain), value == "on")


def _set_audience(tx: Transaction, account: Account, value: str) -> str:
    node = _feed(tx, account)
    if node is None:
        raise ItemNotFound("there is no feed to set this for")
    widest = audience_of(node.config)
    if value in ("", "default"):
        value = widest.value
    if value not in SETTINGS["audience"].choices:
        raise NotAcceptable(f"audience is one of {', '.join(SETTINGS['audience'].choices)}")
    wanted = Audience(value)
    if WIDTH[wanted] > WIDTH[widest]:
        raise NotAcceptable(f"your feed is for {widest}: no post of it goes further")
    if wanted is not node.config.default_audience:
        tx.nodes.configure(node, replace(node.config, default_audience=wanted))
    return wanted.value


def _feed(tx: Transaction, account: Account) -> Node | None:
    return tx.nodes.find(account.jid(tx.domain), MICROBLOG)
