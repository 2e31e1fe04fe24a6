"""Another node with a delivery log, that does with it what a test wants: tells lies, says nothing, or is innocent."""

from collections.abc import Callable, Sequence
from typing import Any

from microblog.model.fanout import Told, set_digest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.transaction import Transaction
from microblog.wire import disco, fanout, ns
from microblog.wire.disco import Info
from microblog.wire.fanout import Deliver, Entry, FanoutLimits, FollowerSet, Stored
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element, Raw, serialize
from microblog.xmpp import tls
from tests.federation.abroad import HOME, Abroad, House, Person
from tests.xmltext import read_stanza

SILENCE = "silence"
EPOCH = "theirs"


class Peer(Abroad):
    """A node elsewhere. ``log`` is what it can be asked for, ``sets`` whom it knows as followers here.

    ``stores`` answers a delivery: the content of a result, or of an error that begins so, or SILENCE.
    """

    def __init__(self, house: House, domain: str, certificates: tls.Certificates, *, trusted: bool = True) -> None:
        super().__init__(house, domain, certificates, trusted=trusted)
        self.features = (*self.features, ns.FANOUT)
        self.epoch = EPOCH
        self.log: dict[int, Raw] = {}
        self.sets: dict[str, tuple[JID, ...]] = {}
        self.grants = True
        self.silent = False  # when asked what it is
        self.came: list[Deliver] = []
        self.asked: list[Element] = []
        self.stores: Callable[[Deliver], str] = self.stored
        self.pages: Callable[[Element], str] | None = None

    # what it is asked

    def _stanza(self, element: Element) -> None:
        asked = element.first()
        if element.name != "iq" or element.get("type") not in ("get", "set") or asked is None:
            super()._stanza(element)
            return
        content = self._says(asked)
        if content is None:
            super()._stanza(element)
            return
        self.stanzas.append(element)
        if content == SILENCE:
            return
        type_ = "error" if content.startswith("<error") else "result"
        to = element.get("from") or HOME
        self.mutters(f"<iq type='{type_}' id='{element.get('id')}' from='{self.domain}' to='{to}'>{content}</iq>")

    def _says(self, asked: Element) -> str | None:
        if asked.is_(ns.DISCO_INFO, "query") and self.silent:
            return SILENCE
        if asked.is_(ns.DISCO_INFO, "query") and not asked.get("node") and ns.FANOUT in self.features:
            form = fanout.write_limits(FanoutLimits(epoch=self.epoch))
            return serialize(disco.write_info(Info(features=self.features, forms=(form,))), ns.CLIENT)
        verb = asked.first() if asked.uri == ns.PUBSUB else None
        if verb is not None and verb.name == "subscribe" and not self.grants:
            return f"<error type='auth'><forbidden xmlns='{ns.STANZAS}'/></error>"
        if asked.uri != ns.FANOUT or ns.FANOUT not in self.features:
            return None
        self.asked.append(asked)
        match asked.name:
            case "deliver":
                came = fanout.read_deliver(asked)
                self.came.append(came)
                return self.stores(came)
            case "fetch":
                return self._page(asked) if self.pages is None else self.pages(asked)
            case "followers":
                author = fanout.read_followers_query(asked).author
                jids = self.sets.get(str(author), ())
                page = FollowerSet(author=author, version=1, digest=set_digest(jids), jids=jids)
                return serialize(fanout.write_follower_set(page), ns.CLIENT)
        return None

    def _page(self, asked: Element) -> str:
        fetch = fanout.read_fetch(asked)
        last = max(self.log, default=fetch.after)
        numbers = range(fetch.after + 1, min(last, fetch.after + fetch.max) + 1)
        entries = [self.log.get(number) or fanout.write_void(number) for number in numbers]
        return serialize(fanout.write_deliver(self.epoch, fetch.after, entries, last=max(last, fetch.after)), ns.CLIENT)

    @staticmethod
    def stored(came: Deliver, **more: Any) -> str:
        """All of it."""
        return serialize(fanout.write_stored(Stored(epoch=came.epoch, upto=came.upto, **more)), ns.CLIENT)

    # what it says

    def delivers(self, prev: int, *entries: str, epoch: str = "", id_: str = "d", from_: str = "") -> Stanza:
        """Entries as text; the answer."""
        written = "".join(entries)
        self.asks(
            f"<deliver xmlns='{ns.FANOUT}' epoch='{epoch or self.epoch}' prev='{prev}'>{written}</deliver>",
            "set",
            id_,
            from_,
        )
        return self.answer(id_)

    def asks(self, payload: str, type_: str = "get", id_: str = "d", from_: str = "") -> None:
        self.stanzas.clear()
        self.says(f"<iq type='{type_}' id='{id_}' from='{from_ or self.domain}' to='{HOME}'>{payload}</iq>")

    def answer(self, id_: str = "d") -> Stanza:
        """To what was asked; it may take a while."""
        for _ in range(60):
            found = [one for one in self.stanzas if one.get("id") == id_ and one.get("type") in ("result", "error")]
            if found:
                break
            self.house.wait(1)
        (only,) = found
        return read_stanza(serialize(only, ns.CLIENT))

    def told(self) -> list[Entry]:
        """What it was told by a log that was not void."""
        return [entry for came in self.came for entry in came.entries if not entry.is_void]

    def titles(self) -> list[str]:
        """Of the posts it was told of by a log."""
        found = []
        for entry in self.told():
            assert entry.event is not None
            found += [item.payload.child_text(ns.ATOM, "title") or "" for item in entry.event.items if item.payload]
        return found


def stored(answer: Stanza) -> Stored:
    payload = answer.payload
    assert answer.type == "result" and payload is not None, answer
    return fanout.read_stored(payload)


def post(
    number: int,
    item_id: str,
    title: str,
    *,
    author: str,
    audience: Told = Told.PUBLIC,
    followers: Sequence[JID] | None = None,
    version: int = 1,
    digest: str = "",
    to: Sequence[JID] = (),
    publisher: str = "",
    uri: str = "",
    published: str = "2026-01-01T12:00:00Z",
) -> str:
    """An entry that tells of a post."""
    by = f"<author><uri>{uri}</uri></author>" if uri else ""
    times = f"<published>{published}</published><updated>{published}</updated>"
    payload = f"<entry xmlns='{ns.ATOM}'><title>{title}</title>{by}{times}</entry>"
    item = f"<item id='{item_id}' publisher='{publisher or author}'>{payload}</item>"
    event = Raw(f"<event xmlns='{ns.PUBSUB_EVENT}'><items node='{MICROBLOG}'>{item}</items></event>")
    if followers is not None:
        digest = digest or set_digest(followers)
    return fanout.write_entry(
        number, JID.parse(author), audience, event, version=version if digest else None, digest=digest, to=to
    )


def gone(number: int, item_id: str, *, author: str) -> str:
    """An entry that tells that a post was retracted."""
    event = Raw(f"<event xmlns='{ns.PUBSUB_EVENT}'><items node='{MICROBLOG}'><retract id='{item_id}'/></items></event>")
    return fanout.write_entry(number, JID.parse(author), Told.HOLDERS, event)


def subscribes(person: Person | Abroad, subscriber: JID, to: JID, verb: str = "subscribe") -> None:
    """Somebody here follows somebody elsewhere, or the other way round."""
    asked = f"<pubsub xmlns='{ns.PUBSUB}'><{verb} node='{MICROBLOG}' jid='{subscriber}'/></pubsub>"
    from_ = f" from='{subscriber}'" if isinstance(person, Abroad) else ""
    person.says(f"<iq type='set' id='s'{from_} to='{to}'>{asked}</iq>")


def publishes(person: Person, item_id: str, title: str, *, audience: str = "", to: Sequence[JID] = ()) -> None:
    """Somebody here posts."""
    options = ""
    if audience:
        named = "".join(f"<value>{jid}</value>" for jid in to)
        readers = f"<field var='microblog#reader'>{named}</field>" if to else ""
        options = (
            f"<publish-options><x xmlns='{ns.DATA}' type='submit'><field var='FORM_TYPE' type='hidden'><value>"
            f"{ns.PUBSUB_PUBLISH_OPTIONS}</value></field><field var='microblog#audience'><value>{audience}</value>"
            f"</field>{readers}</x></publish-options>"
        )
    payload = f"<entry xmlns='{ns.ATOM}'><title>{title}</title></entry>"
    verb = f"<publish node='{MICROBLOG}'><item id='{item_id}'>{payload}</item></publish>{options}"
    person.says(f"<iq type='set' id='p'><pubsub xmlns='{ns.PUBSUB}'>{verb}</pubsub></iq>")


def retracts(person: Person, item_id: str) -> None:
    """Somebody here takes a post back."""
    verb = f"<retract node='{MICROBLOG}' notify='true'><item id='{item_id}'/></retract>"
    person.says(f"<iq type='set' id='p'><pubsub xmlns='{ns.PUBSUB}'>{verb}</pubsub></iq>")


def kept(house: House, service: JID) -> dict[str, str]:
    """What our node has of a feed: by id, the payload."""

    def read(tx: Transaction) -> dict[str, str]:
        node = tx.nodes.find(service, MICROBLOG)
        return {} if node is None else {item.id: item.payload for item in tx.items.newest(node.key, 1000)}

    return house.database.run(read)
