"""Words about following: whom one follows, and who follows oneself.

``follow`` and ``leave`` go to feeds here and elsewhere alike; ``allow``, ``deny`` and ``lose`` are the owner's, said by
the owner; ``following`` also tells what is wrong with a follow. Lists come in pages.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NoReturn, Protocol

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person
from microblog.commands.texts import has, say
from microblog.model.account import Account
from microblog.model.errors import (
    ClosedNode,
    Conflict,
    FeatureNotImplemented,
    Forbidden,
    Gone,
    ItemNotFound,
    NotAcceptable,
    NotAllowed,
    NotAuthorized,
    NotSubscribed,
    PendingSubscription,
    PresenceSubscriptionRequired,
    Refusal,
    RemoteServerNotFound,
    RemoteServerTimeout,
    ResourceConstraint,
    ServiceUnavailable,
)
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import Subscription, SubscriptionState
from microblog.store.database import Database, Transaction
from microblog.usecases import following, moving, owning, subscribing, tagging
from microblog.usecases.following import Followed
from microblog.wire import notification
from microblog.wire.moved import read_gone

PAGE: Final = 20
DECISIONS_MAX: Final = 100
_GROUP: Final = "following"
_ALL: Final = "all"
_PUBLIC: Final = "public"
_PRIVATE: Final = "private"
# What a refusal to be followed means to people, most exact first.
_REFUSALS: Final[Sequence[tuple[type[Refusal], str]]] = (
    (PendingSubscription, "pending"),
    (PresenceSubscriptionRequired, "contacts_only"),
    (ClosedNode, "closed"),
    (Forbidden, "closed"),
    (NotAllowed, "closed"),
    (NotAuthorized, "closed"),
    (ItemNotFound, "nobody"),
    (Gone, "gone"),
    (RemoteServerNotFound, "away"),
    (RemoteServerTimeout, "away"),
    (ServiceUnavailable, "no_feed"),
    (FeatureNotImplemented, "no_feed"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What became of a list of feeds; ``left``: so many are still being asked."""

    followed: int
    pending: int
    known: int
    failed: tuple[JID, ...]
    left: int


class Follows(Protocol):
    """How feeds here and elsewhere are followed."""

    def follow(self, account: JID, service: JID, *, public: bool | None = None) -> Awaitable[Followed]:
        """Follow somebody. Raises Refusal."""

    def unfollow(self, account: JID, service: JID) -> Awaitable[None]:
        """Follow them no longer. Raises Refusal."""

    def follow_tag(self, account: Account, tag: str) -> Awaitable[None]:
        """Follow a tag. Raises Refusal."""

    def leave_tag(self, account: Account, tag: str) -> Awaitable[None]:
        """Follow it no longer. Raises Refusal."""


class Importer(Protocol):
    """How a list of feeds is followed."""

    def take(self, account: JID, address: JID) -> Awaitable[Imported]:
        """Follow whom somebody says they follow. Raises Refusal."""


class FollowingWords:
    """The commands."""

    def __init__(self, database: Database, follows: Follows, importer: Importer) -> None:
        self._database = database
        self._follows = follows
        self._importer = importer

    def commands(self) -> Iterable[Command]:
        """All of them."""
        person = Parameter(name="person", kinds=(Kind.PERSON,))
        followed = Parameter(name="person", kinds=(Kind.PERSON, Kind.TAG))
        follower = Parameter(name="person", kinds=(Kind.CHOICE, Kind.PERSON), choices=(_ALL,))
        seen = Parameter(name="seen", kinds=(Kind.CHOICE,), choices=(_PUBLIC, _PRIVATE), required=False)
        address = Parameter(name="address", kinds=(Kind.ADDRESS,), required=False)
        yield self._command("follow", self.follow, followed, seen, aliases=("sub", "f", "add"))
        yield self._command("leave", self.leave, followed, aliases=("unfollow", "unsub", "part"))
        yield self._command("allow", self.allow, follower)
        yield self._command("deny", self.deny, follower)
        yield self._command("lose", self.lose, person, aliases=("drop follower",), destructive=True)
        yield self._command("requests", self.requests, alone=True)
        yield self._command("following", self.following, aliases=("subscriptions",), alone=True)
        yield self._command("followers", self.followers, aliases=("subscribers",), alone=True)
        yield self._command("stats", self.stats, alone=True)
        yield self._command("import", self.import_list, address)

    def _command(
        self,
        name: str,
        function: Callable[[Call], Awaitable[Answer]],
        *parameters: Parameter,
        aliases: tuple[str, ...] = (),
        destructive: bool = False,
        alone: bool = False,
    ) -> Command:
        return Command(
            name=name,
            group=_GROUP,
            function=function,
            parameters=parameters,
            aliases=aliases,
            destructive=destructive,
            alone=alone,
        )

    # whom one follows

    async def follow(self, call: Call) -> Answer:
        """``follow NAME [public|private]``, ``follow #TAG``."""
        person, service = call.person, call.arguments["person"]
        if isinstance(service, str):
            return await self._follow_tag(person, service, call.get("seen"))
        name = self._name(service)
        if service == person.jid:
            raise NotAllowed(_text(person, "oneself"))
        seen = call.get("seen")
        try:
            followed = await self._follows.follow(person.jid, service, public=None if seen is None else seen == _PUBLIC)
        except Refusal as refusal:
            new = read_gone(refusal.uri) if isinstance(refusal, Gone) else None
            if new is not None:
                raise Gone(_text(person, "moved_to", name=name, new=self._name(new))) from None
            self._refuse(person, refusal, name)
        if followed.state is SubscriptionState.PENDING:
            return _said(person, "asked", name=name)
        return _said(person, "followed_public" if seen == _PUBLIC else "followed", name=name)

    async def leave(self, call: Call) -> Answer:
        """``leave NAME``, ``leave #TAG``."""
        person, service = call.person, call.arguments["person"]
        if isinstance(service, str):
            return await self._leave_tag(person, service)
        try:
            await self._follows.unfollow(person.jid, service)
        except (NotSubscribed, ItemNotFound):
            implicit = await self._database.read(_implicit, person.jid, service)
            text = "by_presence" if implicit else "not_followed"
            raise NotSubscribed(_text(person, text, name=self._name(service))) from None
        return _said(person, "left", name=self._name(service))

    async def _follow_tag(self, person: Person, tag: str, seen: str | None) -> Answer:
        if seen == _PUBLIC:
            raise NotAcceptable(_text(person, "tag_private", tag=tag))
        try:
            await self._follows.follow_tag(person.account, tag)
        except ResourceConstraint:
            raise ResourceConstraint(_text(person, "tags_max", number=tagging.TAGS_MAX)) from None
        return _said(person, "tag_followed", tag=tag)

    async def _leave_tag(self, person: Person, tag: str) -> Answer:
        try:
            await self._follows.leave_tag(person.account, tag)
        except NotSubscribed:
            raise NotSubscribed(_text(person, "not_followed", name=f"#{tag}")) from None
        return _said(person, "tag_left", tag=tag)

    async def following(self, call: Call) -> Answer:
        """``following``: the feeds, with what is wrong with them, and the tags."""
        return await self._list(call.person, "following_all", self._following_lines, call)

    async def _following_lines(self, person: Person) -> list[tuple[str, str]]:
        followed = await self._database.read(following.follows, person.jid)
        found = [one for one in followed if one.node.name == MICROBLOG]
        found.sort(key=lambda one: (not one.problem, str(one.node.service)))
        moved = await self._database.read(moving.moved, [one.node.service for one in found])
        rows = [(self._name(one.node.service), self._condition(person, one, moved)) for one in found]
        return [*rows, *((f"#{tag}", "") for tag in await self._database.read(tagging.tags, person.jid))]

    def _condition(self, person: Person, followed: Followed, moved: Mapping[JID, JID]) -> str:
        new = moved.get(followed.node.service)
        return _condition(person, followed) if new is None else _text(person, "state.moved", new=self._name(new))

    async def import_list(self, call: Call) -> Answer:
        """``import [ADDRESS]``: follow whom somebody, or oneself at another client, says to follow."""
        person = call.person
        address = call.get("address") or person.jid
        try:
            done = await self._importer.take(person.jid, address)
        except (RemoteServerNotFound, RemoteServerTimeout):
            raise RemoteServerNotFound(_text(person, "away", name=self._name(address))) from None
        except Refusal:
            raise ItemNotFound(_text(person, "no_list", name=self._name(address))) from None
        parts = [_text(person, "imported", number=done.followed)]
        for text, number in (("imported_pending", done.pending), ("imported_known", done.known)):
            parts += [_text(person, text, number=number)] if number else []
        if done.failed:
            names = ", ".join(self._name(jid) for jid in done.failed[:PAGE])
            parts.append(_text(person, "imported_failed", number=len(done.failed), names=names))
        parts += [_text(person, "imported_left", number=done.left)] if done.left else []
        return Answer(text=" ".join(parts))

    # who follows oneself

    async def allow(self, call: Call) -> Answer:
        """``allow NAME``, ``allow all``."""
        return await self._decide(call, allow=True)

    async def deny(self, call: Call) -> Answer:
        """``deny NAME``, ``deny all``."""
        return await self._decide(call, allow=False)

    async def _decide(self, call: Call, *, allow: bool) -> Answer:
        person, who = call.person, call.arguments["person"]
        waiting = await self._database.read(_waiting, person.jid)
        chosen = [one for one in waiting if who == _ALL or one.jid.bare == who][:DECISIONS_MAX]
        if not chosen:
            text = "nobody_waits" if who == _ALL else "does_not_wait"
            raise NotSubscribed(_text(person, text, name="" if who == _ALL else self._name(who)))
        for one in chosen:
            wanted = subscribing.Decide(
                service=person.jid,
                node=one.node,
                actor=person.jid,
                jid=one.jid,
                allow=allow,
                notice=notification.decision,
            )
            await self._database.write(subscribing.decide, wanted)
        names = dict.fromkeys(self._name(one.jid.bare) for one in chosen)
        return _said(person, "allowed" if allow else "denied", names=", ".join(names))

    async def lose(self, call: Call) -> Answer:
        """``lose NAME``: somebody follows no longer, and is told."""
        person, follower = call.person, call.arguments["person"]
        name = self._name(follower)
        addresses = await self._database.read(_addresses, person.jid, follower)
        if not addresses:
            raise NotSubscribed(_text(person, "no_follower", name=name))
        wanted = owning.SetSubscriptions(
            service=person.jid,
            node=MICROBLOG,
            actor=person.jid,
            changes=tuple((jid, SubscriptionState.NONE, None) for jid in addresses),
            notice=notification.decision,
        )
        await self._database.write(owning.set_subscriptions, wanted)
        contact = await self._database.read(_sees_presence, person.jid, follower)
        return _said(person, "lost_contact" if contact else "lost", name=name)

    async def requests(self, call: Call) -> Answer:
        """``requests``: who waits for a decision."""
        return await self._list(call.person, "requests_all", self._request_lines, call)

    async def _request_lines(self, person: Person) -> list[tuple[str, str]]:
        waiting = await self._database.read(_waiting, person.jid)
        return [(name, "") for name in dict.fromkeys(self._name(one.jid.bare) for one in waiting)]

    async def followers(self, call: Call, after: str = "") -> Answer:
        """``followers``, a page at a time."""
        person = call.person
        wanted = subscribing.Followers(service=person.jid, after=after, max=PAGE + 1)
        found = await self._database.read(subscribing.followers, wanted)
        names = list(dict.fromkeys(self._name(jid.bare) for jid in found[:PAGE]))
        if not names and not after:
            return _said(person, "followers_none")
        more = partial(self.followers, after=str(found[PAGE - 1])) if len(found) > PAGE else None
        lines = ["\n".join(names)]
        if not after:
            count = (await self._database.read(following.stats, person.jid)).followers
            lines.insert(0, _text(person, "followers_all", number=count))
        lines += [_text(person, "more")] if more else []
        return Answer(text="\n".join(lines), more=more, form=tuple((name, "") for name in names))

    async def stats(self, call: Call) -> Answer:
        """``stats``: numbers."""
        person = call.person
        found = await self._database.read(following.stats, person.jid)
        numbers = [("following", found.following), ("followers", found.followers), ("posts", found.posts)]
        numbers += [(name, number) for name, number in _extra(found) if number]
        form = tuple((_text(person, f"count.{name}"), str(number)) for name, number in numbers)
        return Answer(text="\n".join(f"{label}: {number}" for label, number in form), form=form)

    # lists

    async def _list(
        self,
        person: Person,
        heading: str,
        read: Callable[[Person], Awaitable[list[tuple[str, str]]]],
        call: Call,
        at: int = 0,
    ) -> Answer:
        rows = await read(person)
        if not rows:
            return _said(person, heading.replace("_all", "_none"))
        page = rows[at : at + PAGE]
        lines = [f"{name}: {note}" if note else name for name, note in page]
        if not at:
            lines.insert(0, _text(person, heading, number=len(rows)))
        more = None
        if len(rows) > at + PAGE:
            lines.append(_text(person, "more"))
            more = partial(self._go_on, heading, read, at + PAGE)
        return Answer(text="\n".join(lines), more=more, form=tuple(page))

    async def _go_on(
        self, heading: str, read: Callable[[Person], Awaitable[list[tuple[str, str]]]], at: int, call: Call
    ) -> Answer:
        return await self._list(call.person, heading, read, call, at)

    def _name(self, jid: JID) -> str:
        """How somebody is called here: by their name if they are of this domain, else by their address."""
        return jid.localpart if jid.localpart and jid.domainpart == self._database.domain else str(jid)

    def _refuse(self, person: Person, refusal: Refusal, name: str) -> NoReturn:
        """Say in the person's words why not."""
        if isinstance(refusal, PendingSubscription):
            raise Conflict(_text(person, "pending", name=name)) from None
        for kind, text in _REFUSALS:
            if isinstance(refusal, kind):
                raise type(refusal)(_text(person, text, name=name)) from None
        raise refusal


def _extra(found: following.Stats) -> Sequence[tuple[str, int]]:
    tracks = ("tracks", found.tracks)
    return (("pending", found.pending), ("waiting", found.waiting), ("troubled", found.troubled), tracks)


def _condition(person: Person, followed: Followed) -> str:
    """What there is to say of a follow."""
    if followed.problem:
        text = f"problem.{followed.problem}"
        return _text(person, text if has(f"{_GROUP}.{text}") else "problem.other", problem=followed.problem)
    if followed.state is SubscriptionState.PENDING:
        return _text(person, "state.pending")
    return _text(person, "state.presence") if followed.implicit else ""


def _said(person: Person, text: str, **values: object) -> Answer:
    return Answer(text=_text(person, text, **values))


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.{text}", **values)


def _waiting(tx: Transaction, account: JID) -> tuple[Subscription, ...]:
    return subscribing.pending(tx, subscribing.Pending(service=account, actor=account, node=MICROBLOG))


def _implicit(tx: Transaction, account: JID, service: JID) -> bool:
    """Does the account hear of a feed because it is a contact's?"""
    contact = tx.contacts.get(account, service)
    return contact is not None and contact.is_seen


def _addresses(tx: Transaction, account: JID, follower: JID) -> tuple[JID, ...]:
    """The addresses under which somebody follows an account."""
    node = tx.nodes.find(account, MICROBLOG)
    return () if node is None else tuple(one.jid for one in tx.subscriptions.of_bare(node, follower))


def _sees_presence(tx: Transaction, account: JID, jid: JID) -> bool:
    contact = tx.contacts.get(account, jid)
    return contact is not None and contact.sees_us
