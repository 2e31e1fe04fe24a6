"""What is local never leaves: whatever people here and elsewhere do, in whatever order.

A whole node, with the words of chat and everything else that it serves, stands between two other servers:
capulet.example has a valid certificate, verona.example proves itself by dialback. People of all three do random things.
Each text that is posted has a marker of its own, and each marker a set of domains that may see it: none if it was
posted to this node only, or answers what was. Then every byte that has come to the others is searched, as it came out
of TLS. So are the words of what people look for, mute, and report, the places where they are, and the names of those
who report.

A test that finds nothing has to be able to find something: each of ``LEAKS`` breaks a rule, and the search has to see.
"""

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import globalLogPublisher

from microblog.commands import delivery, places, posting, searching
from microblog.model import access
from microblog.model.border import Border
from microblog.model.item import Audience, Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.report import Report
from microblog.model.subscription import Affiliation
from microblog.model.uri import ItemAddress, item_uri, node_uri, read_uri
from microblog.store import outbox, tables
from microblog.store.transaction import Transaction
from microblog.usecases import addressing, chatting, delivering, publishing, registering, subscribing
from microblog.wire import ns, reporting
from microblog.wire.xml import Element, to_text
from microblog.xep import events, pep, pubsub
from tests.federation.abroad import CAPULET, DOMAINS, HOME, VERONA, Abroad, House, Person
from tests.federation.nodes import Authority

EVERYBODY: Final = frozenset(DOMAINS)
TRUSTED: Final = frozenset((CAPULET,))
NOBODY: Final[frozenset[str]] = frozenset()
BORDER: Final = "balconyproject"
MOOD: Final = "http://jabber.org/protocol/mood"
TRACK: Final = "urn:x-microblog:track:0"
HOST_NODES: Final = ("urn:x-microblog:local:0", "urn:x-microblog:tag:0:verona", TRACK)
OWN_NODES: Final = (
    MICROBLOG,
    "urn:x-microblog:home:0",
    "urn:x-microblog:mentions:0",
    MOOD,
    "urn:xmpp:avatar:metadata",
    "urn:x-microblog:list:0:friends",
    ns.GEOLOC,
)
_MARKER: Final = re.compile(rb"zq[0-9]+qz")
# Latitudes, each of its own.
_PLACE: Final = re.compile(rb"-61\.[0-9]{3}")
_ALLOWED: Final = {
    None: EVERYBODY,
    "public": EVERYBODY,
    "followers": TRUSTED,
    "direct": TRUSTED,
    "local": NOBODY,
}
_BY_AUDIENCE: Final = {
    "public": EVERYBODY,
    "followers": TRUSTED,
    "direct": TRUSTED,
    "local": NOBODY,
}


class Leak(AssertionError):
    """Somebody was sent what they must not have."""


@dataclass
class Posted:
    """A text, and the domains that may see it; ``address`` is known of what was published under an id.

    ``direct``: it is for those whom its author names, and so is what is said to it. ``placed``: its author says where.
    """

    marker: str
    allowed: frozenset[str]
    author: JID
    address: ItemAddress | None = None
    direct: bool = False
    placed: bool = False


@dataclass
class World:
    """The node, the others, and what was said so far."""

    house: House
    abroad: dict[str, Abroad]
    people: dict[str, Person]
    posted: dict[str, Posted] = field(default_factory=dict)
    searched: dict[int, int] = field(default_factory=dict)
    answers: set[tuple[int, str, str]] = field(default_factory=set)
    moods: list[str] = field(default_factory=list)
    places: dict[str, Posted] = field(default_factory=dict)
    told: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    def place(self, allowed: frozenset[str], author: JID) -> str:
        """A latitude where nobody was before."""
        latitude = f"-61.{len(self.places) % 1000:03}"
        self.places[latitude] = Posted(latitude, allowed, author)
        return latitude

    def look(self, element: Element) -> None:
        """What came to the others: how much of it, and does a report say whose it is?"""
        text = to_text(element)
        if element.find(ns.REPORTING, "report") is not None:
            self.told["report"] += 1
            words = re.sub(r"uri=(\"[^\"]*\"|'[^']*')", "", text)
            if element.get("from") != HOME or any(f"{name}@" in words for name in HERE):
                self.named.append(text)
        elif element.find(ns.EVENTS, "events") is not None:
            self.told["program"] += 1
            self.told.update(re.findall(r"source=.([a-z]+)", text))
        elif element.name == "message" and f"node='{TRACK}'" in text.replace('"', "'"):
            self.told["matched"] += 1
        elif element.name == "iq" and f"subscribe node='{TRACK}'" in text.replace('"', "'"):
            self.told["asked"] += 1

    def marker(self, allowed: frozenset[str], author: JID) -> str:
        """A marker for a new text."""
        marker = f"zq{len(self.posted)}qz"
        self.posted[marker] = Posted(marker, allowed, author)
        return marker

    def published(self, marker: str, item_id: str) -> None:
        """A text may have been published under an id: then it is known from now on where it is."""
        address = ItemAddress(self.posted[marker].author, MICROBLOG, item_id)
        if self.house.database.run(_is_there, address):
            self.posted[marker].address = address

    def posts(self) -> list[Posted]:
        """What was published under an id that is known."""
        return [post for post in self.posted.values() if post.address is not None]

    def there(self) -> list[Posted]:
        """Those that were not retracted since."""
        return [post for post in self.posts() if post.address and self.house.database.run(_is_there, post.address)]

    # the search

    def search(self) -> None:
        """Raises Leak."""
        if self.named:
            raise Leak(f"a report names who reported: {self.named}")
        self.house.database.run(self._narrow)
        hidden = self.house.database.run(_hidden_ids)
        for name, server in self.abroad.items():
            for number, data in enumerate(server.bytes_heard()):
                known = self.searched.get(hash((name, number)), 0)
                new = data[max(0, known - 100) :]
                self.searched[hash((name, number))] = len(data)
                for found in set(_PLACE.findall(new)):
                    if name not in self.places[found.decode()].allowed:
                        raise Leak(f"{name} was told where {self.places[found.decode()]}: {new.decode()}")
                for found in set(_MARKER.findall(new)):
                    if name not in self.posted[found.decode()].allowed:
                        raise Leak(f"{name} was sent {self.posted[found.decode()]}: {new.decode()}")
                for item_id in hidden:
                    # What they ask for by its id is no news to them.
                    if item_id.encode() in new and item_id.encode() not in server.said:
                        raise Leak(f"{name} was told of the local item {item_id}: {new.decode()}")

    def _narrow(self, tx: Transaction) -> None:
        """What is stored for fewer than was asked is for fewer; and no answer is for more than what it answers."""
        items = tables.items.c
        audiences: dict[str, str] = {}
        rows = tx.connection.execute(tables.items.select().where(items.proof == "local").order_by(items.id)).all()
        by_uri = {}
        for row in rows:
            node = tx.nodes.get(row.node_id)
            assert node is not None
            by_uri[item_uri(node.service, node.name, row.item_id)] = row.audience
            for found in _MARKER.findall(row.payload.encode()):
                audiences.setdefault(found.decode(), row.audience)
                # Where somebody says they are in a post is for the post's readers.
                for place in _PLACE.findall(row.payload.encode()) if self.posted[found.decode()].placed else ():
                    self.places[place.decode()].allowed |= self.posted[found.decode()].allowed
        for marker, audience in audiences.items():
            post = self.posted[marker]
            post.allowed &= _BY_AUDIENCE[audience]
            post.direct = audience == "direct"
        for row in rows:
            known = row.id, row.answers, row.via
            # What is answered may be made to be for fewer later.
            if known in self.answers:
                continue
            self.answers.add(known)
            node = tx.nodes.get(row.node_id)
            assert node is not None
            own, wider = by_uri[item_uri(node.service, node.name, row.item_id)], by_uri.get(row.answers)
            if wider is not None and access.WIDTH[Audience(own)] > access.WIDTH[Audience(wider)]:
                raise Leak(f"{row.item_id} is {own} and answers what is {wider}")
            if by_uri.get(row.via, "public") != "public":
                raise Leak(f"{row.item_id} repeats what is {by_uri[row.via]}")


def _hidden_ids(tx: Transaction) -> list[str]:
    """The ids of local items that say nothing else."""
    items = tables.items.c
    rows = tx.connection.execute(tables.items.select().where(items.audience == "local", items.proof == "local"))
    return [row.item_id for row in rows if len(row.item_id) >= 20 and "@" not in row.item_id]


# The world, as it is before anybody does anything

HERE: Final = ("romeo", "benvolio", "mercutio", "rosaline")
THERE: Final = (JID("juliet", CAPULET), JID("nurse", CAPULET), JID("paris", VERONA), JID("tybalt", VERONA))
# The nurse's address is linked to Rosaline's account.
LINKED: Final = THERE[1]
_AUTHORITY: Final[list[Any]] = []


def world() -> World:
    """Everybody knows everybody, and some things were posted."""
    if not _AUTHORITY:
        authority = Authority()
        kinds = {HOME: "valid", CAPULET: "valid", VERONA: "self-signed"}
        _AUTHORITY.extend((authority, {domain: authority.certificates(domain, kind) for domain, kind in kinds.items()}))
    authority, certificates = _AUTHORITY
    house = House(authority, certificates[HOME], authority.folder, border={"words": [BORDER]})
    abroad = {domain: Abroad(house, domain, certificates[domain], trusted=domain == CAPULET) for domain in DOMAINS}
    house.database.run(_settle)
    w = World(house, abroad, {name: house.online(name) for name in HERE})
    for server in abroad.values():
        server.listeners.append(w.look)
    for person in THERE:
        for name in HERE[:2]:
            _becomes_contact(w, name, person)
        for name in HERE:
            abroad[person.domainpart].says(_subscribe(person, JID(name, HOME), MICROBLOG))
    for name in ("romeo", "rosaline"):
        w.people[name].says(_asks(_subscribe_verb(MICROBLOG, JID(name, HOME)), to=str(THERE[0])))
        for other in HERE:
            w.people[name].says(_asks(_subscribe_verb(MICROBLOG, JID(name, HOME)), to=f"{other}@{HOME}"))
    _publish(w, 0, 4, 0)
    _publish(w, 0, 1, 0)
    _publish(w, 1, 2, 0)
    for number in range(3):
        _mood(w, number, 0, 0)
    w.people["romeo"].says(f"<message to='{HOME}' type='chat' id='hello'><body>help</body></message>")
    abroad[CAPULET].says(f"<message from='{LINKED}/b' to='{HOME}' type='chat' id='hello'><body>help</body></message>")
    return w


def _settle(tx: Transaction) -> None:
    for name in HERE:
        audience = Audience.LOCAL if name == "mercutio" else Audience.PUBLIC
        account = registering.create_account(tx, name, "secret", audience=audience)
        if name == "rosaline":
            tx.linked.add(LINKED, account.key, asked_there=False, confirmed=True)


def _becomes_contact(w: World, name: str, person: JID) -> None:
    server, jid = w.abroad[person.domainpart], JID(name, HOME)
    server.says(f"<presence type='subscribe' from='{person}' to='{jid}'/>")
    w.people[name].says(f"<presence type='subscribed' to='{person}'/><presence type='subscribe' to='{person}'/>")
    server.says(f"<presence type='subscribed' from='{person}' to='{jid}'/>")
    caps = f"<c xmlns='{ns.CAPS}' hash='sha-1' node='urn:client' ver='{_VERSION}'/>"
    server.says(f"<presence from='{person}/balcony' to='{jid}'>{caps}</presence>")


_VERSION: Final = "QgayPKawpkPSDYmwT/WM94uAlu0="


def _asks(verb: str, *, to: str = "", from_: str = "", kind: str = "set", uri: str = ns.PUBSUB) -> str:
    addressed = (f" to='{to}'" if to else "") + (f" from='{from_}'" if from_ else "")
    return f"<iq type='{kind}' id='q'{addressed}><pubsub xmlns='{uri}'>{verb}</pubsub></iq>"


def _subscribe_verb(node: str, jid: JID, verb: str = "subscribe") -> str:
    return f"<{verb} node='{node}' jid='{jid}'/>"


def _subscribe(person: JID, service: JID, node: str, verb: str = "subscribe") -> str:
    return _asks(_subscribe_verb(node, person, verb), to=str(service), from_=f"{person}/balcony")


# What people do. Each has three numbers to choose with.


def _one(choices: Any, number: int) -> Any:
    return choices[number % len(choices)]


def _allowed(author: JID, wish: str | None, related: Posted | None, readers: tuple[JID, ...]) -> frozenset[str]:
    """Where a text may go."""
    allowed = _ALLOWED[wish] & (EVERYBODY if related is None or related.direct else related.allowed)
    if author.localpart == "mercutio":
        return NOBODY
    if wish == "direct":
        linked = TRUSTED if any(jid.localpart == "rosaline" for jid in (author, *readers)) else NOBODY
        return allowed & (linked | {jid.domainpart for jid in readers})
    return allowed & TRUSTED if related is not None and related.direct else allowed


def _content(w: World, text: str, related: Posted | None, how: int) -> str:
    """An entry: alone, as an answer, or a repetition; naming people elsewhere, or not."""
    links = ""
    if related is not None and related.address is not None:
        uri = related.address.uri.replace("'", "&apos;")
        thread = node_uri(related.address.service, COMMENTS_PREFIX + (related.address.item_id or ""))
        if how % 3 == 2:
            links = f"<link rel='via' href='{uri}'/>"
        else:
            links = f"<thr:in-reply-to xmlns:thr='{ns.THREADING}' ref='{uri}' href='{uri}'/>" if how % 3 else ""
            links += f"<link rel='replies' href='{thread}'/>" if how % 2 else ""
            if not how % 3:
                links += f"<thr:in-reply-to xmlns:thr='{ns.THREADING}' ref='{uri}'/>"
    if how % 5 > 2:
        links += "".join(f"<link rel='mentioned' href='xmpp:{person}'/>" for person in THERE)
    return (
        f"<entry xmlns='{ns.ATOM}'><title>{text}</title><category term='verona'/>"
        f"<content type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'><p>{text}</p></div></content>{links}</entry>"
    )


def _options(wish: str | None, readers: tuple[JID, ...]) -> str:
    if wish is None:
        return ""
    values = "".join(f"<value>{jid}</value>" for jid in readers)
    fields = f"<field var='microblog#audience'><value>{wish}</value></field>"
    if wish == "direct":
        fields += f"<field var='microblog#reader'>{values}</field>"
    form_type = f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_PUBLISH_OPTIONS}</value></field>"
    return f"<publish-options><x xmlns='{ns.DATA}' type='submit'>{form_type}{fields}</x></publish-options>"


_WISHES: Final = (None, "public", "followers", "direct", "local", None, "public")


def _publish(w: World, a: int, b: int, c: int) -> None:
    """To one's own feed, for somebody."""
    name, wish = _one(HERE, a), _one(_WISHES, b)
    author = JID(name, HOME)
    related = _one(w.there(), c) if c % 4 == 1 and w.there() else None
    readers = (_one(THERE, c), JID(_one(HERE, b), HOME)) if wish == "direct" else ()
    allowed = _allowed(author, wish, related, readers)
    if not c % 7:
        allowed = NOBODY if b % 2 else allowed
    text = f" {BORDER.upper()}" if not c % 7 and b % 2 else ""
    marker, item_id = w.marker(allowed, author), _id(w)
    verb = f"<publish node='{MICROBLOG}'><item id='{item_id}'>{_content(w, marker + text, related, a + c)}</item>"
    w.people[name].says(_asks(f"{verb}</publish>{_options(wish, readers)}"))
    w.published(marker, item_id)


def _id(w: World) -> str:
    """An id like no other: it is searched for as well."""
    return f"{'i' * 20}-{len(w.posted)}-"


def _edit(w: World, a: int, b: int, c: int) -> None:
    """Something else under an id that is there, perhaps for others."""
    if not w.there():
        return
    post = _one(w.there(), a)
    related = _one(w.there(), c) if c % 2 else None
    bordering = f" {BORDER}" if not c % 9 else ""
    allowed = post.allowed if related is None else post.allowed & related.allowed
    marker = w.marker(NOBODY if bordering else allowed, post.author)
    content = _content(w, marker + bordering, related, c)
    verb = f"<publish node='{MICROBLOG}'><item id='{post.address.item_id}'>{content}</item>"
    wish = _one(_WISHES, b)
    if post.author.domainpart == HOME:
        w.people[post.author.localpart].says(_asks(f"{verb}</publish>{_options(wish, THERE)}"))


def _is_there(tx: Transaction, address: ItemAddress) -> bool:
    found = tx.nodes.look_up(address.service, address.node, address.item_id or "")
    return found is not None and found.item is not None


def _retract(w: World, a: int, b: int, c: int) -> None:
    post = _one(w.posts(), a)
    verb = f"<retract node='{MICROBLOG}' notify='1'><item id='{post.address.item_id}'/></retract>"
    w.people[post.author.localpart].says(_asks(verb))


def _comment(w: World, a: int, b: int, c: int) -> None:
    """Straight into a post's comments, here or by somebody elsewhere."""
    post = _one(w.there() or w.posts(), a)
    node = COMMENTS_PREFIX + post.address.item_id
    if b % 2:
        name = _one(HERE, c)
        marker = w.marker(post.allowed, JID(name, HOME))
        verb = f"<publish node='{node}'><item id='{_id(w)}'>{_content(w, marker, post, c)}</item></publish>"
        w.people[name].says(_asks(verb, to=str(post.author)))
    else:
        person = _one(THERE, c)
        verb = f"<publish node='{node}'><item id='x{c}'>{_content(w, 'nice', post, c)}</item></publish>"
        w.abroad[person.domainpart].says(_asks(verb, to=str(post.author), from_=f"{person}/balcony"))


def _attach(w: World, a: int, b: int, c: int) -> None:
    """XEP-0470."""
    post = _one(w.posts(), a)
    node = f"{_ATTACHMENTS}/{post.address.uri}".replace("'", "&apos;")
    if b % 2:
        name = _one(HERE, c)
        marker = w.marker(post.allowed, JID(name, HOME))
        reaction = f"<reactions><reaction>{marker}</reaction><reaction>♥</reaction></reactions>"
        content = f"<attachments xmlns='{_ATTACHMENTS}'>{reaction}</attachments>"
        verb = f"<publish node='{node}'><item id='{name}@{HOME}'>{content}</item></publish>"
        w.people[name].says(_asks(verb, to=str(post.author)))
    else:
        person = _one(THERE, c)
        content = f"<attachments xmlns='{_ATTACHMENTS}'><noticed/></attachments>"
        verb = f"<publish node='{node}'><item id='{person}'>{content}</item></publish>"
        w.abroad[person.domainpart].says(_asks(verb, to=str(post.author), from_=f"{person}/balcony"))


_ATTACHMENTS: Final = "urn:xmpp:pubsub-attachments:1"


def _configure(w: World, a: int, b: int, c: int) -> None:
    """A feed, or another node, is opened, closed, or given away."""
    name = _one(HERE, a)
    if c % 4 == 3:
        person, affiliation = _one(THERE, b), _one(list(Affiliation), c // 4)
        change = f"<affiliation jid='{person}' affiliation='{affiliation}'/>"
        verb = f"<affiliations node='{MICROBLOG}'>{change}</affiliations>"
        w.people[name].says(_asks(verb, uri=ns.PUBSUB_OWNER))
        return
    model = _one((*["open"] * 12, "presence", "whitelist", "authorize", "roster"), b)
    form_type = f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_NODE_CONFIG}</value></field>"
    fields = f"<field var='pubsub#access_model'><value>{model}</value></field>"
    fields += f"<field var='pubsub#notify_config'><value>{c % 2}</value></field>"
    form = f"<x xmlns='{ns.DATA}' type='submit'>{form_type}{fields}</x>"
    node = _one((MICROBLOG, MOOD), c)
    for marker in w.moods if (node, model) == (MOOD, "open") else ():
        w.posted[marker].allowed = EVERYBODY
    w.people[name].says(_asks(f"<configure node='{node}'>{form}</configure>", uri=ns.PUBSUB_OWNER))


def _mood(w: World, a: int, b: int, c: int) -> None:
    """An ordinary PEP node: for contacts, and then never by dialback, until it is opened."""
    name = _one(HERE, a)
    marker = w.marker(EVERYBODY, JID(name, HOME))
    w.moods.append(marker)
    mood = f"<mood xmlns='{MOOD}'><text>{marker}</text></mood>"
    w.people[name].says(_asks(f"<publish node='{MOOD}'><item id='current'>{mood}</item></publish>"))


def _subscribe_elsewhere(w: World, a: int, b: int, c: int) -> None:
    """Somebody elsewhere comes, goes, or asks."""
    person, service = _one(THERE, a), JID(_one(HERE, b), HOME)
    verb = "unsubscribe" if c % 3 == 0 else "subscribe"
    w.abroad[person.domainpart].says(_subscribe(person, _service(service, c), _node(w, c), verb))


def _service(service: JID, number: int) -> JID:
    return JID("", HOME) if number % 5 == 4 else service


def _node(w: World, number: int) -> str:
    """Any node that somebody might think of."""
    posts = w.posts()
    post = _one(posts, number // 5)
    return str(
        _one(
            (
                *OWN_NODES,
                *HOST_NODES,
                COMMENTS_PREFIX + (post.address.item_id or ""),
                f"{_ATTACHMENTS}/{post.address.uri}",
                MICROBLOG,
            ),
            number,
        )
    ).replace("'", "&apos;")


def _retrieve(w: World, a: int, b: int, c: int) -> None:
    """Somebody elsewhere asks for items, in all the ways there are."""
    person, service = _one(THERE, a), JID(_one(HERE, b), HOME)
    post = _one(w.posts(), c)
    node = _node(w, c)
    verb = f"<items node='{node}'/>"
    match b % 5:
        case 0:
            service, node = post.author, MICROBLOG
            verb = f"<items node='{node}'><item id='{post.address.item_id}'/></items>"
        case 1:
            verb = f"<items node='{node}' max_items='{c % 5 + 1}'/>"
        case 2:
            before = "<before/>" if c % 2 else f"<after>{post.address.item_id}</after>"
            verb += f"<set xmlns='{ns.RSM}'><max>{c % 20}</max>{before}</set>"
        case 3:
            service, node = post.author, COMMENTS_PREFIX + post.address.item_id
            verb = f"<items node='{node}'/>"
    asked = _asks(verb, to=str(_service(service, c)), from_=f"{person}/balcony", kind="get")
    w.abroad[person.domainpart].says(asked)


def _ask(w: World, a: int, b: int, c: int) -> None:
    """Somebody elsewhere looks around: disco, vCards, forms, last activity."""
    person, service = _one(THERE, a), _service(JID(_one(HERE, b), HOME), b)
    node = f" node='{_node(w, c)}'" if c % 2 else ""
    owned = node or f" node='{MICROBLOG}'"
    asked = _one(
        (
            f"<query xmlns='{ns.DISCO_INFO}'{node}/>",
            f"<query xmlns='{ns.DISCO_ITEMS}'{node}/>",
            "<vCard xmlns='vcard-temp'/>",
            "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>",
            f"<query xmlns='{ns.DISCO_ITEMS}' node='{ns.COMMANDS}'/>",
            f"<pubsub xmlns='{ns.PUBSUB}'><subscriptions/></pubsub>",
            f"<pubsub xmlns='{ns.PUBSUB}'><affiliations/></pubsub>",
            f"<pubsub xmlns='{ns.PUBSUB_OWNER}'><subscriptions{owned}/></pubsub>",
        ),
        c,
    )
    w.abroad[person.domainpart].says(f"<iq type='get' id='a' from='{person}/balcony' to='{service}'>{asked}</iq>")


def _presence(w: World, a: int, b: int, c: int) -> None:
    """Contacts come, go, and are let in or not."""
    person, name = _one(THERE, a), _one(HERE, b)
    server, jid = w.abroad[person.domainpart], JID(name, HOME)
    match c % 5:
        case 0:
            _becomes_contact(w, name, person)
        case 1:
            w.people[name].says(f"<presence type='unsubscribed' to='{person}'/>")
        case 2:
            server.says(f"<presence type='unavailable' from='{person}/balcony' to='{jid}'/>")
        case 3:
            caps = f"<c xmlns='{ns.CAPS}' hash='sha-1' node='urn:client' ver='{_VERSION}'/>"
            server.says(f"<presence type='unavailable' from='{person}/balcony' to='{jid}'/>")
            server.says(f"<presence from='{person}/balcony' to='{jid}'>{caps}</presence>")
        case _:
            server.says(f"<presence type='probe' from='{person}' to='{jid}'/>")


def _feed_elsewhere(w: World, a: int, b: int, c: int) -> None:
    """Somebody elsewhere posts, answers, retracts; our people are told."""
    person, name = _one(THERE, a), _one(HERE, b)
    post = _one(w.posts(), c)
    item = f"<item id='there{c % 6}'>{_content(w, f'there {c}', post, c)}</item>"
    told = f"<retract id='there{c % 6}'/>" if b % 4 == 3 else item
    event = f"<event xmlns='{ns.PUBSUB_EVENT}'><items node='{MICROBLOG}'>{told}</items></event>"
    message = f"<message type='headline' from='{person}' to='{name}@{HOME}'>{event}</message>"
    w.abroad[person.domainpart].says(message)


def _words(w: World, a: int, b: int, c: int, author: JID) -> tuple[str, Posted | None]:
    """A line of chat, and the marker of what it posts."""
    number = c % 8 + 1
    meant = _meant(w, author, number)
    related = EVERYBODY if meant is None else meant
    default = NOBODY if author.localpart == "mercutio" else EVERYBODY
    there, here = _one(THERE, c), _one(HERE, a + b)
    texts: tuple[tuple[str, frozenset[str]], ...] = (
        ("local {}", NOBODY),
        ("l: {}", NOBODY),
        ("{}", default),
        ("post {}", default),
        ("public {} #verona", default),
        ("friends {}", default & TRUSTED),
        ("cw war: {}", default),
        ("post {} @" + str(there), default),
        ("local {} @" + str(there), NOBODY),
        (f"post {BORDER} {{}}", NOBODY),
        (f"#{number} {{}}", related & default),
        (f"reply #{number} {{}}", related & default),
        (f"reply {there} {{}}", default),
        (f"@{here} {{}}", default),
        (f"@{there} {{}}", default),
        (f"repost #{number} {{}}", related & default),
        (f"edit #{number} {{}}", related),
        (f"d {there} {{}}", frozenset((there.domainpart,))),
        (f"d {here} {{}}", TRUSTED if here == "rosaline" else NOBODY),
        (f"where local: {{}} @{there}", NOBODY),
        ("where {}", NOBODY),
        (f"where #{number}", NOBODY),
        (f"repost #{number}", NOBODY),
        (f"fav #{number}", NOBODY),
        (f"react #{number} ☺", NOBODY),
        (f"unfav #{number}", NOBODY),
        (f"delete #{number}", NOBODY),
        ("delete last", NOBODY),
        ("yes", NOBODY),
        ("undo", NOBODY),
        (f"follow {there}", NOBODY),
        (f"follow {here}", NOBODY),
        (f"leave {there}", NOBODY),
        (f"nudge {there}", NOBODY),
        ("allow all", NOBODY),
        (f"whois {here}", NOBODY),
        ("home", NOBODY),
        ("more", NOBODY),
        ("timeline local", NOBODY),
        ("timeline #verona", NOBODY),
        (f"get {here}", NOBODY),
        (f"thread #{number}", NOBODY),
        ("mentions", NOBODY),
        ("set audience local", NOBODY),
        ("set audience public", NOBODY),
        ("bio I am", NOBODY),
        ("stats", NOBODY),
        ("followers", NOBODY),
        ("locall {}", EVERYBODY),
    )
    # Most of what people say is something to be posted.
    text, allowed = _one((*texts[:19], *texts), b)
    if "{}" not in text:
        return text, None
    marker = w.marker(allowed, author)
    return text.format(marker), w.posted[marker]


def _meant(w: World, author: JID, number: int) -> frozenset[str] | None:
    """Who may see what somebody knows by a number."""

    def ask(tx: Transaction) -> bytes | None:
        account = tx.accounts.get(author.localpart)
        address = None if account is None else tx.shown.find(account.key, number)
        found = address and tx.nodes.look_up(address.service, address.node, address.item_id or "")
        if found and found.item and found.item.via:
            # What is said to something that repeats a post is said to that post, which is public.
            address = read_uri(found.item.via)
            found = address and tx.nodes.look_up(address.service, address.node, address.item_id or "")
        return found.item.payload.encode() if found and found.item else None

    payload = w.house.database.run(ask)
    found = _MARKER.findall(payload) if payload else []
    allowed = EVERYBODY
    for marker in found:
        allowed &= w.posted[marker.decode()].allowed
    return allowed if found else None


def _say(w: World, a: int, b: int, c: int) -> None:
    """Somebody here talks to the node."""
    name = _one(HERE, a)
    text, _ = _words(w, a, b, c, JID(name, HOME))
    to = _one((HOME, f"post@{HOME}"), c)
    about = _about(b, c)
    w.people[name].says(
        f"<message to='{to}' type='chat' id='m{len(w.posted)}.{b}.{c}'><body>{text}</body>{about}</message>"
    )


def _say_linked(w: World, a: int, b: int, c: int) -> None:
    """Rosaline talks to the node from the nurse's address: what is local does not go back there."""
    text, _ = _words(w, 3, b, c, JID("rosaline", HOME))
    about = _about(a, c)
    message = f"<message from='{LINKED}/b' to='{HOME}' type='chat' id='l{len(w.posted)}.{b}.{c}'>"
    w.abroad[CAPULET].says(f"{message}<body>{text}</body>{about}</message>")


def _about(b: int, c: int) -> str:
    """Now and then it is about a line that was shown."""
    if c % 6:
        return ""
    line = f"n{c % 7 + 1}"
    return str(
        _one(
            (
                f"<reactions xmlns='{ns.REACTIONS}' id='{line}'><reaction>♥</reaction></reactions>",
                f"<retract xmlns='{ns.RETRACT}' id='{line}'/>",
                "",
            ),
            b,
        )
    )


def _publish_linked(w: World, a: int, b: int, c: int) -> None:
    """Rosaline publishes from there, by pubsub."""
    wish, author = _one(_WISHES, b), JID("rosaline", HOME)
    related = _one(w.there(), c) if c % 3 and w.there() else None
    readers = (THERE[0],) if wish == "direct" else ()
    marker, item_id = w.marker(_allowed(author, wish, related, readers), author), _id(w)
    content = _content(w, marker, related, a)
    verb = f"<publish node='{MICROBLOG}'><item id='{item_id}'>{content}</item></publish>{_options(wish, readers)}"
    w.abroad[CAPULET].says(_asks(verb, to=str(author), from_=f"{LINKED}/b"))
    w.published(marker, item_id)


def _sought(w: World, a: int, b: int, c: int, author: JID) -> str:
    """A line of chat: what somebody looks for, or does not want; whom they report; where they are."""
    # What Rosaline says anywhere may be repeated to her anywhere.
    own = TRUSTED if author.localpart == "rosaline" else NOBODY
    there, here, number = _one(THERE, c), _one(HERE, a + b), c % 8 + 1
    texts: tuple[tuple[str, frozenset[str]], ...] = (
        ("search #verona", own),
        (f"search from {here}", own),
        ("search {}", own),
        ("track #verona", own),
        (f"track urgent from {here}", own),
        ("track {}", own),
        (f"track {{}} @{there.domainpart}", own | {there.domainpart}),
        ("track near [] 100km", own),
        ("untrack all", own),
        ("tracks ~1", own),
        ("tracks all", own),
        ("mute {}", own),
        (f"mute {there} for 1h", own),
        (f"mute #{number}", own),
        ("unmute all", own),
        ("mutes", own),
        (f"block {there}", own),
        (f"block {here}", own),
        ("unblock all", own),
        ("unblock all", own),
        (f"list {here} friends", own),
        (f"list {there} friends", own),
        ("timeline friends", own),
        ("follow #verona", own),
        (f"watch #{number}", own),
        ("watch", own),
        (f"report {there} {{}}", own),
        (f"report {there} there {{}}", own | {there.domainpart}),
        (f"report {there} there {{}}", own | {there.domainpart}),
        (f"report #{number} there", own),
        (f"report {here} there {{}}", own),
        ("place Globe is [] 300m", own),
        ("place []", own),
        ("place Globe", own),
        ("place share on", own),
        (f"place allow {here}", own),
        ("places", own),
        ("near here 100km", own),
        ("near [] 100km", own),
        ("rule when #verona appears then tell me", own),
        (f"rule when {here} posts then tell me", own),
        ("rule when anyone posts near [] 100km then tell me", own),
        (f"rule when {here} enters Globe then tell me", own),
        ("rule when #verona appears then call p0", own),
        (f"rule when {here} posts then call p1", own),
        ("rule when #verona appears then post It says so", own),
        ("rules", own),
        ("rules about me", own),
        ("unrule all", own),
        ("when away 15m", own),
        ("when online", own),
        ("when always", own),
        (f"off {here} for 1h", own),
        (f"on {here}", own),
        ("catchup", own),
        ("more", own),
    )
    text, allowed = _one(texts, b)
    if "{}" in text:
        text = text.format(w.marker(allowed, author))
    return str(text.replace("[]", f"{w.place(allowed, author)},-137.005") if "[]" in text else text)


def _seek(w: World, a: int, b: int, c: int) -> None:
    """Somebody here says such a thing."""
    name = _one(HERE, a)
    text = _sought(w, a, b, c, JID(name, HOME))
    w.people[name].says(f"<message to='{HOME}' type='chat' id='s{len(w.posted)}.{b}.{c}'><body>{text}</body></message>")


def _seek_linked(w: World, a: int, b: int, c: int) -> None:
    """So does Rosaline, from the nurse's address."""
    text = _sought(w, a, b, c, JID("rosaline", HOME))
    message = f"<message from='{LINKED}/b' to='{HOME}' type='chat' id='k{len(w.posted)}.{b}.{c}'>"
    w.abroad[CAPULET].says(f"{message}<body>{text}</body></message>")


def _at(w: World, a: int, b: int, c: int) -> None:
    """A post that says where its author is, there by coordinates or by what the node knows."""
    name = _one(HERE, a)
    author = JID(name, HOME)
    marker = w.marker(NOBODY if name == "mercutio" else EVERYBODY, author)
    w.posted[marker].placed = True
    where = _one(("here", "Globe", f"{w.place(NOBODY, author)},-137.005"), b)
    text = f"at {where}: {marker} #verona"
    w.people[name].says(f"<message to='{HOME}' type='chat' id='a{marker}'><body>{text}</body></message>")


def _locate(w: World, a: int, b: int, c: int) -> None:
    """XEP-0080, for oneself alone, and for the node if one lets it."""
    name = _one(HERE, a)
    latitude = w.place(TRUSTED if name == "rosaline" else NOBODY, JID(name, HOME))
    place = f"<geoloc xmlns='{ns.GEOLOC}'><lat>{latitude}04</lat><lon>-137.00512</lon></geoloc>"
    form_type = f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB_PUBLISH_OPTIONS}</value></field>"
    fields = "<field var='pubsub#access_model'><value>whitelist</value></field>"
    options = f"<publish-options><x xmlns='{ns.DATA}' type='submit'>{form_type}{fields}</x></publish-options>"
    w.people[name].says(_asks(f"<publish node='{ns.GEOLOC}'><item id='current'>{place}</item></publish>{options}"))


def _track_elsewhere(w: World, a: int, b: int, c: int) -> None:
    """Somebody elsewhere looks for something here."""
    person = _one(THERE, a)
    query = _one(("#verona", *(f"from {name}@{HOME}" for name in HERE), "near -61.5,-137 100km"), b)
    form_type = f"<field var='FORM_TYPE' type='hidden'><value>{ns.PUBSUB}#subscribe_options</value></field>"
    fields = f"{form_type}<field var='microblog#query'><value>{query}</value></field>"
    form = f"<x xmlns='{ns.DATA}' type='submit'>{fields}</x>"
    verb = f"{_subscribe_verb(TRACK, person)}<options node='{TRACK}' jid='{person}'>{form}</options>"
    w.abroad[person.domainpart].says(_asks(verb, to=HOME, from_=f"{person}/balcony"))


def _program(w: World, a: int, b: int, c: int) -> None:
    """A program of Rosaline's reads what has happened at the nurse's address; others try the same."""
    person = LINKED if a % 4 else _one(THERE, b)
    sources = "".join(f"<source>{one}</source>" for one in ("home", "mentions", "own", "track", "local", "calls"))
    name = f"p{b % 4}"
    asked = f"<open xmlns='{ns.EVENTS}' name='{name}' from='start' window='200'>{sources}</open>"
    stanzas = w.abroad[person.domainpart].stanzas if not c % 3 else ()
    seen = re.findall(r"cursor=.([0-9.]+)", "".join(map(to_text, stanzas)))
    if seen:
        asked = f"<ack xmlns='{ns.EVENTS}' name='{name}' cursor='{seen[-1]}'/>"
    elif c % 7 == 1:
        asked = f"<delete xmlns='{ns.EVENTS}' name='{name}'/>"
    w.abroad[person.domainpart].says(f"<iq type='set' id='e' from='{person}/b' to='{HOME}'>{asked}</iq>")


def _busy(w: World, a: int, b: int, c: int) -> None:
    """Rosaline is busy at the nurse's address, or is not any more; and what waited comes."""
    w.abroad[CAPULET].says(f"<presence type='subscribe' from='{LINKED}' to='{HOME}'/>")
    w.abroad[CAPULET].says(f"<presence type='subscribed' from='{LINKED}' to='{HOME}'/>")
    show = _one(("<show>dnd</show>", "", "<show>away</show>", "<show>dnd</show>", ""), c)
    w.abroad[CAPULET].says(f"<presence from='{LINKED}/b' to='{HOME}'>{show}</presence>")
    w.people["rosaline"].says(f"<presence>{show}</presence>")


def _report(w: World, a: int, b: int, c: int) -> None:
    """XEP-0377: with a block; or by the others' servers."""
    name, person = _one(HERE, a), _one(THERE, b)
    post = _one(w.posts(), c)
    if c % 3 == 2:
        about = f"<jid xmlns='{ns.JID}'>{name}@{HOME}</jid><text>Says this and that</text>"
        reference = f"<reference xmlns='{ns.REFERENCE}' type='data' uri='{post.address.uri}'/>".replace("''", "'")
        report = f"<report xmlns='{ns.REPORTING}' reason='urn:xmpp:reporting:spam'>{about}{reference}</report>"
        domain = person.domainpart
        w.abroad[domain].says(f"<message from='{domain}' to='{HOME}' id='r{c}'>{report}</message>")
        return
    allowed = (TRUSTED if name == "rosaline" else NOBODY) | ({person.domainpart} if c % 3 else set())
    marker = w.marker(allowed, JID(name, HOME))
    origin = "<report-origin/>" if c % 3 else ""
    report = f"<report xmlns='{ns.REPORTING}' reason='urn:xmpp:reporting:spam'>{origin}<text>{marker}</text></report>"
    block = f"<block xmlns='{ns.BLOCKING}'><item jid='{person}'>{report}</item></block>"
    w.people[name].says(f"<iq type='set' id='b'>{block}</iq>")
    w.people[name].says(f"<iq type='set' id='b'><unblock xmlns='{ns.BLOCKING}'/></iq>")


def _wait(w: World, a: int, b: int, c: int) -> None:
    """Time goes by; streams end."""
    if c % 3 == 0:
        w.abroad[_one(DOMAINS, a)].hang_up()
    w.house.wait(_one((1, 70, 700, 4000, 100_000), b))


def _directly(w: World, a: int, b: int, c: int) -> None:
    """Somebody here asks somebody elsewhere, as clients do."""
    name, person = _one(HERE, a), _one(THERE, b)
    asked = _one(
        (
            _asks(f"<items node='{MICROBLOG}'/>", to=str(person), kind="get"),
            _asks(_subscribe_verb(MICROBLOG, JID(name, HOME)), to=str(person)),
            f"<message to='{person}' type='chat'><body>good day</body></message>",
            f"<iq type='get' id='d' to='{person}'><query xmlns='{ns.DISCO_INFO}'/></iq>",
        ),
        c,
    )
    w.people[name].says(asked)


def _timelines(w: World, a: int, b: int, c: int) -> None:
    """Timelines, from here."""
    name = _one(HERE, a)
    to = HOME if c % 2 else ""
    node = _one(HOST_NODES, b) if c % 2 else _one(OWN_NODES, b)
    if c % 3:
        w.people[name].says(_asks(f"<items node='{node}' max_items='5'/>", to=to, kind="get"))
    else:
        w.people[name].says(_asks(_subscribe_verb(node, JID(name, HOME)), to=to))


Action = Callable[[World, int, int, int], None]
SAID: Final[tuple[Action, ...]] = (
    _publish,
    _publish,
    _publish,
    _publish,
    _say,
    _say,
    _say,
    _say,
    _say_linked,
    _say_linked,
    _retrieve,
    _retrieve,
    _subscribe_elsewhere,
    _edit,
    _comment,
    _attach,
    _configure,
    _mood,
    _retract,
    _presence,
    _feed_elsewhere,
    _publish_linked,
    _ask,
    _wait,
    _directly,
    _timelines,
)
# What there is besides posting and answering.
SOUGHT: Final[tuple[Action, ...]] = (
    _seek,
    _seek,
    _seek,
    _seek_linked,
    _seek_linked,
    _at,
    _locate,
    _track_elsewhere,
    _program,
    _busy,
    _report,
)
ACTIONS: Final = SAID + SOUGHT
_NUMBERS = st.integers(0, 99)
STEPS = st.lists(st.tuples(st.integers(0, len(ACTIONS) - 1), _NUMBERS, _NUMBERS, _NUMBERS), min_size=1, max_size=40)
Steps = list[tuple[int, int, int, int]]


def play(steps: Steps) -> World:
    """Do all that, and search after each step. Raises Leak."""
    w = world()
    w.search()
    for action, a, b, c in steps:
        ACTIONS[action](w, a, b, c)
        w.search()
    w.house.wait(4000)
    w.search()
    return w


def some_steps(seed: int, *often: Action, among: tuple[Action, ...] = ACTIONS, count: int = 50) -> Steps:
    """The same steps for the same number; every other one is one of those that are to be taken ``often``."""
    chance = random.Random(seed)
    if often:
        emphasised = [ACTIONS.index(action) for action in often]
        usual = some_steps(seed, among=among, count=count)
        return [(chance.choice(emphasised), *step[1:]) if place % 2 else step for place, step in enumerate(usual)]
    return [(chance.randrange(len(among)), *(chance.randrange(100) for _ in range(3))) for _ in range(count)]  # type: ignore[misc]  # tuples of the right length


@pytest.fixture(autouse=True)
def incidents() -> Iterator[list[str]]:
    """No bug of ours may hide in the log."""
    found: list[str] = []

    def observe(event: Any) -> None:
        if event.get("log_failure") is not None:
            found.append(event["log_failure"].getTraceback())

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]  # a function is an observer
    yield found
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]  # a function observes


@given(steps=STEPS)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_local_never_leaves(incidents: list[str], steps: Steps) -> None:
    play(steps)
    assert incidents == []


def _our_items(tx: Transaction) -> list[tuple[str, str]]:
    rows = tx.connection.execute(tables.items.select().where(tables.items.c.proof == "local"))
    return [(row.audience, row.answers) for row in rows]


def _kept(tx: Transaction) -> Counter[str]:
    names = ("mutes", "blocks", "tracks", "track_hits", "rules", "locations", "item_places", "reports", "held_lines")
    rows = {name: tx.connection.execute(tables.metadata.tables[name].select()).all() for name in names}
    return Counter({name: len(found) for name, found in rows.items()})


def test_much_is_said_in_these_stories() -> None:
    """Or nothing could be learnt from them."""
    heard = dict.fromkeys(DOMAINS, 0)
    audiences = dict.fromkeys(Audience, 0)
    answers = 0
    for seed in range(6):
        w = play(some_steps(seed, among=SAID))
        for domain, server in w.abroad.items():
            heard[domain] += len(set(_MARKER.findall(b"".join(server.bytes_heard()))))
        for audience, answered in w.house.database.run(_our_items):
            audiences[Audience(audience)] += 1
            answers += bool(answered)
    assert heard[CAPULET] > heard[VERONA] > 10
    assert audiences[Audience.LOCAL] > 20 and audiences[Audience.PUBLIC] > 10
    assert audiences[Audience.FOLLOWERS] > 8 and audiences[Audience.DIRECT] > 2
    assert answers > 10


def test_much_is_sought_in_these_stories() -> None:
    told: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for seed in range(6):
        w = play(some_steps(seed, *SOUGHT))
        told += w.told
        kept += w.house.database.run(_kept)
    assert min(told[kind] for kind in ("report", "matched", "program", "home", "own")) > 1
    assert min(kept[kind] for kind in ("tracks", "track_hits", "rules", "locations", "item_places", "reports")) > 1


def test_each_hears_what_is_for_it() -> None:
    w = world()
    _publish(w, 0, 1, 4)
    public, followers, local = f"zq{len(w.posted) - 1}qz", "zq2qz", "zq0qz"
    assert w.posted[public].allowed == EVERYBODY
    heard = {domain: b"".join(server.bytes_heard()).decode() for domain, server in w.abroad.items()}
    assert public in heard[CAPULET] and public in heard[VERONA]
    assert followers in heard[CAPULET] and followers not in heard[VERONA]
    assert local not in heard[CAPULET] + heard[VERONA]


# What the search has to be able to find


def _all(*arguments: object, **named: object) -> frozenset[Audience]:
    return frozenset(Audience)


def _yes(*arguments: object, **named: object) -> bool:
    return True


def _nothing(*arguments: object) -> None:
    return None


def _named(report: Report) -> Element:
    return Element(ns.REPORTING, "report", None, str(report.reporter), Element(ns.JID, "jid", None, str(report.jid)))


LEAKS: Final[dict[str, tuple[tuple[Any, str, Any], ...]]] = {
    # Several lines of defence: each of these three stands alone for what the others let through.
    "the outbox sends everything": (
        (delivering, "audiences_allowed", _all),
        (delivering, "audiences_readable", _all),
        (outbox, "may_leave", _yes),
    ),
    "whoever asks is given everything": (
        (subscribing, "audiences_readable", _all),
        (pubsub, "audiences_allowed", _all),
    ),
    "linked people read all from everywhere": ((pubsub, "audiences_allowed", _all),),
    "lines go to linked addresses": (
        (chatting, "may_leave", _yes),
        (outbox, "may_leave", _yes),
        (delivering, "audiences_allowed", _all),
    ),
    "answers are for whom their author likes": ((addressing, "_known", lambda *arguments: iter(())),),
    "everything may be repeated": ((addressing, "_check_repeat", _nothing),),
    "edits may bring in anything": ((publishing, "edited_audience", lambda tx, request, old: old.audience),),
    "nothing is kept at the border": ((Border, "ceiling", _nothing),),
    "what is deleted is repeated to its author": ((posting, "may_leave", _yes),),
    "last items need no certificate": (
        (pep, "proof_for", lambda audience: Proof.DIALBACK),
        (pubsub, "proof_for", lambda audience: Proof.DIALBACK),
    ),
}


# Some need what people seldom do.
OFTEN: Final[dict[str, tuple[Action, ...]]] = {
    "what is deleted is repeated to its author": (_say_linked,),
    "last items need no certificate": (_mood, _presence),
}


@pytest.mark.parametrize("rule", LEAKS)
def test_a_leak_is_found(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for holder, name, instead in LEAKS[rule]:
        monkeypatch.setattr(holder, name, instead)
    with pytest.raises(Leak):
        for seed in range(30):
            play(some_steps(seed, *OFTEN.get(rule, ()), among=SAID))


# The same of what people look for, report, and so on: what has to happen first happens seldom, so it is said here.


_IDS: Final = itertools.count()


def _says(w: World, name: str, text: str) -> None:
    w.people[name].says(f"<message to='{HOME}' type='chat' id='{next(_IDS)}'><body>{text}</body></message>")


def _says_linked(w: World, text: str) -> None:
    message = f"<message from='{LINKED}/b' to='{HOME}' type='chat' id='{next(_IDS)}'>"
    w.abroad[CAPULET].says(f"{message}<body>{text}</body></message>")


def _posts_locally(w: World, word: str = "post") -> None:
    """Mercutio never does anything else."""
    marker = w.marker(NOBODY, JID("mercutio", HOME))
    _says(w, "mercutio", f"{word} {marker} #verona")
    w.house.wait(5)


def _searches(w: World) -> None:
    _posts_locally(w)
    _says_linked(w, "search #verona")


def _looks_around(w: World) -> None:
    _posts_locally(w, "at 45.442,10.998:")
    _says_linked(w, "near 45.442,10.998 5km")


def _waits(w: World) -> None:
    _busy(w, 0, 0, 0)
    _posts_locally(w)


def _catches_up(w: World) -> None:
    _waits(w)
    for _ in range(2):
        _says_linked(w, "more")


def _comes_back(w: World) -> None:
    _waits(w)
    _busy(w, 0, 0, 1)
    w.house.wait(2000)


def _reads_events(w: World) -> None:
    _posts_locally(w)
    _program(w, 1, 0, 1)
    _program(w, 1, 0, 2)


def _calls(w: World) -> None:
    _says_linked(w, "program p0 calls")
    _says_linked(w, "rule when #verona appears then call p0")
    _posts_locally(w)
    _program(w, 1, 0, 2)


def _is_told(w: World) -> None:
    _says_linked(w, "rule when #verona appears then tell me")
    _posts_locally(w)


def _is_sought(w: World) -> None:
    _track_elsewhere(w, 0, 0, 0)
    _track_elsewhere(w, 2, 0, 0)
    _posts_locally(w)


def _tracks(w: World) -> None:
    _says_linked(w, "track #verona")
    _posts_locally(w)
    _says_linked(w, "tracks ~1")


def _reports(w: World) -> None:
    _says(w, "romeo", f"report {THERE[0]} there He is not what he seems")


def _reports_here(w: World) -> None:
    marker = w.marker(NOBODY, JID("romeo", HOME))
    _says(w, "romeo", f"report {THERE[0]} {marker}")


def _looks_here(w: World) -> None:
    marker = w.marker(NOBODY, JID("romeo", HOME))
    _says(w, "romeo", f"track {marker} -@x")
    _says(w, "romeo", f"track {marker}")


def _looks_there(w: World) -> None:
    """Only the node that is asked learns what for."""
    marker = w.marker(TRUSTED, JID("romeo", HOME))
    _says(w, "romeo", f"track {marker} @{CAPULET}")
    w.house.wait(5)
    assert w.told["asked"]


def _is_somewhere(w: World) -> None:
    _locate(w, 0, 0, 0)
    _says(w, "romeo", f"place {w.place(NOBODY, JID('romeo', HOME))},-137.005")
    for person in THERE:
        asked = _asks(f"<items node='{ns.GEOLOC}'/>", to=f"romeo@{HOME}", from_=f"{person}/balcony", kind="get")
        w.abroad[person.domainpart].says(asked)


_OUTBOX: Final = ((outbox, "may_leave", _yes), (delivering, "audiences_allowed", _all))
SEEKING: Final[dict[str, tuple[Callable[[World], None], tuple[tuple[Any, str, Any], ...]]]] = {
    "searches elsewhere find everything": (_searches, ((searching, "audiences_allowed", _all),)),
    "who looks around elsewhere finds everything": (_looks_around, ((places, "audiences_allowed", _all),)),
    "what waits is read everywhere": (_catches_up, ((delivery, "audiences_allowed", _all),)),
    "what waited goes everywhere": (_comes_back, ((chatting, "may_leave", _yes), *_OUTBOX)),
    "programs elsewhere are told everything": (_reads_events, ((events, "audiences_allowed", _all),)),
    "rules call out everything": (_calls, ((events, "audiences_allowed", _all),)),
    "rules tell everything": (_is_told, ((chatting, "may_leave", _yes), *_OUTBOX)),
    "reports say whose they are": (_reports, ((reporting, "write", _named),)),
}


@pytest.mark.parametrize("rule", SEEKING)
def test_what_is_sought_would_be_found_to_leak(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    story, broken = SEEKING[rule]
    for holder, name, instead in broken:
        monkeypatch.setattr(holder, name, instead)
    w = world()
    with pytest.raises(Leak):
        story(w)
        w.search()


OTHERS: Final = (_is_sought, _tracks, _reports_here, _looks_here, _looks_there, _is_somewhere)
STORIES: Final = (*(story for story, _ in SEEKING.values()), *OTHERS)


@pytest.mark.parametrize("story", STORIES)
def test_stories_without_a_leak(story: Callable[[World], None]) -> None:
    w = world()
    story(w)
    w.search()
