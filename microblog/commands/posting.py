"""Words for posts: ``post``, ``local``, ``public``, ``friends``, ``cw``, ``edit``, ``undo``, ``delete``, ``where``.

``Posting`` is how every word that makes a post makes it: from a ``Draft`` to an entry, through the same preparation as
what clients publish themselves, into one transaction that also gives the post its number. What the author is told then,
and what ``where`` tells before and after, is counted by ``usecases.reporting``.
"""

import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol

from microblog.commands.command import Answer, Call, Command, Kind, Parameter
from microblog.commands.texts import say
from microblog.model.access import may_leave
from microblog.model.draft import Byline, Draft, Reference
from microblog.model.entry import Entry, Link
from microblog.model.errors import BadRequest, Forbidden, ItemNotFound, NotAllowed
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.uri import ItemAddress, read_uri
from microblog.store.database import Database
from microblog.usecases import authoring, reporting, retracting
from microblog.usecases.authoring import UNDO_SECONDS, Posted
from microblog.usecases.publishing import Publish
from microblog.usecases.reporting import Reach, Report, State
from microblog.usecases.retracting import Retract
from microblog.wire import atom, drafting, elsewhere, mention, pubsub

_GROUP: Final = "posting"
DOMAINS_SHOWN: Final = 20
LAST: Final = "last"
# What may stand before the text of a preview.
_FOR: Final = {
    "local": Audience.LOCAL,
    "l": Audience.LOCAL,
    "public": Audience.PUBLIC,
    "friends": Audience.FOLLOWERS,
}
_PREVIEWED: Final = re.compile(
    rf"(?P<word>{'|'.join(_FOR)}):?\s+(?P<text>.+)|(?P<alone>{'|'.join(_FOR)}):?", re.I | re.S
)


class Ready(Protocol):
    """A payload as it will be stored (``xep.microblog.Prepared``)."""

    @property
    def payload(self) -> str:
        """Self-contained XML."""

    @property
    def entry(self) -> Entry | None:
        """What it says."""

    @property
    def ceiling(self) -> Audience | None:
        """The widest audience that it may have; None: any."""


class Posting:
    """Makes posts, for whoever speaks.

    ``prepare`` is what is done with everything that is published here; ``may_post`` counts and raises.
    """

    def __init__(
        self,
        database: Database,
        now: Callable[[], datetime],
        prepare: Callable[[JID, pubsub.Publish], Ready],
        may_post: Callable[[JID], None],
    ) -> None:
        self._database = database
        self._now = now
        self._prepare = prepare
        self._may_post = may_post

    async def post(self, call: Call, draft: Draft, *, readers: tuple[JID, ...] = ()) -> Posted:
        """Publish to the speaker's feed. Raises Refusal."""
        self._may_post(call.person.jid)
        request = self._request(call, _with_call(draft, call), secrets.token_hex(16), None, readers)
        return await self._database.write(authoring.post, call.person.account.key, request)

    def request(self, call: Call, draft: Draft) -> Publish:
        """What is to be published for somebody in whose name it is done. Raises Refusal."""
        self._may_post(call.person.jid)
        return self._request(call, draft, secrets.token_hex(16), None, ())

    async def edit(self, call: Call, address: ItemAddress, text: str) -> Posted:
        """Let a post say something else. What it answers, shows and is for stays. Raises Refusal."""
        self._may_post(call.person.jid)
        author = call.person.jid
        node, item = await self._database.read(authoring.own, author, address)
        entry = atom.read_text(item.payload)
        if node.name != MICROBLOG or entry is None or item.stands is None:
            raise NotAllowed(say(call.person.language, "posting.no_post"))
        if entry.via:
            raise NotAllowed(say(call.person.language, "posting.no_words"))
        draft = replace(_as_drafted(entry), text=text, enclosures=entry.enclosures + _files(call))
        request = self._request(call, draft, item.id, item.published, ())
        return await self._database.write(authoring.post, call.person.account.key, request)

    async def retract(self, call: Call, address: ItemAddress) -> None:
        """Delete something of the speaker's. Raises Refusal."""
        wanted = Retract(
            service=address.service,
            node=address.node,
            actor=call.person.jid,
            item_id=address.item_id or "",
            notify=True,
            withdraw=elsewhere.withdraw,
            unsay=mention.write_unsaid,
        )
        await self._database.write(retracting.retract, wanted)

    async def reached(self, posted: Posted) -> Reach:
        """Whom a post goes to that was made just now."""
        entry = atom.read_text(posted.published.item.payload)
        named = () if entry is None else entry.mentions
        return await self._database.read(authoring.reached, posted.published, named)

    async def preview(self, call: Call, draft: Draft) -> Reach:
        """Whom a post would go to. Raises Refusal."""
        request = self._request(call, draft, secrets.token_hex(16), None, ())
        wanted = reporting.Preview(
            account=call.person.jid,
            audience=request.audience,
            ceiling=request.ceiling,
            named=request.entry.mentions if request.entry is not None else (),
        )
        return await self._database.read(reporting.preview, wanted)

    def _request(
        self, call: Call, draft: Draft, item_id: str, published: datetime | None, readers: tuple[JID, ...]
    ) -> Publish:
        author, now = call.person.jid, self._now()
        byline = Byline(author=author, item_id=item_id, published=published or now, updated=now)
        try:
            payload = drafting.write_entry(draft, byline)
        except ValueError as error:
            raise BadRequest(say(call.person.language, "posting.nothing")) from error
        publish = pubsub.Publish(node=MICROBLOG, item_id=item_id, payload=payload, options=None, has_item=True)
        ready = self._prepare(author, publish)
        return Publish(
            service=author,
            node=MICROBLOG,
            actor=author,
            item_id=item_id,
            payload=ready.payload,
            entry=ready.entry,
            audience=draft.audience,
            ceiling=ready.ceiling,
            readers=readers,
            mark=atom.mark,
            mention=mention.write_mention,
            copy=elsewhere.copy,
            withdraw=elsewhere.withdraw,
        )


def _files(call: Call) -> tuple[Link, ...]:
    return tuple(Link(href=url, rel="enclosure") for url in call.enclosures)


def _with_call(draft: Draft, call: Call) -> Draft:
    """A draft with the files that came with it; a text that only says where a file is is left out."""
    files = _files(call)
    if not files:
        return draft
    text = "" if draft.text.strip() in call.enclosures else draft.text
    return replace(draft, text=text, enclosures=(*draft.enclosures, *files))


def _as_drafted(entry: Entry) -> Draft:
    """What is kept of a post when its words are changed."""
    reply_to = None
    answered = read_uri(entry.answers) if entry.answers else None
    if answered is not None:
        author = answered.service if answered.node == MICROBLOG or not entry.mentions else entry.mentions[0]
        reply_to = Reference(
            uri=entry.answers,
            author=author,
            thread=entry.thread,
            id=entry.in_reply_to.ref if entry.in_reply_to is not None else "",
        )
    return Draft(
        warning=entry.warning,
        location=entry.location,
        language=entry.language,
        expires=entry.expires,
        reply_to=reply_to,
    )


class PostingWords:
    """The commands."""

    def __init__(self, database: Database, posting: Posting) -> None:
        self._database = database
        self._posting = posting

    def commands(self) -> Iterable[Command]:
        """All of them."""
        text = Parameter(name="text", kinds=(Kind.TEXT,))
        own = Parameter(name="item", kinds=(Kind.ITEM,))
        yield Command(
            name="post",
            group=_GROUP,
            function=self.post,
            posting=True,
            parameters=(
                text,
                Parameter(
                    name="audience",
                    kinds=(Kind.CHOICE,),
                    choices=("public", "followers", "local"),
                    required=False,
                    form_only=True,
                ),
                Parameter(name="warning", kinds=(Kind.WORD,), required=False, form_only=True),
            ),
        )
        for name, function, aliases in (
            ("local", self.local, ("l", "l:", "local:")),
            ("public", self.public, ("public:",)),
            ("friends", self.friends, ("friends:",)),
        ):
            yield Command(name=name, group=_GROUP, function=function, aliases=aliases, posting=True, parameters=(text,))
        yield Command(
            name="cw",
            group=_GROUP,
            function=self.cw,
            posting=True,
            parameters=(Parameter(name="topic", kinds=(Kind.TOPIC,)), text),
        )
        yield Command(name="edit", group=_GROUP, function=self.edit, posting=True, parameters=(own, text))
        yield Command(name="undo", group=_GROUP, function=self.undo, alone=True)
        last = Parameter(name="item", kinds=(Kind.ITEM, Kind.CHOICE), choices=(LAST,))
        yield Command(
            name="delete", group=_GROUP, function=self.delete, aliases=("del",), destructive=True, parameters=(last,)
        )
        yield Command(
            name="where",
            group=_GROUP,
            function=self.where,
            parameters=(Parameter(name="item", kinds=(Kind.ITEM, Kind.TEXT), required=False, newest=True),),
        )

    # publishing

    async def post(self, call: Call) -> Answer:
        """For whoever the author's posts are for."""
        wanted = call.get("audience")
        draft = Draft(text=call.get("text"), warning=call.get("warning", ""))
        return await self._post(call, replace(draft, audience=Audience(wanted) if wanted else None))

    async def local(self, call: Call) -> Answer:
        """For this domain only."""
        return await self._post(call, Draft(text=call.get("text"), audience=Audience.LOCAL))

    async def public(self, call: Call) -> Answer:
        """For everybody."""
        return await self._post(call, Draft(text=call.get("text"), audience=Audience.PUBLIC))

    async def friends(self, call: Call) -> Answer:
        """For those who follow."""
        return await self._post(call, Draft(text=call.get("text"), audience=Audience.FOLLOWERS))

    async def cw(self, call: Call) -> Answer:
        """With a warning."""
        return await self._post(call, Draft(text=call.get("text"), warning=call.get("topic")))

    async def _post(self, call: Call, draft: Draft) -> Answer:
        posted = await self._posting.post(call, draft)
        return sent(call, posted, await self._posting.reached(posted), draft.audience)

    async def edit(self, call: Call) -> Answer:
        """Other words for a post of one's own."""
        posted = await self._posting.edit(call, call.get("item"), call.get("text"))
        return Answer(text=say(call.person.language, "posting.edited", number=posted.number), done=_address(posted))

    # taking back

    async def undo(self, call: Call) -> Answer:
        """What was posted last, if that was just now."""
        language = call.person.language
        try:
            node, item = await self._database.read(authoring.last, call.person.jid, UNDO_SECONDS)
        except ItemNotFound as error:
            raise ItemNotFound(say(language, "posting.nothing_to_undo", minutes=UNDO_SECONDS // 60)) from error
        return await self._retract(call, ItemAddress(node.service, node.name, item.id), "posting.undone", node, item)

    async def delete(self, call: Call) -> Answer:
        """Something of one's own."""
        language, address = call.person.language, call.get("item")
        try:
            if isinstance(address, ItemAddress):
                node, item = await self._database.read(authoring.own, call.person.jid, address)
            else:
                node, item = await self._database.read(authoring.last, call.person.jid)
        except ItemNotFound as error:
            raise ItemNotFound(say(language, "posting.not_there")) from error
        except Forbidden as error:
            raise Forbidden(say(language, "posting.not_yours")) from error
        return await self._retract(call, ItemAddress(node.service, node.name, item.id), "posting.deleted", node, item)

    async def _retract(self, call: Call, address: ItemAddress, text: str, node: Node, item: Item) -> Answer:
        await self._posting.retract(call, address)
        language = call.person.language
        if not may_leave(item.audience, call.person.address.domainpart, local_domain=self._database.domain):
            # Not even to its author, who speaks from elsewhere.
            return Answer(text=say(language, f"{text}_unsaid"))
        entry = atom.read_text(item.payload)
        words = " ".join(entry.text.split()) if entry is not None else ""
        return Answer(text=say(language, text, words=words if len(words) <= 60 else words[:59] + "…"))

    # where posts go

    async def where(self, call: Call) -> Answer:
        """The delivery report of a post, or the preview of a text."""
        wanted = call.get("item")
        if not isinstance(wanted, ItemAddress):
            return await self._preview(call, wanted or "")
        language = call.person.language
        request = reporting.Where(
            actor=call.person.jid, service=wanted.service, node=wanted.node, item_id=wanted.item_id or ""
        )
        try:
            report = await self._database.read(reporting.where, request)
        except ItemNotFound as error:
            raise ItemNotFound(say(language, "posting.not_there")) from error
        except Forbidden as error:
            raise Forbidden(say(language, "posting.not_yours")) from error
        return _told(call, report)

    async def _preview(self, call: Call, text: str) -> Answer:
        found = _PREVIEWED.fullmatch(text.strip())
        audience = None
        if found is not None:
            audience = _FOR[(found["word"] or found["alone"]).casefold()]
            text = found["text"] or "…"
        reach = await self._posting.preview(call, Draft(text=text, audience=audience))
        language = call.person.language
        lines = [say(language, "posting.would_go", reach=_reach(language, reach))]
        if audience is not None and reach.audience is not audience:
            lines.append(say(language, "posting.narrower", audience=say(language, f"posting.for.{reach.audience}")))
        if reach.domains:
            names = ", ".join(reach.domains[:DOMAINS_SHOWN])
            rest = len(reach.domains) - DOMAINS_SHOWN
            lines.append(names if rest <= 0 else say(language, "posting.and_more", names=names, count=rest))
        return Answer(text="\n".join(lines))


def sent(call: Call, posted: Posted, reach: Reach, wanted: Audience | None = None) -> Answer:
    """What an author is told of a post that was made."""
    language = call.person.language
    text = say(language, "posting.sent", number=posted.number, reach=_reach(language, reach))
    if wanted is not None and reach.audience is not wanted:
        text += " " + say(language, "posting.narrower", audience=say(language, f"posting.for.{reach.audience}"))
    return Answer(text=text, done=_address(posted))


def _address(posted: Posted) -> ItemAddress:
    done = posted.published
    return ItemAddress(done.node.service, done.node.name, done.item.id)


def _reach(language: str, reach: Reach) -> str:
    """How many people and domains."""
    people = _counted(language, "people", reach.people, more=reach.more)
    if reach.audience is Audience.LOCAL:
        return say(language, "posting.reach_here", people=people)
    if not reach.domains:
        return people
    return say(language, "posting.reach", people=people, domains=_counted(language, "domains", len(reach.domains)))


def _counted(language: str, what: str, count: int, *, more: bool = False) -> str:
    form = "more" if more else "one" if count == 1 else "none" if count == 0 else "many"
    return say(language, f"posting.{what}.{form}", count=count)


def _told(call: Call, report: Report) -> Answer:
    """A delivery report: first what went wrong."""
    language = call.person.language
    audience = say(language, f"posting.for.{report.item.audience}")
    if not report.owned:
        return Answer(text=say(language, "posting.is_there", audience=audience, owner=report.node.service))
    if not report.domains:
        return Answer(text=say(language, "posting.nowhere", audience=audience))
    states = {state: [one for one in report.domains if one.state is state] for state in State}
    lines = [
        say(
            language,
            "posting.report",
            audience=audience,
            **{state.value: len(states[state]) for state in State},
        )
    ]
    for state in (State.REFUSED, State.PENDING, State.STORED):
        for one in states[state]:
            text = f"posting.at.{state}_why" if one.why else f"posting.at.{state}"
            lines.append(say(language, text, domain=one.domain, why=one.why))
    shown = lines[: DOMAINS_SHOWN + 1]
    if len(lines) > len(shown) or report.more:
        shown.append(say(language, "posting.and_others", count=len(lines) - len(shown)))
    form = tuple((one.domain, f"{one.state} {one.why}".strip()) for one in report.domains[:DOMAINS_SHOWN])
    return Answer(text="\n".join(shown), form=form)
