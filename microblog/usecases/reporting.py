"""Where posts go: the delivery report of one that is published, and the preview of one that is not yet.

Both ask ``model.access`` who is told and which domains may be told, as the outbox does when it sends. The preview takes
every domain for one that proves itself by certificate: a post that is not public waits for that, as the report says.

People are counted as far as ``PEOPLE_MAX``, domains are listed as far as ``DOMAINS_MAX``, however many there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from microblog.model.access import audience_of, audiences_readable, may_leave, narrower
from microblog.model.errors import Forbidden, ItemNotFound
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, Node
from microblog.model.uri import item_uri
from microblog.store.holders import DOMAINS_MAX
from microblog.store.subscriptions import Reader
from microblog.store.transaction import Transaction
from microblog.usecases.sight import Sight

PEOPLE_MAX = 1000


class State(StrEnum):
    """What became of an item at a domain. An edit that has yet to be sent makes it pending again."""

    STORED = "stored"
    PENDING = "pending"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class AtDomain:
    """A domain and an item. ``why``: it refused, or could not be reached; ``next_attempt``: it will be tried again."""

    domain: str
    state: State
    since: datetime | None = None
    why: str = ""
    next_attempt: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Somebody wants to know where an item of theirs went."""

    actor: JID
    service: JID
    node: str
    item_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``more``: there are more domains than are listed.

    ``owned``: the node is theirs who asked; else no domains are listed, as who reads it is not for others to know.
    """

    node: Node
    item: Item
    domains: tuple[AtDomain, ...]
    more: bool = False
    owned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would become of a post of an account's. ``named``: whom it names, or who reads it if it is direct."""

    account: JID
    audience: Audience | None = None
    ceiling: Audience | None = None
    named: tuple[JID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Whom a post is for, how many people are told of it, and the domains it goes to.

    ``people`` includes those ``here``. ``more``: there are more people than are counted, or domains than are listed.
    """

    audience: Audience
    people: int
    here: int
    domains: tuple[str, ...]
    more: bool = False


def where(tx: Transaction, request: Where) -> Report:
    """The delivery report of an item, for those whose item or node it is. Raises ItemNotFound, Forbidden."""
    found = tx.nodes.look_up(request.service, request.node, request.item_id)
    if found is None or found.item is None:
        raise ItemNotFound("no such item")
    node, item, actor = found.node, found.item, request.actor.bare
    if request.service.domainpart != tx.domain or actor not in (node.service, item.publisher):
        if Sight(tx, actor).readable(node.key, item) is None:
            raise ItemNotFound("no such item")
        raise Forbidden("only its author may know where an item went")
    if actor != node.service:
        return Report(node=node, item=item, domains=(), owned=False)
    known = {
        holder.domain: AtDomain(
            domain=holder.domain,
            state=State.REFUSED if holder.refused else State.STORED,
            since=holder.since,
            why=holder.refused,
        )
        for holder in tx.holders.of(node.key, item.id)
    }
    for domain in _told_by_message(tx, node, item):
        known.setdefault(domain, AtDomain(domain=domain, state=State.STORED))
    owed = tx.outbox.owing(item.position, DOMAINS_MAX)
    # As far as it stands in a stanza as it is.
    uri = item_uri(node.service, node.name, item.id).partition("'")[0]
    for domain in {*owed, *tx.outbox.mentioning(known.keys() - set(owed), uri)}:
        state = tx.domains.get(domain)
        known[domain] = AtDomain(
            domain=domain,
            state=State.PENDING,
            since=state.failing_since,
            why=state.last_error if state.failures else "",
            next_attempt=state.next_attempt,
        )
    domains = sorted(known.values(), key=lambda one: one.domain)
    more = len(domains) >= DOMAINS_MAX or tx.fan_outs.is_open(item.position)
    return Report(node=node, item=item, domains=tuple(domains[:DOMAINS_MAX]), more=more)


def _told_by_message(tx: Transaction, node: Node, item: Item) -> set[str]:
    """The domains of the readers of a direct item, who get it as a message each."""
    if item.audience is not Audience.DIRECT:
        return set()
    return {jid.domainpart for jid, reader in tx.items.mentioned(item.key).items() if reader} - {tx.domain}


def preview(tx: Transaction, request: Preview) -> Reach:
    """Whom a post would reach if it were published now. Raises ItemNotFound for an account without a microblog."""
    node = tx.nodes.find(request.account.bare, MICROBLOG)
    if node is None:
        raise ItemNotFound("there is no microblog")
    wanted = narrower(audience_of(node.config), request.audience or node.config.default_audience)
    if request.ceiling is not None:
        wanted = narrower(wanted, request.ceiling)
    return reach(tx, node, wanted, request.named)


def reach(tx: Transaction, node: Node, audience: Audience, named: tuple[JID, ...] = ()) -> Reach:
    """Whom an item of an audience reaches. ``named``: as in ``Preview``."""
    told = {jid.bare for jid in named if audience in (Audience.PUBLIC, Audience.DIRECT)} - {node.service}
    if audience is not Audience.DIRECT:
        elsewhere = sorted({jid.domainpart for jid in tx.interests.of_node(node)})
        for domain in tx.subscriptions.domains(node, DOMAINS_MAX):
            readers = tx.subscriptions.readers_page(node, domain, after=0, limit=_room(told))
            told.update(_entitled(node, audience, [reader for reader in readers if reader.deliver]))
        for domain in elsewhere[:DOMAINS_MAX]:
            told.update(_entitled(node, audience, tx.interests.readers_page(node, domain, after="", limit=_room(told))))
    allowed = {jid for jid in told if may_leave(audience, jid.domainpart, local_domain=tx.domain)}
    domains = sorted({jid.domainpart for jid in allowed} - {tx.domain})
    return Reach(
        audience=audience,
        people=min(len(allowed), PEOPLE_MAX),
        here=sum(jid.domainpart == tx.domain for jid in allowed),
        domains=tuple(domains[:DOMAINS_MAX]),
        more=len(allowed) > PEOPLE_MAX or len(domains) >= DOMAINS_MAX,
    )


def _room(told: set[JID]) -> int:
    """How many more are looked at; of each domain somebody, so that it is listed."""
    return max(1, PEOPLE_MAX + 1 - len(told))


def _entitled(node: Node, audience: Audience, readers: Iterable[Reader]) -> Iterable[JID]:
    return (reader.jid.bare for reader in readers if audience in audiences_readable(node.config, reader.facts))
