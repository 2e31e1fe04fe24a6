"""Words for talking to each other: ``reply``, ``@NAME``, ``d``, ``fav``, ``react``, ``repost``, ``nudge``.

What they are about is a post by its number, or the newest post of somebody. A post that is not kept here - a comment in
a thread elsewhere - is asked for, in the name of whoever wants to answer it. What is said to something that only
repeats another post is said to that other post.

Who is named in a private message reads nothing of it: only who it is sent to.
"""

import secrets
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person, Post
from microblog.commands.lines import author_of, name_of
from microblog.commands.posting import Posting, sent
from microblog.commands.reading import ANSWER_SECONDS
from microblog.commands.texts import say
from microblog.model.draft import Byline, Draft, Reference
from microblog.model.entry import HEART, Entry, fold_reaction
from microblog.model.errors import BadRequest, Conflict, ItemNotFound, NotAllowed, RecipientUnavailable, Refusal
from microblog.model.item import Audience, Item, PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.uri import ItemAddress, read_uri
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import conversing, following, reading
from microblog.usecases.conversing import EVERYTHING, Direct, Directed, React, Seen
from microblog.wire import atom, attachments, drafting, elsewhere, ns, pubsub
from microblog.wire.attachments import Attached
from microblog.wire.notification import NoticedItem
from microblog.wire.stanza import Stanza
from microblog.wire.xml import clean, parse, to_text
from microblog.xmpp.router import Router

NEWEST_SECONDS: Final = 600
_GROUP: Final = "conversing"
# Instead of an emoji: none of them any more.
NOTHING: Final = frozenset(("none", "nothing", "off", "-"))

Change = Callable[[tuple[str, ...]], tuple[str, ...]]


class ConversationWords:
    """The commands. ``wake``: the outbox's."""

    def __init__(
        self,
        database: Database,
        posting: Posting,
        router: Router,
        wake: Callable[[str], None],
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._posting = posting
        self._router = router
        self._wake = wake
        self._now = now

    def commands(self) -> Iterable[Command]:
        """All of them."""
        target = Parameter(name="target", kinds=(Kind.ITEM, Kind.PERSON), newest=True)
        person = Parameter(name="person", kinds=(Kind.PERSON,))
        text = Parameter(name="text", kinds=(Kind.TEXT,))
        for name, function, aliases, parameters, posting in (
            ("reply", self.reply, ("r",), (target, text), True),
            ("mention", self.mention, ("@",), (person, text), True),
            ("fav", self.fav, ("like", "+1"), (target,), False),
            ("unfav", self.unfav, ("unlike",), (target,), False),
            ("react", self.react, (), (target, Parameter(name="emoji", kinds=(Kind.WORD,))), False),
            (
                "repost",
                self.repost,
                ("repeat", "rt", "rp", "rd"),
                (target, Parameter(name="comment", kinds=(Kind.TEXT,), required=False)),
                True,
            ),
            ("nudge", self.nudge, (), (person,), False),
        ):
            yield Command(
                name=name, group=_GROUP, function=function, aliases=aliases, parameters=parameters, posting=posting
            )
        yield Command(
            name="d",
            group=_GROUP,
            function=self.direct,
            aliases=("dm", "tell"),
            parameters=(person, text),
            private=True,
        )

    # answering

    async def reply(self, call: Call) -> Answer:
        """An answer to a post, in its thread."""
        return await self._reply(call, await self._meant(call, await self._post(call, call.get("target"))))

    async def mention(self, call: Call) -> Answer:
        """What is said to somebody answers their newest post, if that is new; else it only names them."""
        person, who = call.person, call.get("person")
        try:
            newest = await self._newest(call, who)
        except ItemNotFound:
            newest = None
        if newest is not None and (self._now() - newest.item.published).total_seconds() <= NEWEST_SECONDS:
            return await self._reply(call, await self._meant(call, newest))
        name = name_of(who, self._database.domain)
        draft = Draft(text=f"@{name} {call.get('text')}", mentions=(who,), language=_language(person))
        return await self._publish(call, draft)

    async def _reply(self, call: Call, post: Post) -> Answer:
        reference = replace(Reference.to(post.node, post.item, post.entry), uri=_origin(post).uri)
        # Of a post that is not kept here nobody else knows that it is not for all.
        narrow = post.item.audience if not post.item.key and post.item.audience is not Audience.PUBLIC else None
        readers = (reference.author,) if narrow is Audience.DIRECT else ()
        draft = Draft(text=call.get("text"), reply_to=reference, audience=narrow, language=_language(call.person))
        return await self._publish(call, draft, readers)

    async def _publish(self, call: Call, draft: Draft, readers: tuple[JID, ...] = ()) -> Answer:
        posted = await self._posting.post(call, draft, readers=readers)
        return sent(call, posted, await self._posting.reached(posted))

    # repeating

    async def repost(self, call: Call) -> Answer:
        """A public post again, with its author's name; with a comment it is a quotation."""
        person, comment = call.person, call.get("comment", "").strip()
        target = call.get("target")
        address = target if isinstance(target, ItemAddress) else (await self._newest(call, target)).address
        try:
            seen = await self._database.read(conversing.repeatable, person.jid, address)
        except NotAllowed as error:
            raise NotAllowed(_text(person, "not_public")) from error
        except ItemNotFound as error:
            raise ItemNotFound(_text(person, "not_known")) from error
        reference = _repeated(_as_post(call, seen))
        if not comment:
            already = await self._database.read(conversing.repeated_by, person.jid, reference.uri)
            if already is not None:
                raise Conflict(_text(person, "repeated_already"))
        return await self._publish(call, Draft(text=comment, via=reference, language=_language(person)))

    # reacting

    async def fav(self, call: Call) -> Answer:
        """A heart."""
        return await self._react(call, lambda said: (*said, HEART), "liked", "liked_already")

    async def unfav(self, call: Call) -> Answer:
        """No heart any more."""
        change = partial(_without, HEART)
        return await self._react(call, change, "not_liked", "not_liked_before")

    async def react(self, call: Call) -> Answer:
        """An emoji, or none any more. ``reactions``: those that a client says are all (XEP-0444)."""
        every = call.get("reactions")
        if every is not None:
            return await self.set_reactions(call.person, call.get("target"), every)
        emoji = fold_reaction(call.get("emoji"))
        if emoji.casefold() in NOTHING:
            return await self._react(call, lambda said: (), "no_reactions", "no_reactions")
        if not attachments.is_reaction(emoji):
            raise BadRequest(_text(call.person, "no_emoji"))
        return await self._react(call, lambda said: (*said, emoji), "reacted", "reacted_already", emoji=emoji)

    async def set_reactions(self, person: Person, address: ItemAddress, reactions: Collection[str]) -> Answer:
        """All that somebody says to a post in emoji from now on (XEP-0444). Raises Refusal."""
        wanted = tuple(emoji for emoji in map(fold_reaction, reactions) if attachments.is_reaction(emoji))
        if reactions and not wanted:
            raise BadRequest(_text(person, "no_emoji"))
        call = Call(person=person, arguments={"target": address})
        done = "reacted" if wanted else "no_reactions"
        return await self._react(call, lambda said: wanted, done, done, emoji=" ".join(wanted))

    async def _react(self, call: Call, change: Change, done: str, already: str, **values: str) -> Answer:
        person = call.person
        post = await self._meant(call, await self._post(call, call.get("target")))
        wanted = React(
            actor=person.jid,
            address=_origin(post),
            change=change,
            attach=self._attach,
            send=partial(elsewhere.publication, person.jid),
            withdraw=partial(elsewhere.withdrawal, person.jid),
            heart=self._heart(person, post),
            thread="" if post.entry.answers else post.entry.thread,
            audiences=_audiences(person),
        )
        reacted = await self._database.write(conversing.react, wanted)
        for domain in reacted.domains:
            self._wake(domain)
        name = name_of(author_of(post), self._database.domain)
        return Answer(text=_text(person, done if reacted.new else already, name=name, **values))

    def _attach(self, before: str, reactions: tuple[str, ...]) -> str:
        """What somebody attached before, with other reactions; empty if nothing is left of it."""
        old = parse(before) if before else None
        known = attachments.read_attachments(old) if old is not None else None
        noticed = known is not None and known.noticed
        new = attachments.write_attachments(Attached(noticed=noticed, reactions=reactions), self._now(), before=old)
        return to_text(new) if new.children else ""

    def _heart(self, person: Person, post: Post) -> str:
        """COMPAT: Movim's like, a comment that is a heart."""
        now = self._now()
        byline = Byline(author=person.jid, item_id=secrets.token_hex(8), published=now, updated=now)
        reference = Reference.to(post.node, post.item, post.entry)
        return to_text(drafting.write_entry(Draft(text=HEART, reply_to=reference), byline))

    # from one to another

    async def direct(self, call: Call) -> Answer:
        """A chat message that nobody else reads."""
        person, to = call.person, call.get("person")
        id_, text = secrets.token_hex(8), clean(call.get("text"))
        message = partial(_message, partial(elsewhere.direct_message, person.jid, text=text, message_id=id_))
        directed = await self._database.write(conversing.direct, Direct(actor=person.jid, to=to, message=message))
        self._deliver(directed, elsewhere.direct_message(person.jid, to, text, id_))
        return Answer(text=_text(person, "told", name=name_of(to, self._database.domain)))

    async def nudge(self, call: Call) -> Answer:
        """A word for somebody's attention, once a day; not to those who do not want to be disturbed."""
        person, to = call.person, call.get("person")
        name = name_of(to, self._database.domain)
        if self._is_busy(to):
            raise RecipientUnavailable(_text(person, "busy", name=name))
        language = await self._database.read(_language_of, to)
        by = name_of(person.jid, to.domainpart)
        id_, text = secrets.token_hex(8), say(language, f"{_GROUP}.nudged", name=by)
        message = partial(_message, partial(elsewhere.nudge, person.jid, text=text, message_id=id_))
        wanted = Direct(actor=person.jid, to=to, message=message)
        try:
            directed = await self._database.write(conversing.nudge, person.account.key, wanted)
        except Conflict as error:
            raise Conflict(_text(person, "nudged_already", name=name)) from error
        except NotAllowed as error:
            raise NotAllowed(_text(person, "nudge_self")) from error
        self._deliver(directed, elsewhere.nudge(person.jid, to, text, id_))
        return Answer(text=_text(person, "was_nudged", name=name))

    def _deliver(self, directed: Directed, message: Stanza) -> None:
        for domain in directed.domains:
            self._wake(domain)
        if directed.here is not None:
            self._router.send(message)

    def _is_busy(self, account: JID) -> bool:
        presences = [session.presence for session in self._router.sessions.available(account)]
        shows = [presence.element.child_text(ns.CLIENT, "show") for presence in presences if presence is not None]
        return bool(shows) and all(show == "dnd" for show in shows)

    # what they are about

    async def _post(self, call: Call, target: ItemAddress | JID) -> Post:
        """The post of a number, or the newest of somebody. Raises ItemNotFound."""
        if isinstance(target, JID):
            return await self._newest(call, target)
        person = call.person
        try:
            seen = await self._database.read(conversing.see, person.jid, target, audiences=_audiences(person))
        except ItemNotFound as error:
            raise ItemNotFound(_text(person, "gone")) from error
        return await self._fetch(call, target) if seen is None else _as_post(call, seen)

    async def _newest(self, call: Call, who: JID) -> Post:
        person = call.person
        wanted = reading.Reading(actor=person.jid, page=PageRequest(max=1), audiences=_audiences(person), counted=False)
        try:
            page = await self._database.read(reading.author, who, wanted)
        except Refusal:
            page = None
        if page is None or not page.posts:
            raise ItemNotFound(_text(person, "no_posts", name=name_of(who, self._database.domain)))
        return _as_post(call, Seen(node=page.posts[0].node, item=page.posts[0].item))

    async def _meant(self, call: Call, post: Post) -> Post:
        """What a post only repeats, if it does nothing else."""
        original = read_uri(post.entry.via) if post.entry.via else None
        if original is None or original.item_id is None or not _is_plain_repeat(post.entry, original):
            return post
        try:
            return await self._post(call, original)
        except ItemNotFound:
            return post

    async def _fetch(self, call: Call, address: ItemAddress) -> Post:
        """A post that is not kept here, from where it is. Raises ItemNotFound."""
        person, item_id = call.person, address.item_id or ""
        try:
            noticed = await self._ask(person.jid, address)
        except Refusal as refusal:
            raise ItemNotFound(_text(person, "away", name=str(address.service))) from refusal
        entry = atom.read_entry(noticed.payload) if noticed is not None and noticed.payload is not None else None
        if noticed is None or entry is None:
            raise ItemNotFound(_text(person, "gone"))
        now = self._now()
        item = Item(
            id=item_id,
            publisher=(noticed.publisher or address.service).bare,
            payload=noticed.payload_text,
            published=entry.published or now,
            updated=entry.updated or now,
            audience=entry.audience or await self._audience(address),
            thread=entry.thread,
            answers=entry.answers,
            via=entry.via,
        )
        return Post(node=Node(key=0, service=address.service, name=address.node), item=item, entry=entry)

    async def _ask(self, asker: JID, address: ItemAddress) -> NoticedItem | None:
        """An item elsewhere, as its service gives it to somebody. Raises Refusal if the service does not answer."""
        request = pubsub.items_request(address.node, (address.item_id or "",))
        answer = await self._router.request("get", asker, address.service, request, seconds=ANSWER_SECONDS)
        found = pubsub.read_answered_items(answer.payload) if answer.type == "result" else ()
        return next((one for one in found if one.id == address.item_id and one.payload is not None), None)

    async def _audience(self, address: ItemAddress) -> Audience:
        """Whom an item elsewhere is for that does not say so: for all only if a stranger, the node, may read it."""
        known = await self._database.read(following.audience_elsewhere, address.service, address.node)
        if known is not None:
            return known
        try:
            noticed = await self._ask(JID("", self._database.domain), address)
        except Refusal:
            noticed = None
        return Audience.FOLLOWERS if noticed is None else Audience.PUBLIC


def _as_post(call: Call, seen: Seen) -> Post:
    entry = atom.read_text(seen.item.payload)
    if entry is None:
        raise ItemNotFound(_text(call.person, "no_post"))
    return Post(node=seen.node, item=seen.item, entry=entry)


def _origin(post: Post) -> ItemAddress:
    """Where a post is its author's own: a comment may be a copy of an answer in their feed, as it says itself."""
    own = ItemAddress(post.item.publisher.bare, MICROBLOG, post.item.id)
    if post.node.name == MICROBLOG or post.node.service == own.service:
        return post.address
    alternates = (link.href for link in post.entry.links if link.rel == "alternate")
    return own if any(read_uri(href) == own for href in alternates) else post.address


def _repeated(post: Post) -> Reference:
    """What is repeated: the post, or, where it repeats one that is not kept here, that one as it was repeated."""
    reference = Reference.to(post.node, post.item, post.entry)
    original = read_uri(post.entry.via) if post.entry.via else None
    if original is None or not _is_plain_repeat(post.entry, original):
        return reference
    thread = post.entry.thread if post.entry.thread != reference.uri else ""
    return Reference(
        uri=post.entry.via,
        author=original.service,
        author_name=post.entry.author_name,
        thread=thread,
        payload=post.item.payload,
    )


def _is_plain_repeat(entry: Entry, original: ItemAddress) -> bool:
    """Has it the words of the original's author alone?"""
    author = entry.author_uri.removeprefix("xmpp:").partition("?")[0]
    return original.node == MICROBLOG and author == str(original.service)


def _audiences(person: Person) -> frozenset[Audience]:
    """What may go to where somebody speaks from."""
    return EVERYTHING - {Audience.LOCAL} if person.linked else EVERYTHING


def _without(reaction: str, said: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(one for one in said if one != reaction)


def _message(make: Callable[..., Stanza], to: JID) -> str:
    return make(to=to).to_bytes().decode()


def _language(person: Person) -> str:
    """The language in which somebody writes, if it is known to be another than everybody's."""
    return "" if person.language == "en" else person.language


def _language_of(tx: Transaction, jid: JID) -> str:
    """The language that somebody here has chosen."""
    account = tx.accounts.get(jid.localpart) if jid.domainpart == tx.domain else None
    return (tx.preferences.get(account.key, "lang") if account is not None else None) or "en"


def _text(person: Person, text: str, **values: object) -> str:
    return say(person.language, f"{_GROUP}.{text}", **values)
