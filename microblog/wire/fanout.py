"""docs/protocol/fanout.md: the delivery log between nodes, read and written.

What is told is an ``<event/>`` of XEP-0060, rendered once and put between the tags of its entry as the text that it
is: no payload is parsed, or written again, because of how many nodes it goes to. ``write_entry`` therefore returns
text, whose length in bytes is what counts against the limits of the other node, and ``write_deliver`` joins it.

Read, everything is bounded. What is wrong with the envelope (epoch, numbers, too many entries) is a ``BadRequest``,
as nothing in it can be relied on. What is wrong with one entry stands in its ``problem``: whoever receives it refuses
it by its number and goes on, for else one bad entry would stop the log for ever.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from microblog.model.errors import AnotherEpoch, BadRequest, BeyondHorizon, JIDMalformed, Refusal
from microblog.model.fanout import Told
from microblog.model.jid import JID
from microblog.wire import forms, ns
from microblog.wire.disco import Info
from microblog.wire.notification import Notice, read_notice
from microblog.wire.pubsub import NAME_MAX_CHARACTERS, read_refusal
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, Raw, serialize

ENTRIES_MAX: Final = 50
MAX_BYTES: Final = 262_144
# RFC 6120 §13.12: nobody may have a smaller limit for a stanza.
MAX_BYTES_LEAST: Final = 10_000
LOG_DAYS: Final = 30
TO_MAX: Final = 1000
FOLLOWERS_MAX: Final = 1000
NUMBER_MAX: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z")
_EPOCH: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_REASON: Final = re.compile(r"[a-z]+(?:-[a-z]+){0,5}\Z")
_REASON_MAX: Final = 64
_DIGEST_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class FanoutLimits:
    """What a node says of itself in service discovery (XEP-0128)."""

    max_bytes: int = MAX_BYTES
    max_entries: int = ENTRIES_MAX
    log_days: int = LOG_DAYS
    epoch: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened, by its number in the log. Void: there is nothing to tell, or not any more.

    ``version`` and ``digest`` name the set of those at the receiving node who follow the author; ``to`` are others
    who are named. ``problem``: what is wrong with the entry, of which then nothing but the number is to be used.
    """

    number: int
    author: JID | None = None
    audience: Told | None = None
    version: int | None = None
    digest: str = ""
    to: tuple[JID, ...] = ()
    event: Notice | None = None
    problem: str = ""

    @property
    def is_void(self) -> bool:
        """True if it only takes up its number."""
        return self.event is None and not self.problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """Entries without a gap behind ``prev``; ``last``, in the answer to a fetch, is the newest that the log has."""

    epoch: str
    prev: int
    entries: tuple[Entry, ...]
    last: int | None = None

    @property
    def upto(self) -> int:
        """The number of the last entry."""
        return self.prev + len(self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """All up to a number is in the receiver's database; ``had``: what it had before, None if it knew no such log.

    ``stale``: authors whose followers there are not the set that was named, and the version last agreed on (0: none).
    ``refused``: entries that will never be taken, and the condition of RFC 6120 §8.3.3 that says why.
    """

    epoch: str
    upto: int
    had: int | None = None
    stale: Mapping[JID, int] = field(default_factory=dict)
    unwanted: tuple[JID, ...] = ()
    refused: Mapping[int, str] = field(default_factory=dict)


class Fetch(NamedTuple):
    """What a receiver misses: at most so many entries behind a number."""

    epoch: str
    after: int
    max: int = ENTRIES_MAX


class FollowersQuery(NamedTuple):
    """Whom an author's node knows as followers at the asking domain; ``after``: where the next page begins."""

    author: JID
    after: JID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerSet:
    """A page of those followers; version and digest are of all of them."""

    author: JID
    version: int
    digest: str
    jids: tuple[JID, ...]
    more: bool = False


# discovery


def write_limits(limits: FanoutLimits) -> Element:
    """The form that stands in the answer to disco#info."""
    fields: dict[str, tuple[str, Sequence[str]]] = {
        "max-bytes": ("text-single", [str(limits.max_bytes)]),
        "max-entries": ("text-single", [str(limits.max_entries)]),
        "log-days": ("text-single", [str(limits.log_days)]),
        "epoch": ("text-single", [limits.epoch]),
    }
    return forms.write_fields(ns.FANOUT, fields)


def read_limits(info: Info) -> FanoutLimits | None:
    """What another node says; None if it does not keep to the protocol, or does not speak it."""
    if ns.FANOUT not in info.features:
        return None
    for form in info.forms:
        values = {
            child.get("var"): child.child_text(ns.DATA, "value") or "" for child in form.find_all(ns.DATA, "field")
        }
        if values.get("FORM_TYPE") != ns.FANOUT:
            continue
        try:
            limits = FanoutLimits(
                max_bytes=_integer(values.get("max-bytes"), "max-bytes"),
                max_entries=_integer(values.get("max-entries"), "max-entries"),
                log_days=_integer(values.get("log-days"), "log-days"),
                epoch=_epoch(values.get("epoch")),
            )
        except BadRequest:
            return None
        if limits.max_bytes < MAX_BYTES_LEAST or not limits.max_entries or not limits.log_days:
            return None
        # Nobody gets more at once than we would take, so no larger number is worth remembering.
        return FanoutLimits(
            max_bytes=min(limits.max_bytes, MAX_BYTES),
            max_entries=min(limits.max_entries, ENTRIES_MAX),
            log_days=min(limits.log_days, 3650),
            epoch=limits.epoch,
        )
    return None


# deliveries


def write_entry(
    number: int,
    author: JID,
    audience: Told,
    event: Raw,
    *,
    version: int | None = None,
    digest: str = "",
    to: Iterable[JID] = (),
) -> Raw:
    """An entry as text, to stand in ``write_deliver``; ``event`` is from ``notification.write_event``."""
    attributes = {"seq": str(number), "author": str(author), "audience": str(audience)}
    if version is not None:
        attributes |= {"set": str(version), "digest": digest}
    named = (Element(ns.FANOUT, "to", {"jid": str(jid)}) for jid in to)
    return Raw(serialize(Element(ns.FANOUT, "entry", attributes, *named, event), ns.FANOUT))


def write_void(number: int) -> Raw:
    """The entry of a number behind which there is nothing to tell, or not any more."""
    return Raw(f"<entry seq='{number}'/>")


def write_deliver(epoch: str, prev: int, entries: Iterable[Raw], *, last: int | None = None) -> Element:
    """Entries on their way; with ``last`` the answer to a fetch."""
    attributes = {"epoch": epoch, "prev": str(prev)}
    if last is not None:
        attributes["last"] = str(last)
    return Element(ns.FANOUT, "deliver", attributes, *entries)


def read_deliver(deliver: Element) -> Deliver:
    """Read what another node delivers. Raises BadRequest."""
    read = _deliver(deliver)
    if not read.entries:
        raise BadRequest("a delivery has at least one entry")
    return read


def read_page(deliver: Element) -> Deliver:
    """Read the answer to a fetch. Raises BadRequest."""
    if not deliver.is_(ns.FANOUT, "deliver"):
        raise BadRequest("the answer to a fetch is a delivery")
    read = _deliver(deliver)
    if read.last is None or read.last < read.upto:
        raise BadRequest("the answer to a fetch says what the last number is")
    return read


def _deliver(deliver: Element) -> Deliver:
    epoch, prev = _epoch(deliver.get("epoch")), _integer(deliver.get("prev"), "prev")
    children = list(deliver.find_all(ns.FANOUT, "entry"))
    if len(children) > ENTRIES_MAX:
        raise BadRequest(f"more than {ENTRIES_MAX} entries at once")
    for number, child in enumerate(children, prev + 1):
        if _integer(child.get("seq"), "seq") != number:
            raise BadRequest("the entries are not numbered without a gap behind prev")
    last = deliver.get("last")
    return Deliver(
        epoch=epoch,
        prev=prev,
        entries=tuple(_checked_entry(child) for child in children),
        last=None if last is None else _integer(last, "last"),
    )


def _checked_entry(child: Element) -> Entry:
    try:
        return read_entry(child)
    except BadRequest as error:
        return Entry(number=_integer(child.get("seq"), "seq"), problem=error.text)


def read_entry(child: Element) -> Entry:
    """Read one entry. Raises BadRequest."""
    number = _integer(child.get("seq"), "seq")
    if len(child.attributes) == 1 and child.first() is None:
        return Entry(number=number)
    author = _address(child.get("author"), "author")
    try:
        audience = Told(child.get("audience") or "")
    except ValueError:
        raise BadRequest("audience is public, followers, direct or holders") from None
    version, digest = child.get("set"), child.get("digest")
    if (version is None) != (digest is None):
        raise BadRequest("set and digest come together")
    if audience is Told.FOLLOWERS and version is None:
        raise BadRequest("an entry for followers names their set")
    to = _addresses(child.find_all(ns.FANOUT, "to"), TO_MAX, "to")
    if audience is Told.DIRECT and not to:
        raise BadRequest("a direct entry names its readers")
    return Entry(
        number=number,
        author=author,
        audience=audience,
        version=None if version is None else _integer(version, "set"),
        digest="" if digest is None else _digest(digest),
        to=to,
        event=_event(child),
    )


def _event(child: Element) -> Notice:
    """The one thing that an entry tells."""
    events = list(child.find_all(ns.PUBSUB_EVENT, "event"))
    if len(events) != 1:
        raise BadRequest("an entry has one event")
    told = [one for one in events[0].elements() if one.uri == ns.PUBSUB_EVENT]
    if len(told) != 1 or (told[0].name == "items" and sum(1 for _ in told[0].elements()) != 1):
        raise BadRequest("an entry tells one thing")
    notice = read_notice(events[0])
    if notice.subscription is not None:
        raise BadRequest("subscriptions are told to the subscriber")
    ids = (*(item.id for item in notice.items), *notice.retracted)
    if told[0].name == "items" and len(ids) != 1:
        raise BadRequest("the item has no id")
    if any(len(name) > NAME_MAX_CHARACTERS for name in (notice.node, *ids)):
        raise BadRequest(f"names and ids have at most {NAME_MAX_CHARACTERS} characters")
    return notice


# acknowledgements


def write_stored(stored: Stored) -> Element:
    """The answer to a delivery, once everything is committed."""
    numbers = {"upto": str(stored.upto)} | ({} if stored.had is None else {"had": str(stored.had)})
    answer = Element(ns.FANOUT, "stored", {"epoch": stored.epoch, **numbers})
    for author, have in stored.stale.items():
        attributes = {"author": str(author)} | ({"have": str(have)} if have else {})
        answer.append(Element(ns.FANOUT, "stale", attributes))
    for author in stored.unwanted:
        answer.append(Element(ns.FANOUT, "unwanted", {"author": str(author)}))
    for number, reason in stored.refused.items():
        answer.append(Element(ns.FANOUT, "refused", {"seq": str(number), "reason": reason}))
    return answer


def read_stored(answer: Element) -> Stored:
    """Read the answer to a delivery. Raises BadRequest."""
    if not answer.is_(ns.FANOUT, "stored"):
        raise BadRequest("the answer to a delivery says what is stored")
    stale: dict[JID, int] = {}
    unwanted: list[JID] = []
    refused: dict[int, str] = {}
    children = [child for child in answer.elements() if child.uri == ns.FANOUT]
    if len(children) > 3 * ENTRIES_MAX:
        raise BadRequest("more is said than was delivered")
    for child in children:
        match child.name:
            case "stale":
                stale[_address(child.get("author"), "author")] = _integer(child.get("have", "0"), "have")
            case "unwanted":
                unwanted.append(_address(child.get("author"), "author"))
            case "refused":
                refused[_integer(child.get("seq"), "seq")] = _reason(child.get("reason"))
    had = answer.get("had")
    return Stored(
        epoch=_epoch(answer.get("epoch")),
        upto=_integer(answer.get("upto"), "upto"),
        had=None if had is None else _integer(had, "had"),
        stale=stale,
        unwanted=tuple(unwanted),
        refused=refused,
    )


def _reason(text: str | None) -> str:
    if text is None or len(text) > _REASON_MAX or not _REASON.match(text):
        raise BadRequest("a reason is the name of a condition")
    return text


# catching up


def write_fetch(epoch: str, after: int, max_: int = ENTRIES_MAX) -> Element:
    """Ask for what is missing."""
    return Element(ns.FANOUT, "fetch", {"epoch": epoch, "after": str(after), "max": str(max_)})


def read_fetch(fetch: Element) -> Fetch:
    """Read such a request; nobody gets more than ``ENTRIES_MAX``. Raises BadRequest."""
    max_ = _integer(fetch.get("max", str(ENTRIES_MAX)), "max")
    if not max_:
        raise BadRequest("max is at least 1")
    return Fetch(_epoch(fetch.get("epoch")), _integer(fetch.get("after"), "after"), min(max_, ENTRIES_MAX))


def read_fetch_refusal(answer: Stanza) -> Refusal:
    """Why a fetch was refused: the log does not reach back so far, or is another one now."""
    error = answer.element.find(ns.CLIENT, "error")
    try:
        if error is not None and (horizon := error.find(ns.FANOUT, "horizon")) is not None:
            return BeyondHorizon(number=_integer(horizon.get("seq"), "seq"))
        if error is not None and (epoch := error.find(ns.FANOUT, "epoch")) is not None:
            return AnotherEpoch(epoch=_epoch(epoch.get("now")))
    except BadRequest as malformed:
        return malformed
    return read_refusal(answer)


# sets of followers


def write_followers_query(author: JID, after: JID | None = None) -> Element:
    """Ask whom an author's node knows as followers here."""
    attributes = {"author": str(author)} | ({"after": str(after)} if after is not None else {})
    return Element(ns.FANOUT, "followers", attributes)


def read_followers_query(query: Element) -> FollowersQuery:
    """Read such a question. Raises BadRequest."""
    after = query.get("after")
    author = _address(query.get("author"), "author")
    return FollowersQuery(author, None if after is None else _address(after, "after"))


def write_follower_set(page: FollowerSet) -> Element:
    """The answer: at most ``FOLLOWERS_MAX`` of them, sorted as text."""
    attributes = {"author": str(page.author), "set": str(page.version), "digest": page.digest}
    if page.more:
        attributes["more"] = "true"
    jids = (Element(ns.FANOUT, "jid", None, str(jid)) for jid in page.jids)
    return Element(ns.FANOUT, "followers", attributes, *jids)


def read_follower_set(answer: Element, author: JID) -> FollowerSet:
    """Read the answer. Raises BadRequest: also for a set of somebody else."""
    if not answer.is_(ns.FANOUT, "followers") or _address(answer.get("author"), "author") != author:
        raise BadRequest("the answer is the set that was asked for")
    children = list(answer.find_all(ns.FANOUT, "jid"))
    if len(children) > FOLLOWERS_MAX:
        raise BadRequest(f"more than {FOLLOWERS_MAX} followers at once")
    more = answer.get("more", "false")
    if more not in ("true", "false", "1", "0"):
        raise BadRequest("more is true or false")
    return FollowerSet(
        author=author,
        version=_integer(answer.get("set"), "set"),
        digest=_digest(answer.get("digest") or ""),
        jids=tuple(dict.fromkeys(_address(child.text, "jid") for child in children)),
        more=more in ("true", "1"),
    )


# values


def _integer(text: str | None, what: str) -> int:
    if text is None or not _NUMBER.match(text) or int(text) > NUMBER_MAX:
        raise BadRequest(f"{what} is a number from 0 to {NUMBER_MAX}")
    return int(text)


def _epoch(text: str | None) -> str:
    if text is None or not _EPOCH.match(text):
        raise BadRequest("an epoch has 1 to 64 letters, digits, hyphens and underscores")
    return text


def _digest(text: str) -> str:
    try:
        data = base64.b64decode(text, validate=True) if len(text) == 44 else b""
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != _DIGEST_BYTES or base64.b64encode(data).decode() != text:
        raise BadRequest("a digest is a SHA-256 in base64")
    return text


def _address(text: str | None, what: str) -> JID:
    try:
        jid = JID.parse(text or "")
    except JIDMalformed:
        jid = None
    if jid is None or not jid.is_bare:
        raise BadRequest(f"{what} is an address without a resource")
    return jid


def _addresses(children: Iterable[Element], most: int, what: str) -> tuple[JID, ...]:
    found = [_address(child.get("jid"), what) for child in children]
    if len(found) > most:
        raise BadRequest(f"more than {most} addresses in one entry")
    return tuple(dict.fromkeys(found))
