"""What the chat remembers: what was said, by which numbers items are known, and who wants lines.

Whoever has once spoken to the node in chat gets lines from then on, until they say ``off``. A message is written down
before it is done: one that comes twice is done once, whatever happens in between.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from microblog.model.access import may_leave
from microblog.model.errors import JIDMalformed
from microblog.model.item import Audience
from microblog.model.jid import JID, localpart
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.model.when import DEFAULT, When, read_when
from microblog.store.transaction import Transaction

# Preferences.
CHAT: Final = "chat"
CHAT_FROM: Final = "chat-from"
COMMANDS: Final = "commands"
LANGUAGE: Final = "lang"
WHEN: Final = "when"
# The source that stands for all of them.
EVERYTHING: Final = ""
ON: Final = "on"
OFF: Final = "off"
SLASH: Final = "slash"

SAME_SECONDS: Final = 60
NEWEST_SECONDS: Final = 600
NUMBERS_DAYS: Final = 30
HELD_MAX: Final = 500
HELD_DAYS: Final = 30
IDLE_DAYS: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What somebody said. ``id``: None if it has none. ``to``: the localpart of the address it was said to."""

    account: int
    by: JID
    id: str | None
    body_hash: bytes
    to: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """``id``: by which the message is remembered. ``again``: the message came before. ``same``: another one that became
    a post said the same just now. ``preferences``: all of the account's. ``begins``: lines come from now on, or from
    another address."""

    id: str
    again: bool
    same: bool
    preferences: dict[str, str]
    begins: bool = False


def hear(tx: Transaction, message: Message) -> Heard:
    """Write down a message. The first one of an account begins the delivery of lines."""
    preferences = tx.preferences.of(message.account)
    id_ = message.id or tx.new_id()
    if message.id is not None and tx.said.find(message.account, message.by, message.id) is not None:
        return Heard(id=id_, again=True, same=False, preferences=preferences)
    since = tx.now - timedelta(seconds=SAME_SECONDS)
    same = tx.said.same(message.account, message.by, message.body_hash, since)
    tx.said.add(message.account, message.by, id_, message.body_hash)
    changed = {CHAT: preferences.get(CHAT, ON), CHAT_FROM: message.to}
    begins = False
    for name, value in changed.items():
        if preferences.get(name, "") != value:
            tx.preferences.set(message.account, name, value)
            begins = changed[CHAT] == ON
    return Heard(id=id_, again=False, same=same, preferences=preferences | changed, begins=begins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What is shown in an answer to the messages of these ids. ``became``: the post of theirs that they became;
    ``done``: the post that is spoken of; ``posts`` are listed, ``answered`` are what these answer."""

    account: int
    by: JID
    ids: Sequence[str]
    became: ItemAddress | None
    done: ItemAddress | None
    posts: Sequence[ItemAddress]
    answered: Sequence[ItemAddress]


def answered(tx: Transaction, answer: Answered) -> dict[ItemAddress, int]:
    """Something is shown in answer to messages, and they may have become a post. The numbers of all of it."""
    if answer.became is not None and answer.became.item_id is not None:
        for id_ in answer.ids:
            tx.said.became(answer.account, answer.by, id_, answer.became.item_id)
    spoken_of = () if answer.done is None else (answer.done,)
    if answer.posts and tx.deferred.waits(answer.account):
        for address in answer.posts:
            tx.deferred.settle(answer.account, address)
    return show(tx, answer.account, (*spoken_of, *answer.posts), answer.answered)


def account_named(tx: Transaction, name: str) -> JID | None:
    """Somebody here of that name, however it is written."""
    try:
        account = tx.accounts.get(localpart(name))
    except JIDMalformed:
        return None
    return None if account is None or account.disabled else account.jid(tx.domain)


def set_delivery(tx: Transaction, account: int, on: bool) -> None:
    """Lines from now on, or none."""
    tx.preferences.set(account, CHAT, ON if on else OFF)


def item_of_message(tx: Transaction, account: JID, key: int, by: JID, message_id: str) -> ItemAddress | str | None:
    """The post that a message became: its address, "" for a message that became none, None for one not known."""
    words = tx.said.find(key, by, message_id)
    if words is None or not words.item_id:
        return None if words is None else ""
    return ItemAddress(account, MICROBLOG, words.item_id)


def item_of_number(tx: Transaction, account: int, number: int) -> ItemAddress | None:
    """The item of a number."""
    return tx.shown.find(account, number)


def newest_shown(tx: Transaction, account: int) -> ItemAddress | None:
    """The item that was shown last, if that was within ten minutes."""
    return tx.shown.newest(account, tx.now - timedelta(seconds=NEWEST_SECONDS))


def audience_of(tx: Transaction, address: ItemAddress) -> Audience | None:
    """Whom an item is for; None if it is not there."""
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    return None if found is None or found.item is None else found.item.audience


def show(
    tx: Transaction, account: int, addresses: Sequence[ItemAddress], answered: Iterable[ItemAddress]
) -> dict[ItemAddress, int]:
    """Items are shown: their numbers, and those of what they answer as far as that has one."""
    numbers = tx.shown.assign(account, addresses)
    for address in answered:
        if address not in numbers:
            number = tx.shown.number(account, address)
            if number is not None:
                numbers[address] = number
    return numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Somebody who gets lines. ``away``: their addresses elsewhere.

    ``hold``: the line has to wait, and of which kind it is then. ``mark``: what stands before the line.
    """

    key: int
    account: JID
    away: tuple[JID, ...] = ()
    hold: str = ""
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line for one reader, with its numbers. ``again``: it takes the place of an earlier one.

    ``numbers``: of the item that is shown, and of what it answers if that was shown.
    """

    reader: Reader
    number: int
    numbers: dict[ItemAddress, int]
    again: bool


# Makes the stanza for an address elsewhere.
Write = Callable[[Line, JID], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An item that is shown to those readers. ``copies``: other addresses under which they may have seen it.

    ``recent``: worth a line for those who have not seen it; else only lines that are there change. ``once``: lines that
    are there stay as they are. ``urgent``: also those get it for whom it waits.
    """

    address: ItemAddress
    copies: tuple[ItemAddress, ...]
    answered: ItemAddress | None
    audience: Audience
    readers: tuple[Reader, ...]
    recent: bool
    write: Write
    once: bool = False
    urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A line that shows no item."""

    readers: tuple[Reader, ...]
    text: str
    write: Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn:
    """An item that is gone, and those who may have seen it. ``seq``: the event in which it went."""

    address: ItemAddress
    seq: int
    readers: tuple[Reader, ...]
    write: Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The lines for each that was told, and the domains that are owed some."""

    lines: tuple[tuple[Line, ...], ...]
    domains: frozenset[str]


def tell(tx: Transaction, told: Sequence[Told | Spoken | Withdrawn]) -> Lines:
    """Give items their numbers, find the lines of those that are gone, and owe them to addresses elsewhere.

    What has to wait is written down.
    """
    lines: list[tuple[Line, ...]] = []
    domains: set[str] = set()
    for one in told:
        if isinstance(one, Told):
            found, audience = tuple(_lines(tx, one)), one.audience
        elif isinstance(one, Spoken):
            found, audience = tuple(_spoken(tx, one)), Audience.DIRECT
        else:
            found, audience = tuple(_withdrawn(tx, one)), tx.events.audience(one.seq)
        lines.append(found)
        for line in found:
            for away in line.reader.away:
                # Who unlinks an address wants nothing to go there from that moment on.
                linked = tx.linked.account_of(away)
                if linked is None or linked.key != line.reader.key:
                    continue
                if may_leave(audience, away.domainpart, local_domain=tx.domain):
                    tx.outbox.add_stanza(away.domainpart, one.write(line, away), audience)
                    domains.add(away.domainpart)
    return Lines(lines=tuple(lines), domains=frozenset(domains))


def _lines(tx: Transaction, told: Told) -> Iterable[Line]:
    keys = [reader.key for reader in told.readers]
    known = tx.shown.to(keys, told.address)
    copied = {key for copy in told.copies for key in tx.shown.to(keys, copy)}
    waiting = {key for address in (told.address, *told.copies) for key in tx.deferred.of(address)}
    held: list[tuple[int, str, str]] = []
    for reader in told.readers:
        again = reader.key in known
        if (again and told.once) or not (again or (told.recent and reader.key not in copied)):
            continue
        if reader.key in waiting:
            if not told.urgent:
                continue  # it comes as it is then
            for address in (told.address, *told.copies):
                tx.deferred.settle(reader.key, address)
        if reader.hold:
            held.append((reader.key, reader.hold, reader.mark))
        else:
            numbers = show(tx, reader.key, [told.address], [told.answered] if told.answered else [])
            yield Line(reader=reader, number=numbers[told.address], numbers=numbers, again=again)
    if held:
        hold(tx, held, told.address)


def _spoken(tx: Transaction, spoken: Spoken) -> Iterable[Line]:
    for reader in spoken.readers:
        if reader.hold:
            hold(tx, [(reader.key, reader.hold, spoken.text)], None)
        else:
            yield Line(reader=reader, number=0, numbers={}, again=False)


def hold(tx: Transaction, lines: Iterable[tuple[int, str, str]], address: ItemAddress | None) -> None:
    """Lines wait until their readers have time: account, kind, and text of each. Of very many, the newest wait."""
    tx.deferred.hold(lines, address, HELD_MAX)


def existing(tx: Transaction, accounts: Iterable[int]) -> frozenset[int]:
    """Those of these accounts that are there still."""
    return tx.shown.existing(accounts)


def shown_to(tx: Transaction, addresses: Sequence[ItemAddress]) -> dict[ItemAddress, frozenset[int]]:
    """Who was shown these items: keys of accounts."""
    return {address: frozenset(tx.shown.to_all(address)) for address in addresses}


def _withdrawn(tx: Transaction, gone: Withdrawn) -> Iterable[Line]:
    known = tx.shown.to([reader.key for reader in gone.readers], gone.address)
    for reader in gone.readers:
        if reader.key in known:
            number = known[reader.key]
            yield Line(reader=reader, number=number, numbers={gone.address: number}, again=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How somebody gets lines: the localpart of the address they come from, their language, and when.

    ``paused``: of what they want none now, each until when; the empty name stands for all of it.
    """

    key: int
    sender: str
    language: str
    when: When = DEFAULT
    paused: Mapping[str, datetime | None] = field(default_factory=dict)


def delivery(tx: Transaction, localpart: str) -> Delivery | None:
    """How an account gets lines; None if it wants none."""
    account = tx.accounts.get(localpart)
    if account is None:
        return None
    preferences = tx.preferences.of(account.key)
    return Delivery(**_delivery(tx, account.key, preferences)) if preferences.get(CHAT) == ON else None


def _delivery(tx: Transaction, key: int, preferences: dict[str, str]) -> dict[str, Any]:
    return {
        "key": key,
        "sender": preferences.get(CHAT_FROM, ""),
        "language": preferences.get(LANGUAGE, "en"),
        "when": read_when(preferences.get(WHEN)),
        "paused": tx.deferred.pauses(key),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere(Delivery):
    """An account's lines to an address elsewhere."""

    account: JID
    address: JID


def elsewhere(tx: Transaction) -> tuple[Elsewhere, ...]:
    """All addresses elsewhere to which lines go."""
    found = []
    for key, account, address in tx.shown.elsewhere(CHAT, ON):
        how = _delivery(tx, key, tx.preferences.of(key))
        found.append(Elsewhere(**how, account=account, address=address))
    return tuple(found)


def followers_among(tx: Transaction, accounts: Iterable[int], nodes: Iterable[int]) -> list[tuple[int, int]]:
    """Which of these accounts follow which of these nodes: the nodes' and the accounts' keys."""
    return tx.shown.followers(accounts, nodes)


def forget(tx: Transaction, limit: int) -> int:
    """Forget numbers that nobody saw for 30 days, and messages of that age; of which there were more, how many."""
    before = tx.now - timedelta(days=NUMBERS_DAYS)
    idle_before = tx.now - timedelta(days=IDLE_DAYS)
    tx.deferred.forget_pauses()
    held = tx.deferred.forget(tx.now - timedelta(days=HELD_DAYS), limit)
    return max(held, tx.shown.forget(before, limit), tx.said.forget(before, idle_before, limit))
