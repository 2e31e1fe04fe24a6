"""Words for where and when: ``place``, ``places``, ``at``, ``near``, ``rule``, ``rules``, ``unrule``.

Where somebody is is nobody's business: ``place`` is a private word, and what it does is told to the node alone. Whoever
makes a rule that goes by where another is has them asked, in a line of chat.
"""

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Post
from microblog.commands.lines import name_of, plain
from microblog.commands.posting import Posting, sent
from microblog.commands.texts import say
from microblog.model.access import audiences_allowed
from microblog.model.draft import Draft
from microblog.model.entry import Entry, Location
from microblog.model.errors import BadRequest, Forbidden, ItemNotFound, NotAcceptable, Refusal, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.place import HERE, METRES, Located, Place, fold_place, title_of
from microblog.model.query import Circle, distance, point
from microblog.model.rule import Rule
from microblog.store.database import Database, Transaction
from microblog.store.places import Consent
from microblog.usecases import acting, chatting, locating, ruling
from microblog.usecases.ruling import Listed
from microblog.usecases.settling import SETTINGS
from microblog.wire import atom

_GROUP: Final = "places"
_LIMIT: Final = "limit"
_MICRO: Final = 1_000_000
_ALL: Final = "all"
RULE_SHOWN_CHARACTERS: Final = 200
_NAMED: Final = re.compile(r"(?P<name>\S.*?)\s+is\s+(?:at\s+)?(?P<where>[-+\d]\S*)(?P<rest>(?:\s+\S+)*)", re.I | re.S)
_SHARE: Final = re.compile(r"share(?:\s+(?P<how>\S+))?", re.I)
_FORGET: Final = re.compile(r"forget\s+(?P<name>\S.*)", re.I | re.S)
_ANSWER: Final = re.compile(r"(?P<word>allow|deny)\s+(?P<name>\S+)", re.I)
_FAR: Final = re.compile(r"(?P<place>\S.*?)\s+(?P<far>[0-9.]+\s?k?m)", re.I | re.S)
_SHARED: Final = "shared"


@dataclass(frozen=True, slots=True)
class Hands:
    """What the words need of the house. ``changed``: rules, or where somebody is; ``ended``: rules, by their keys;
    ``sharing``: somebody is about to share where they are. ``tell`` says a line to somebody."""

    changed: Callable[[], None]
    ended: Callable[[Iterable[int]], None]
    sharing: Callable[[], None]
    tell: Callable[[JID, str], Awaitable[None]]


class PlaceWords:
    """The commands."""

    def __init__(self, database: Database, posting: Posting, hands: Hands) -> None:
        self._database = database
        self._posting = posting
        self._hands = hands

    def commands(self) -> Iterable[Command]:
        """All of them."""
        text = Parameter(name="text", kinds=(Kind.TEXT,))
        yield Command(
            name="place",
            group=_GROUP,
            function=self.place,
            private=True,
            parameters=(Parameter(name="text", kinds=(Kind.TEXT,), required=False),),
        )
        yield Command(name="places", group=_GROUP, function=self.places, alone=True)
        yield Command(
            name="at",
            group=_GROUP,
            function=self.at,
            posting=True,
            parameters=(Parameter(name="place", kinds=(Kind.TOPIC,)), text),
        )
        yield Command(
            name="near", group=_GROUP, function=self.near, parameters=(Parameter(name="place", kinds=(Kind.TEXT,)),)
        )
        yield Command(name="rule", group=_GROUP, function=self.rule, parameters=(text,))
        yield Command(
            name="rules",
            group=_GROUP,
            function=self.rules,
            parameters=(Parameter(name="which", kinds=(Kind.TEXT,), required=False),),
        )
        yield Command(
            name="unrule",
            group=_GROUP,
            function=self.unrule,
            parameters=(
                Parameter(name="number", kinds=(Kind.NUMBER, Kind.CHOICE), choices=(_ALL,)),
                Parameter(name="person", kinds=(Kind.PERSON,), required=False),
            ),
        )

    # places

    async def place(self, call: Call) -> Answer:
        """``place NAME is POINT [METRES]``, ``place NAME``, ``place off``, and what else is said of oneself."""
        person, text = call.person, " ".join(str(call.get("text", "")).split())
        word = text.casefold()
        if not text:
            return await self._where(person)
        if word == "off":
            await self._database.write(acting.leave, person.account)
            self._hands.changed()
            return Answer(text=_text(person, "place.off"))
        if (shared := _SHARE.fullmatch(text)) is not None:
            return await self._share(person, (shared["how"] or "").casefold())
        if (forgotten := _FORGET.fullmatch(text)) is not None:
            return await self._forget(person, forgotten["name"])
        if (answered := _ANSWER.fullmatch(text)) is not None:
            return await self._answer(person, answered["name"], answered["word"].casefold() == "allow")
        if (named := _NAMED.fullmatch(text)) is not None:
            return await self._name(person, named["name"], named["where"], named["rest"].split())
        return await self._be(person, text)

    async def _where(self, person: Person) -> Answer:
        known = await self._database.read(locating.known, person.account)
        if known.located is None:
            return Answer(text=_text(person, "place.unknown"))
        return Answer(text=_located(person, known.located))

    async def _name(self, person: Person, name: str, where: str, rest: list[str]) -> Answer:
        if where.endswith(",") and rest:
            where += rest.pop(0)
        title, at = title_of(name), point(where)
        if title is None:
            raise NotAcceptable(_text(person, "place.bad_name", name=name[:80]))
        shared = bool(rest) and rest[-1].casefold() == _SHARED
        far = "".join(rest[:-1] if shared else rest)
        metres = distance(far) if far else METRES
        if at is None or metres is None:
            raise NotAcceptable(_text(person, "place.bad_point", written=" ".join((where, *rest))[:80]))
        place = Place(title=title, latitude=at[0], longitude=at[1], metres=metres, shared=shared)
        try:
            kept = await self._database.write(locating.name_place, person.account, place)
        except NotAcceptable as error:
            raise NotAcceptable(_text(person, "place.bad_size")) from error
        except Forbidden as error:
            raise Forbidden(_text(person, "place.not_yours")) from error
        except ResourceConstraint as error:
            raise ResourceConstraint(_text(person, "place.too_many")) from error
        return Answer(text=_text(person, "place.named", title=kept.title, where=_written(kept.circle)))

    async def _be(self, person: Person, name: str) -> Answer:
        circle = await self._database.read(locating.find, person.account.key, name)
        if circle is None:
            raise ItemNotFound(_text(person, "place.no_place", name=name[:80]))
        await self._database.write(_be, person, circle)
        self._hands.changed()
        return await self._where(person)

    async def _share(self, person: Person, how: str) -> Answer:
        if how not in ("on", "off"):
            raise NotAcceptable(_text(person, "place.on_or_off"))
        on = how == "on"
        if on:
            self._hands.sharing()
        await self._database.write(acting.share, person.account, on, atom.read_geoloc)
        self._hands.changed()
        return Answer(text=_text(person, "place.sharing" if on else "place.not_sharing"))

    async def _forget(self, person: Person, name: str) -> Answer:
        try:
            await self._database.write(locating.forget_place, person.account, name)
        except ItemNotFound as error:
            raise ItemNotFound(_text(person, "place.not_there", name=name[:80])) from error
        return Answer(text=_text(person, "place.forgotten", title=name[:80]))

    async def _answer(self, person: Person, name: str, allowed: bool) -> Answer:
        localpart, _, domain = name.removeprefix("@").partition("@")
        by = None
        if domain in ("", self._database.domain):
            by = await self._database.read(chatting.account_named, localpart)
        try:
            if by is None:
                raise ItemNotFound("nobody")
            await self._database.write(locating.answer, person.account, by, allowed)
        except ItemNotFound as error:
            raise ItemNotFound(_text(person, "place.nobody", name=name[:80])) from error
        except ResourceConstraint as error:
            raise ResourceConstraint(_text(person, "place.too_many_people")) from error
        self._hands.changed()
        return Answer(text=_text(person, "place.allowed" if allowed else "place.denied", name=by.localpart))

    async def places(self, call: Call) -> Answer:
        """``places``: all that one has told of them."""
        person = call.person
        known = await self._database.read(locating.known, person.account)
        lines = [_text(person, "places.line", title=one.title, where=_written(one.circle)) for one in known.own]
        own = {fold_place(one.title) for one in known.own}
        for one in known.everybodys:
            if fold_place(one.title) not in own:
                lines.append(_text(person, "places.everybodys", title=one.title, where=_written(one.circle)))
        lines = lines or [_text(person, "places.none")]
        if known.located is not None:
            lines.append(_located(person, known.located))
        for consent in (Consent.ALLOWED, Consent.ASKED):
            names = ", ".join(by.localpart for by, said in known.consents if said is consent)
            if names:
                lines.append(_text(person, f"places.{consent}", names=names))
        return Answer(text="\n".join(lines))

    # posts

    async def at(self, call: Call) -> Answer:
        """``at PLACE: TEXT``: a post that says where it is."""
        person, name = call.person, call.arguments["place"]
        circle = await self._database.read(locating.find, person.account.key, name)
        if circle is None:
            here = fold_place(name) == HERE
            raise ItemNotFound(_text(person, "at.nowhere" if here else "at.no_place", name=name[:80]))
        title = circle.name
        if title == HERE:
            known = await self._database.read(locating.known, person.account)
            title = known.located.text if known.located is not None else ""
        where = Location(latitude=circle.latitude / _MICRO, longitude=circle.longitude / _MICRO, text=title)
        posted = await self._posting.post(call, Draft(text=call.arguments["text"], location=where))
        return sent(call, posted, await self._posting.reached(posted))

    async def near(self, call: Call) -> Answer:
        """``near PLACE [5km]``: the newest posts from there, the newest at the bottom."""
        person, text = call.person, " ".join(str(call.arguments["place"]).split())
        far = _FAR.fullmatch(text)
        metres = distance(far["far"].replace(" ", "")) if far is not None else None
        name = far["place"] if far is not None and metres is not None else text
        circle = await self._database.read(locating.find, person.account.key, name)
        if circle is None:
            raise ItemNotFound(_text(person, "near.no_place", name=name[:80]))
        if metres is not None:
            circle = Circle(latitude=circle.latitude, longitude=circle.longitude, metres=metres, name=circle.name)
        return await self._near(circle, name, 1 << 62, call)

    async def _near(self, circle: Circle, name: str, before: int, call: Call) -> Answer:
        person = call.person
        wanted = locating.Near(
            actor=person.jid,
            circle=circle,
            most=await self._database.read(_limit, person.account.key),
            before=before,
            audiences=audiences_allowed(person.address.domainpart, local_domain=self._database.domain),
        )
        page = await self._database.read(locating.near, wanted)
        posts = tuple(
            Post(node=node, item=item, entry=atom.read_text(item.payload) or Entry()) for node, item in page.posts
        )
        more = partial(self._near, circle, name, page.more) if page.more is not None else None
        if more is not None:
            return Answer(text=say(person.language, "reading.older"), posts=posts[::-1], more=more)
        if not posts:
            first = before == 1 << 62
            return Answer(text=_text(person, "near.none" if first else "near.no_more", name=name[:80]))
        return Answer(posts=posts[::-1])

    # rules

    async def rule(self, call: Call) -> Answer:
        """``rule when X then Y``."""
        person = call.person
        request = ruling.Make(account=person.account, text=call.arguments["text"])
        try:
            made = await self._database.write(ruling.make, request)
        except NotAcceptable as error:
            raise NotAcceptable(f"{error.text} {_text(person, 'rule.hint')}") from error
        self._hands.changed()
        domain = self._database.domain
        lines = [_text(person, "rule.made", number=made.number, rule=shown(made.rule))]
        if made.asks is not None:
            lines.append(_text(person, "rule.asked", name=name_of(made.asks, domain)))
            place = made.rule.circle
            where = _written(place) if place is not None else ""
            named = f"{place.name} ({where})" if place is not None and place.name else where
            asked = say(made.language, "places.asks.line", name=name_of(person.jid, domain), place=named)
            await self._hands.tell(made.asks, asked)
        elif made.waits is not None:
            lines.append(_text(person, "rule.waits", name=name_of(made.waits, domain)))
        return Answer(text="\n".join(lines))

    async def rules(self, call: Call) -> Answer:
        """``rules [about me]``."""
        person, which = call.person, " ".join(str(call.get("which", "")).casefold().split()).rstrip(".?!")
        if which == "about me":
            about = await self._database.read(ruling.about, person.account)
            if not about:
                return Answer(text=_text(person, "rules.none_about"))
            lines = [self._line(person, listed, "rules.about") for listed in about]
            return Answer(text="\n".join((*lines, _text(person, "rules.how_to_end"))))
        if which:
            raise NotAcceptable(f"{_text(person, 'rules.other')} {_text(person, 'rule.hint')}")
        own = await self._database.read(ruling.own, person.account)
        lines = [self._line(person, listed, "rules.line") for listed in own]
        return Answer(text="\n".join(lines) or _text(person, "rules.none"))

    def _line(self, person: Person, listed: Listed, text: str) -> str:
        kept = listed.kept
        owner = name_of(kept.owner, self._database.domain)
        fired = _text(person, "rules.once" if kept.fired == 1 else "rules.fired", times=kept.fired)
        if not kept.fired:
            fired = _text(person, "rules.never")
        if kept.skipped:
            fired = _text(person, "rules.skipped", fired=fired, skipped=kept.skipped)
        if listed.waits and kept.rule.who is not None:
            mine = kept.owner == person.jid
            whom = name_of(kept.rule.who, self._database.domain) if mine else owner
            fired = _text(person, "rules.waiting" if mine else "rules.waiting_for_you", name=whom)
        return _text(person, text, number=kept.number, name=owner, rule=shown(kept.rule), fired=fired)

    async def unrule(self, call: Call) -> Answer:
        """``unrule NUMBER [NAME]``, ``unrule all``."""
        person, number, owner = call.person, call.arguments["number"], call.get("person")
        if number == _ALL:
            if owner is not None:
                raise BadRequest(_text(person, "unrule.nothing"))
            ended = await self._database.write(ruling.end_all, person.account)
            self._hands.ended(kept.key for kept in ended)
            return Answer(text=_text(person, "unrule.ended_all", count=len(ended)))
        try:
            kept = await self._database.write(ruling.end, person.account, number, owner)
        except Refusal as error:
            raise type(error)(_text(person, "unrule.nothing")) from error
        self._hands.ended((kept.key,))
        if kept.owner != person.jid:
            name = name_of(person.jid, self._database.domain)
            told = say(person.language, "places.ended.line", name=name, number=kept.number, rule=shown(kept.rule))
            await self._hands.tell(kept.owner, told)
        return Answer(text=_text(person, "unrule.ended", rule=shown(kept.rule)))


def shown(rule: Rule) -> str:
    """A rule in one line: others read it, too."""
    text = " ".join(plain(str(rule)).split())
    return text if len(text) <= RULE_SHOWN_CHARACTERS else text[: RULE_SHOWN_CHARACTERS - 1].rstrip() + "…"


def _be(tx: Transaction, person: Person, circle: Circle) -> None:
    """Somebody says that they are somewhere."""
    text = circle.name
    if text == HERE:
        known = tx.locations.of(person.account.key)
        text = known.text if known is not None else ""
    located = Located(latitude=circle.latitude, longitude=circle.longitude, text=text, updated=tx.now)
    acting.move(tx, person.account, located)


def _limit(tx: Transaction, account: int) -> int:
    limit = SETTINGS[_LIMIT]
    return max(1, min(int(tx.preferences.get(account, _LIMIT) or limit.default), limit.most))


def _written(circle: Circle) -> str:
    far = f"{circle.metres / 1000:g} km" if circle.metres >= 1000 else f"{circle.metres} m"
    return f"{_point(circle.latitude, circle.longitude)} {far}"


def _point(latitude: int, longitude: int) -> str:
    return f"{latitude / _MICRO:.3f},{longitude / _MICRO:.3f}"


def _located(person: Person, located: Located) -> str:
    if located.text:
        return _text(person, "place.here", title=located.text)
    return _text(person, "place.there", where=_point(located.latitude, located.longitude))


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.{text}", **values)
