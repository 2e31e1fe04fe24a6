"""Words about who one is, and who others are: ``nick``, ``bio``, ``avatar``, ``move``, ``whois``.

What is said here is said in every form in which clients look for it (``usecases.profiling``). The picture comes from a
vCard: a client of an account here sets it itself, for an address elsewhere it is fetched from there.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Final, Protocol

from microblog.commands.command import Answer, Call, Command, Kind, Parameter
from microblog.commands.texts import say
from microblog.model.errors import Conflict, NotAcceptable, ResourceConstraint
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.profile import BIO_MAX_CHARACTERS, NICKNAME_MAX_CHARACTERS, Profile
from microblog.model.subscription import SubscriptionState
from microblog.store.database import Database
from microblog.usecases import profiling
from microblog.usecases.profiling import Change, Relation
from microblog.wire.vcard import Nodes

GROUP: Final = "profile"
NOTHING: Final = "-"
HERE: Final = "here"
SHOWN_MAX_CHARACTERS: Final = 300


class Remote(Protocol):
    """Asks other servers (``xep.vcard``)."""

    def profile(self, asker: JID, jid: JID) -> Awaitable[Profile | None]:
        """What somebody says of themselves, without a picture."""

    def temp(self, asker: JID, jid: JID) -> Awaitable[Profile | None]:
        """The old form alone, with the picture."""


class Mover(Protocol):
    """Tells others of another address (``xep.moved``)."""

    def move(self, account: JID, to: JID) -> Awaitable[int]:
        """Somebody has another address; how many here are told. Raises Refusal."""

    def take_back(self, account: JID) -> Awaitable[bool]:
        """They are where they were; False if they had not moved."""


class ProfileWords:
    """The commands. ``proof``: how a domain proved to be itself, None if there is no stream to it now."""

    def __init__(self, database: Database, remote: Remote, proof: Callable[[str], Proof | None], mover: Mover) -> None:
        self._mover = mover
        self._database = database
        self._remote = remote
        self._proof = proof

    def commands(self) -> Iterable[Command]:
        """All of them."""
        text = Parameter(name="text", kinds=(Kind.TEXT,), required=False)
        yield Command(name="nick", group=GROUP, function=self.nick, parameters=(text,))
        yield Command(name="bio", group=GROUP, function=self.bio, parameters=(text,))
        yield Command(name="avatar", group=GROUP, function=self.avatar, alone=True)
        yield Command(
            name="move",
            group=GROUP,
            function=self.move,
            parameters=(Parameter(name="address", kinds=(Kind.CHOICE, Kind.ADDRESS), choices=(HERE,)),),
            destructive=True,
        )
        yield Command(
            name="whois",
            group=GROUP,
            function=self.whois,
            parameters=(Parameter(name="name", kinds=(Kind.PERSON,)),),
            aliases=("who",),
        )

    async def nick(self, call: Call) -> Answer:
        """``nick``, ``nick TEXT``, ``nick -``."""
        text: str | None = call.get("text")
        if text is None:
            return _now(call, "nick", (await self._own(call)).nickname)
        nickname = " ".join(text.split())
        if len(nickname) > NICKNAME_MAX_CHARACTERS:
            raise NotAcceptable(_text(call, "too_long", most=NICKNAME_MAX_CHARACTERS))
        nickname = "" if nickname == NOTHING else nickname
        return _now(call, "nick", (await self._change(call, lambda one: replace(one, nickname=nickname))).nickname)

    async def bio(self, call: Call) -> Answer:
        """``bio``, ``bio TEXT``, ``bio -``."""
        text: str | None = call.get("text")
        if text is None:
            return _now(call, "bio", (await self._own(call)).bio)
        if len(text) > BIO_MAX_CHARACTERS:
            raise NotAcceptable(_text(call, "too_long", most=BIO_MAX_CHARACTERS))
        bio = "" if text.strip() == NOTHING else text.strip()
        return _now(call, "bio", (await self._change(call, lambda one: replace(one, bio=bio))).bio)

    async def avatar(self, call: Call) -> Answer:
        """For an address elsewhere: the picture from there. For one here: which there is."""
        if not call.person.linked:
            there = (await self._own(call)).avatar is not None
            return Answer(text=_text(call, "picture_is_there" if there else "no_picture"))
        address = call.person.address.bare
        card = await self._remote.temp(call.person.jid, address)
        if card is None or card.avatar is None:
            raise NotAcceptable(_text(call, "no_picture_there", address=address))
        avatar = card.avatar
        await self._change(call, lambda one: replace(one, avatar=avatar))
        return Answer(text=_text(call, "picture_taken", address=address, size=len(avatar.data), type=avatar.type))

    async def move(self, call: Call) -> Answer:
        """``move ADDRESS``: all followers are told; ``move here`` takes it back."""
        to: JID | str = call.get("address")
        account = call.person.jid
        if not isinstance(to, JID):
            if not await self._mover.take_back(account):
                raise NotAcceptable(_text(call, "not_moved"))
            return Answer(text=_text(call, "moved_back"))
        try:
            await self._mover.move(account, to)
        except NotAcceptable:
            raise NotAcceptable(_text(call, "nowhere", address=to)) from None
        except Conflict:
            raise Conflict(_text(call, "moved_already", address=to)) from None
        except ResourceConstraint:
            raise ResourceConstraint(_text(call, "moved_just_now")) from None
        return Answer(text=_text(call, "moved", address=to))

    async def whois(self, call: Call) -> Answer:
        """Who somebody is, where they live, and who follows whom."""
        jid: JID = call.get("name")
        relation = await self._database.read(profiling.relation, call.person.jid, jid)
        here = jid.domainpart == self._database.domain
        if here:
            # As who they come as: an address elsewhere is not told what stays here.
            profile = await self._database.read(profiling.seen, jid, call.person.address)
            if profile is None:
                raise NotAcceptable(_text(call, "nobody", jid=jid))
        else:
            profile = await self._remote.profile(call.person.jid, jid)
        lines = [self._headline(jid, profile)]
        if profile is not None and profile.bio:
            lines.append(f'"{_shortened(profile.bio)}"')
        lines.append(_text(call, "here", domain=jid.domainpart) if here else self._where(call, jid))
        if profile is None:
            lines.append(_text(call, "no_profile"))
        if jid == call.person.jid:
            lines.append(_text(call, "you"))
        else:
            lines.extend(self._relation(call, relation))
        form = [("address", str(jid))]
        if profile is not None:
            form += [(name, value) for name, value in (("nick", profile.name), ("bio", profile.bio)) if value]
        form.append(("relation", "\n".join(lines[-1 if jid == call.person.jid else -2 :])))
        return Answer(text="\n".join(lines), form=tuple(form))

    def _headline(self, jid: JID, profile: Profile | None) -> str:
        name = "" if profile is None else profile.name
        full = "" if profile is None or profile.full_name == name else profile.full_name
        names = ", ".join(part for part in (name, full) if part)
        return f"{jid} ({names})" if names else str(jid)

    def _where(self, call: Call, jid: JID) -> str:
        proof = self._proof(jid.domainpart)
        known = {Proof.CERTIFICATE: "verified", Proof.DIALBACK: "by_dialback"}
        return _text(call, "not_verified" if proof is None else known[proof], domain=jid.domainpart)

    def _relation(self, call: Call, relation: Relation) -> list[str]:
        follows = {
            SubscriptionState.SUBSCRIBED: "you_follow",
            SubscriptionState.PENDING: "you_asked",
        }
        followed = {
            SubscriptionState.SUBSCRIBED: "they_follow",
            SubscriptionState.PENDING: "they_asked",
        }
        return [
            _text(call, follows.get(relation.follows, "you_do_not_follow")),
            _text(call, followed.get(relation.followed, "they_do_not_follow")),
        ]

    async def _own(self, call: Call) -> Profile:
        return await self._database.read(profiling.own, call.person.jid)

    async def _change(self, call: Call, become: Callable[[Profile], Profile]) -> Profile:
        change = Change(account=call.person.jid, become=become, codec=Nodes())
        return await self._database.write(profiling.change, change)


def _now(call: Call, what: str, value: str) -> Answer:
    text = _text(call, f"{what}_is", value=value) if value else _text(call, f"no_{what}")
    return Answer(text=text, form=((what, value),) if value else ())


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN_MAX_CHARACTERS else line[: SHOWN_MAX_CHARACTERS - 1] + "…"


def _text(call: Call, text: str, **values: object) -> str:
    return say(call.person.language, f"{GROUP}.{text}", **values)
