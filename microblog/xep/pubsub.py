"""XEP-0060: Publish-Subscribe, at every account (XEP-0163).

Each request takes three moves: read it, do it in a transaction, write the answer. ``wire.pubsub`` has the grammar,
``usecases`` the rules; here is the table that brings a verb to its method. What is notified to whom is heard from the
database (``notifications``, ``approval``).

Who asks from an address elsewhere that is linked to an account here does so as that account (``usecases.linking``), and
still is sent only what may leave for that address's domain.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

from twisted.internet.defer import Deferred

from microblog.model.access import audience_of, audiences_allowed, narrower, proof_for
from microblog.model.border import NO_BORDER, Border
from microblog.model.errors import BadRequest, FeatureNotImplemented, Forbidden
from microblog.model.item import Audience, PageRequest
from microblog.model.node import IDENTITY_NODES, is_feed
from microblog.model.subscription import SubscribeOptions
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import (
    browsing,
    depending,
    linking,
    owning,
    profiling,
    publishing,
    reading,
    retracting,
    retrieving,
    subscribing,
)
from microblog.usecases.reading import is_timeline
from microblog.usecases.subscribing import Subscribed
from microblog.wire import atom, elsewhere, forms, notification, ns, pubsub
from microblog.wire.attachments import read_attachments
from microblog.wire.mention import write_mention, write_unsaid
from microblog.wire.pubsub import Items, Verb
from microblog.wire.stanza import Stanza
from microblog.wire.vcard import Nodes
from microblog.wire.xml import Element
from microblog.xep import attachments, public_lists, timelines
from microblog.xep.microblog import prepare
from microblog.xep.people import People
from microblog.xep.policy import Policy
from microblog.xep.rates import PersonalRates
from microblog.xep.readers import Readers
from microblog.xep.tracknode import TrackNode
from microblog.xmpp.dispatch import At, Extension, Route, Spec
from microblog.xmpp.router import Router

T = TypeVar("T")
R = TypeVar("R", bound=linking.Acts)
Answer = Awaitable[Element | None]
_PUBLISH_PROFILE: Final = partial(profiling.publish, codec=Nodes())
_FEATURES: Final = (
    "access-authorize access-open access-presence access-roster access-whitelist auto-create auto-subscribe "
    "config-node config-node-max create-and-configure create-nodes delete-items delete-nodes filtered-notifications "
    "instant-nodes item-ids last-published manage-subscriptions member-affiliation meta-data modify-affiliations "
    "multi-items outcast-affiliation persistent-items presence-notifications presence-subscribe publish "
    "publish-only-affiliation publish-options publisher-affiliation purge-nodes retract-items retrieve-affiliations "
    "retrieve-default retrieve-default-sub retrieve-items retrieve-subscriptions subscribe subscription-notifications "
    "subscription-options"
)


class Pubsub(Extension):
    """Answers publish-subscribe requests."""

    specs = (Spec(60, "1.30.0", "partial"), Spec(59, "1.0"), Spec(4, "2.13.2"), Spec(68, "1.3.0"))
    account_features = (ns.PUBSUB, ns.RSM, *(f"{ns.PUBSUB}#{name}" for name in _FEATURES.split()))

    def __init__(
        self,
        router: Router,
        database: Database,
        readers: Readers,
        rates: PersonalRates,
        clock: Clock,
        people: People | None = None,
        border: Border = NO_BORDER,
        policy: Policy | None = None,
    ) -> None:
        self._router = router
        self._database = database
        self._readers = readers
        self._rates = rates
        self._clock = clock
        self._people = people or People(database, router.domain)
        self._border = border
        self._policy = policy
        self.tracks: TrackNode | None = None
        self._verbs: dict[tuple[str, str, str], Callable[[Stanza, Verb], Answer]] = {
            (ns.PUBSUB, "set", "publish"): self.publish,
            (ns.PUBSUB, "set", "retract"): self.retract,
            (ns.PUBSUB, "get", "items"): self.items,
            (ns.PUBSUB, "set", "subscribe"): self.subscribe,
            (ns.PUBSUB, "set", "unsubscribe"): self.unsubscribe,
            (ns.PUBSUB, "get", "options"): self.options,
            (ns.PUBSUB, "set", "options"): self.set_options,
            (ns.PUBSUB, "get", "default"): self.default_options,
            (ns.PUBSUB, "get", "subscriptions"): self.my_subscriptions,
            (ns.PUBSUB, "get", "affiliations"): self.my_affiliations,
            (ns.PUBSUB, "set", "create"): self.create,
            (ns.PUBSUB_OWNER, "get", "configure"): self.configuration,
            (ns.PUBSUB_OWNER, "set", "configure"): self.configure,
            (ns.PUBSUB_OWNER, "get", "default"): self.default_configuration,
            (ns.PUBSUB_OWNER, "set", "delete"): self.delete,
            (ns.PUBSUB_OWNER, "set", "purge"): self.purge,
            (ns.PUBSUB_OWNER, "get", "affiliations"): self.affiliations,
            (ns.PUBSUB_OWNER, "set", "affiliations"): self.set_affiliations,
            (ns.PUBSUB_OWNER, "get", "subscriptions"): self.subscriptions,
            (ns.PUBSUB_OWNER, "set", "subscriptions"): self.set_subscriptions,
        }

    def routes(self) -> Iterable[Route]:
        """All of it at accounts; the node itself answers alike that it has no nodes."""
        for uri in (ns.PUBSUB, ns.PUBSUB_OWNER):
            yield Route.get(uri, "pubsub", self.answer, at=At.HOST | At.ACCOUNT)
            yield Route.set(uri, "pubsub", self.answer, at=At.HOST | At.ACCOUNT)

    async def answer(self, request: Stanza) -> Element | None:
        """Find the verb and do it."""
        asked = pubsub.verb(request)
        if request.type == "set":
            await self._readers.backlog.room(request.to)
        node = asked.element.get("node")
        if self.tracks is not None and self.tracks.claims(request, node):
            return await self.tracks.answer(request, asked)
        verb = asked.pubsub.uri, request.type, asked.name
        if verb not in timelines.VERBS and is_timeline(request.to, asked.element.get("node") or ""):
            raise Forbidden("a timeline is computed: it is there to be read")
        for made in (public_lists, attachments):
            if made.claims(asked.element.get("node") or ""):
                made.check(request, asked.name)
        return await self._verbs[verb](request, asked)

    def _write(self, request: Stanza, use_case: Callable[[Transaction, R], T], wanted: R) -> Deferred[T]:
        if self._may_act(request):
            return self._database.write(linking.acting, use_case, wanted)
        return self._database.write(use_case, wanted)

    def _read(self, request: Stanza, use_case: Callable[[Transaction, R], T], wanted: R) -> Deferred[T]:
        if self._may_act(request):
            return self._database.read(linking.acting, use_case, wanted)
        return self._database.read(use_case, wanted)

    def _may_act(self, request: Stanza) -> bool:
        """Might it come from somebody's address elsewhere?"""
        return request.from_.domainpart != self._router.domain and self._people.proven(request)

    def _leaving(self, request: Stanza) -> frozenset[Audience]:
        """What may be sent to where the request comes from."""
        trusted = self._people.proven(request)
        return audiences_allowed(request.from_.domainpart, local_domain=self._router.domain, trusted=trusted)

    # §7: publishers

    async def publish(self, request: Stanza, asked: Verb) -> Element:
        """Publish an item (§7.1)."""
        read = pubsub.read_publish(asked)
        if request.from_.domainpart != self._router.domain:
            self._rates.visit(request.from_.bare, post=is_feed(read.node))
            if self._policy is not None:
                await self._policy.visit(request.from_, request.to)
                if read.payload is not None:
                    payload = self._policy.payload(request.from_.domainpart, read.payload)
                    read = replace(read, payload=payload)
        elif is_feed(read.node):
            self._rates.post(request.from_.bare)
        ready = prepare(request.to, read, self._database.limits.post_max_characters, border=self._border)
        done = await self._write(
            request,
            _PUBLISH_PROFILE if read.node in IDENTITY_NODES else publishing.publish,
            publishing.Publish(
                service=request.to,
                node=read.node,
                actor=request.from_,
                item_id=ready.item_id,
                payload=ready.payload,
                entry=ready.entry,
                options=ready.options,
                has_item=read.has_item,
                proof=request.proof,
                audience=ready.wishes.audience,
                ceiling=ready.ceiling,
                readers=ready.wishes.readers,
                mark=atom.mark,
                mention=write_mention,
                copy=elsewhere.copy,
                withdraw=elsewhere.withdraw,
                reactions=_reactions(read),
            ),
        )
        return pubsub.write_published(read.node, done.item.id)

    async def retract(self, request: Stanza, asked: Verb) -> None:
        """Delete an item (§7.2)."""
        node, item_id, notify = pubsub.read_retract(asked)
        wanted = retracting.Retract(
            service=request.to,
            node=node,
            actor=request.from_,
            item_id=item_id,
            notify=notify,
            withdraw=elsewhere.withdraw,
            unsay=write_unsaid,
        )
        await self._write(request, retracting.retract, wanted)

    # §6: subscribers

    async def items(self, request: Stanza, asked: Verb) -> Element:
        """Retrieve items (§6.5)."""
        read = pubsub.read_items(asked)
        if is_timeline(request.to, read.node):
            return await self._timeline(request, read)
        if public_lists.claims(read.node):
            return await public_lists.items(self._database, request, read)
        wanted = retrieving.Retrieve(
            service=request.to,
            node=read.node,
            actor=request.from_,
            item_ids=read.item_ids,
            max_items=read.max_items,
            page=read.page,
            subid=read.subid,
            audiences=self._leaving(request),
        )
        if attachments.claims(read.node):
            return await attachments.items(wanted, partial(self._read, request))
        found = await self._read(request, retrieving.retrieve, wanted)
        return pubsub.write_items(found.node, found.page, paged=read.page is not None or found.truncated)

    async def _timeline(self, request: Stanza, read: Items) -> Element:
        if read.item_ids:
            raise FeatureNotImplemented("a timeline is read in pages; ask its author for an item")
        page = read.page or PageRequest()
        if page == PageRequest() and read.max_items is not None:
            page = PageRequest(max=read.max_items)
        wanted = reading.Retrieve(
            service=request.to,
            node=read.node,
            actor=request.from_,
            page=page,
            audiences=self._leaving(request),
            counted=read.page is not None,
        )
        found = await self._read(request, reading.retrieve, wanted)
        return timelines.write_page(read.node, found, paged=read.page is not None or found.more)

    async def subscribe(self, request: Stanza, asked: Verb) -> Element:
        """Subscribe (§6.1); the last item follows the answer, where the node sends it (§6.1.7)."""
        node, jid, options, public = pubsub.read_subscribe(asked)
        if request.from_.domainpart == self._router.domain:
            self._rates.follow(request.from_.bare)
        wanted = subscribing.Subscribe(
            service=request.to, node=node, actor=request.from_, jid=jid, options=options, public=public
        )
        use_case = linking.subscribe if self._may_act(request) else subscribing.subscribe
        if is_timeline(request.to, node):
            use_case = reading.subscribe
        done = await self._database.write(use_case, wanted)
        if options:
            self._readers.reload(jid.bare)
        if done.last is not None:
            self._clock.later(0, self._send_last, done)
        return pubsub.write_subscription(done.subscription)

    def _send_last(self, done: Subscribed) -> None:
        assert done.last is not None
        jid = done.subscription.jid
        if jid.domainpart != self._router.domain:
            stanza = notification.last_message(done.node, done.last, jid)
            if stanza is not None:
                audience = narrower(audience_of(done.node.config), done.last.audience)
                self._router.servers.send(stanza, proof_for(audience))
            return
        splice = notification.render_last(done.node, done.last)
        if splice is not None:
            for session in self._readers.at(jid):
                session.write(splice.to(jid))

    async def unsubscribe(self, request: Stanza, asked: Verb) -> Element:
        """End a subscription (§6.2)."""
        wanted = subscribing.Unsubscribe(
            service=request.to,
            node=pubsub.node_required(asked),
            actor=request.from_,
            jid=pubsub.jid_required(asked),
            subid=pubsub.subid_of(asked),
        )
        return pubsub.write_subscription(await self._database.write(subscribing.unsubscribe, wanted))

    async def options(self, request: Stanza, asked: Verb) -> Element:
        """A subscription's options (§6.3)."""
        wanted = subscribing.GetOptions(
            service=request.to,
            node=pubsub.node_required(asked),
            actor=request.from_,
            jid=pubsub.jid_required(asked),
            subid=pubsub.subid_of(asked),
        )
        return pubsub.write_subscription_options(await self._database.read(subscribing.get_options, wanted))

    async def set_options(self, request: Stanza, asked: Verb) -> None:
        """Change a subscription's options (§6.3.5)."""
        node, jid = pubsub.node_required(asked), pubsub.jid_required(asked)
        options = pubsub.read_options(asked)
        if options is None:
            return
        wanted = subscribing.SetOptions(
            service=request.to,
            node=node,
            actor=request.from_,
            jid=jid,
            subid=pubsub.subid_of(asked),
            options=options,
        )
        await self._database.write(subscribing.set_options, wanted)
        self._readers.reload(jid.bare)

    async def default_options(self, request: Stanza, asked: Verb) -> Element:
        """The options of a new subscription (§6.4), the same at every node."""
        form = forms.write_subscribe_options(SubscribeOptions())
        return pubsub.write_default_options(pubsub.node_of(asked), form)

    # §5: entities

    async def my_subscriptions(self, request: Stanza, asked: Verb) -> Element:
        """The asker's subscriptions here (§5.6)."""
        node = pubsub.node_of(asked)
        wanted = browsing.MySubscriptions(service=request.to, actor=request.from_, node=node)
        found = await self._database.read(browsing.subscriptions, wanted)
        if node is None and self.tracks is not None:
            found = (*found, *await self.tracks.mine(request))
        return pubsub.write_my_subscriptions(node, found)

    async def my_affiliations(self, request: Stanza, asked: Verb) -> Element:
        """The asker's affiliations here (§5.7)."""
        node = pubsub.node_of(asked)
        wanted = browsing.MyAffiliations(service=request.to, actor=request.from_, node=node)
        return pubsub.write_my_affiliations(node, await self._read(request, browsing.affiliations, wanted))

    # §8: owners

    async def create(self, request: Stanza, asked: Verb) -> Element:
        """Make a node (§8.1)."""
        node, options = pubsub.read_create(asked)
        wanted = owning.Create(service=request.to, actor=request.from_, node=node, options=options)
        return pubsub.write_created((await self._write(request, owning.create, wanted)).name)

    async def configuration(self, request: Stanza, asked: Verb) -> Element:
        """The form to configure a node with (§8.2.1)."""
        wanted = owning.Configuration(service=request.to, node=pubsub.node_required(asked), actor=request.from_)
        return pubsub.write_configuration(await self._read(request, owning.configuration, wanted))

    async def configure(self, request: Stanza, asked: Verb) -> None:
        """Configure a node (§8.2.4)."""
        node, options = pubsub.node_required(asked), pubsub.read_configure(asked)
        if options is not None:
            wanted = owning.Configure(service=request.to, node=node, actor=request.from_, options=options)
            await self._write(request, owning.configure, wanted)

    async def default_configuration(self, request: Stanza, asked: Verb) -> Element:
        """What a new node is like (§8.3)."""
        wanted = owning.DefaultConfiguration(service=request.to, actor=request.from_, node=pubsub.node_of(asked) or "")
        return pubsub.write_default_configuration(await self._read(request, owning.default_configuration, wanted))

    async def delete(self, request: Stanza, asked: Verb) -> None:
        """Remove a node (§8.4)."""
        node, redirect = pubsub.node_required(asked), pubsub.read_redirect(asked)
        wanted = owning.Delete(
            service=request.to,
            node=node,
            actor=request.from_,
            redirect=redirect,
            notice=notification.deletion(request.to, node, redirect),
            withdraw=elsewhere.withdraw,
        )
        await self._write(request, owning.delete, wanted)

    async def purge(self, request: Stanza, asked: Verb) -> None:
        """Remove all items (§8.5)."""
        node = pubsub.node_required(asked)
        wanted = owning.Purge(service=request.to, node=node, actor=request.from_, withdraw=elsewhere.withdraw)
        await self._write(request, owning.purge, wanted)

    async def affiliations(self, request: Stanza, asked: Verb) -> Element:
        """Everybody's affiliations (§8.9.1)."""
        node = pubsub.node_required(asked)
        wanted = owning.Affiliations(service=request.to, node=node, actor=request.from_)
        return pubsub.write_affiliations(node, await self._read(request, owning.affiliations, wanted))

    async def set_affiliations(self, request: Stanza, asked: Verb) -> None:
        """Change affiliations (§8.9.2)."""
        wanted = owning.SetAffiliations(
            service=request.to,
            node=pubsub.node_required(asked),
            actor=request.from_,
            changes=pubsub.read_affiliations(asked),
        )
        await self._write(request, owning.set_affiliations, wanted)

    async def subscriptions(self, request: Stanza, asked: Verb) -> Element:
        """Everybody's subscriptions (§8.8.1)."""
        node = pubsub.node_required(asked)
        wanted = owning.Subscriptions(service=request.to, node=node, actor=request.from_)
        return pubsub.write_subscriptions(node, await self._read(request, owning.subscriptions, wanted))

    async def set_subscriptions(self, request: Stanza, asked: Verb) -> None:
        """Approve or end subscriptions (§8.8.2)."""
        wanted = owning.SetSubscriptions(
            service=request.to,
            node=pubsub.node_required(asked),
            actor=request.from_,
            changes=pubsub.read_subscriptions(asked),
            notice=notification.decision,
        )
        await self._write(request, owning.set_subscriptions, wanted)


def _reactions(read: pubsub.Publish) -> tuple[str, ...]:
    """What is said by what is attached to an item (XEP-0470). Raises BadRequest."""
    if not depending.is_attachments(read.node) or read.payload is None:
        return ()
    attached = read_attachments(read.payload)
    if attached is None:
        raise BadRequest("this node takes attachments (XEP-0470)")
    return attached.reactions
