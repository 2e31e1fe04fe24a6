"""The composition root: from a ``Config`` to a running node.

Here, and only here, the parts meet: what each needs is in sight, as arguments. ``EXTENSIONS`` below is the list of
what this server speaks; disco, the routes and docs/doap.xml follow from it. ``Node`` is the Twisted service: it opens
the database and the ports when it starts, and leaves with one sentence if it cannot.
"""

import signal
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.names.client import Resolver as DNSResolver
from twisted.names.hosts import Resolver as HostsResolver
from twisted.names.resolve import ResolverChain

from microblog.commands.administration import AdministrationForms, AdministrationWords
from microblog.commands.command import Table, Words
from microblog.commands.conversing import ConversationWords
from microblog.commands.delivery import DeliveryWords
from microblog.commands.federation import FederationWords
from microblog.commands.following import FollowingWords
from microblog.commands.help import Help
from microblog.commands.hooks import HookWords
from microblog.commands.known import Known
from microblog.commands.lists import ListWords
from microblog.commands.people import PeopleWords
from microblog.commands.places import Hands, PlaceWords
from microblog.commands.posting import Posting, PostingWords
from microblog.commands.profile import ProfileWords
from microblog.commands.programs import ProgramWords
from microblog.commands.quiet import QuietWords
from microblog.commands.reading import ANSWER_SECONDS, ReadingWords
from microblog.commands.reports import ReportWords
from microblog.commands.searching import SearchWords
from microblog.commands.texts import say
from microblog.commands.tracking import TrackingWords
from microblog.commands.watching import WatchWords
from microblog.config import Config, Endpoint
from microblog.http import Caller
from microblog.im.held import HeldMessages
from microblog.im.message import Messages
from microblog.im.presence import Presence
from microblog.im.roster import Roster, Rosters
from microblog.model.account import ScramKeys, derive_keys
from microblog.model.errors import Refusal
from microblog.model.event import Event
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks
from microblog.store import migrate
from microblog.store.database import Database, open_database
from microblog.store.watermark import Watermark
from microblog.store.webhooks import Webhook
from microblog.terminal import sentence
from microblog.usecases import collapsing, expiring, following, forgetting, identity, indexing, noticing, registering
from microblog.wire import atom, elsewhere, mention, pubsub
from microblog.xep.administration import Administration
from microblog.xep.adminlines import AdminLines
from microblog.xep.approval import Approval
from microblog.xep.attachments import Attachments
from microblog.xep.avatar import Avatars
from microblog.xep.blocking import Blocking
from microblog.xep.caps import Capabilities
from microblog.xep.chat import Chat
from microblog.xep.chatlines import ChatLines
from microblog.xep.commands import Commands
from microblog.xep.disco import Disco
from microblog.xep.events import EventStreams
from microblog.xep.fanout import Fanout
from microblog.xep.following import Following
from microblog.xep.followlines import FollowLines
from microblog.xep.forwarding import Forwarder, Given
from microblog.xep.health import FollowHealth
from microblog.xep.importing import FollowImporter
from microblog.xep.intake import Intake
from microblog.xep.last import Last
from microblog.xep.letters import Letters
from microblog.xep.microblog import Microblog, Prepared, prepare
from microblog.xep.moved import Moved
from microblog.xep.multicast import Multicast
from microblog.xep.notifications import Notifications
from microblog.xep.outbox import Outbox
from microblog.xep.outside import Outside
from microblog.xep.peers import Peers
from microblog.xep.people import People
from microblog.xep.pep import PersonalEventing
from microblog.xep.ping import Ping
from microblog.xep.policy import Policy
from microblog.xep.policylists import PolicyLists
from microblog.xep.public_lists import PublicLists
from microblog.xep.pubsub import Pubsub
from microblog.xep.quiet import Quiet
from microblog.xep.rates import PersonalRates
from microblog.xep.reactionlines import ReactionLines
from microblog.xep.readers import Readers
from microblog.xep.registration import Enrolment, Registration
from microblog.xep.reports import Reports
from microblog.xep.rules import Rules
from microblog.xep.spreading import Spreading
from microblog.xep.tagreaders import TagReaders
from microblog.xep.time import Time
from microblog.xep.timelines import Timelines
from microblog.xep.track import Tracks
from microblog.xep.tracknode import TrackNode
from microblog.xep.trail import Trail
from microblog.xep.upkeep import Upkeep
from microblog.xep.vcard import RemoteProfiles, VCards
from microblog.xep.version import Version
from microblog.xep.waking import Waking
from microblog.xep.webhooks import CALL_SECONDS, Calls, Webhooks
from microblog.xmpp.c2s import Clients
from microblog.xmpp.dialback import Keys
from microblog.xmpp.dispatch import Dispatch, Extension
from microblog.xmpp.keeping import Keeping
from microblog.xmpp.names import Remembering
from microblog.xmpp.resolve import Address, Resolver
from microblog.xmpp.router import Router
from microblog.xmpp.s2s import Federation
from microblog.xmpp.s2s_in import ServerStreams
from microblog.xmpp.s2s_out import Servers
from microblog.xmpp.sessions import Sessions
from microblog.xmpp.stream import Stream
from microblog.xmpp.tls import Certificates

CERTIFICATE_LOOK_SECONDS = 60
FOLLOWED_LOOK_SECONDS = 300
KEPT_LOOK_SECONDS = 60  # on a node that hears only from those to whom it keeps a stream
FORGET_SECONDS = 3600
EXPIRE_SECONDS = 30
WATERMARK_SECONDS = 1
# The writer's thread comes back from each flush wanting the interpreter, which the reactor's thread by default gives
# up only after 5 ms: ten times what the flush took. Measured with benchmarks/micro_publish.py.
THREAD_SWITCH_SECONDS = 0.0002


class LoginKeys:
    """What SASL asks the house (``xmpp.sasl.Accounts``)."""

    def __init__(self, database: Database, reactor: Any) -> None:
        self._database = database
        self._reactor = reactor

    async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
        """The keys to check a password against; of nobody, if nobody of that name may log in."""
        return await self._database.read(registering.keys_for_login, localpart, hash_name)

    async def verify(self, keys: ScramKeys, password: str) -> bool:
        """Is it that password? Derived in a thread."""
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), keys.verify, password)

    async def derive(self, password: str) -> Sequence[ScramKeys]:
        """Keys for a new password, derived in a thread."""
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), derive_keys, password)


class Node(Service):
    """One node: everything that runs for one domain."""

    _log = Logger()

    def __init__(self, config: Config, reactor: Any, *, upgrade: bool = True) -> None:
        self.config = config
        self._reactor = reactor
        self._upgrade = upgrade
        self._ports: list[IListeningPort] = []
        self._followed: frozenset[str] = frozenset()
        self.clock = Clock(reactor)
        self.tasks = Tasks()

    # starting

    def privilegedStartService(self) -> None:
        """Open and listen, or leave with one sentence: nobody is served by half a node."""
        try:
            self.open()
        except BaseException as error:
            self._close_ports()
            said = sentence(error)
            if said is None:
                raise
            # twistd has turned sys.stderr into its log by now; this is for whoever started it.
            print(f"microblog: {said}", file=sys.__stderr__, flush=True)
            raise SystemExit(1) from error

    def open(self) -> None:
        """Everything that can fail: folder, certificate, database, ports. Raises what ``sentence`` can tell."""
        config = self.config
        config.node.data.mkdir(parents=True, exist_ok=True)
        self.certificates = Certificates(
            config.node.domain, config.tls.certificate, config.tls.key, config.tls.trust_roots, config.node.data
        )
        self.certificates.ensure(self.clock.now())
        self.certificates.load()
        if self._upgrade:
            migrate.upgrade(config.database_url)
        self.database = open_database(
            config.database_url,
            domain=config.node.domain,
            now=self.clock.now,
            limits=config.limits,
            audience=config.accounts.audience,
            exclusive=True,
        )
        self._look_at_watermark()
        self.compose()
        listeners = (
            *((endpoint, self.clients.listener()) for endpoint in config.c2s.listen),
            *((endpoint, self.clients.listener(direct_tls=True)) for endpoint in config.c2s.direct_tls),
            *((endpoint, self.server_streams.listener()) for endpoint in config.s2s.listen),
            *((endpoint, self.server_streams.listener(direct_tls=True)) for endpoint in config.s2s.direct_tls),
        )
        try:
            for endpoint, factory in listeners:
                self._listen(endpoint, factory)
        except BaseException:
            self.database.close()
            raise

    def _look_at_watermark(self) -> None:
        self.watermark = Watermark(self.config.node.data / "watermark")
        if self.database.run(identity.restored, self.watermark.read()):
            self._log.warn(
                "The database is older than what other nodes were told from it, as if it was restored from a backup: "
                "their delivery logs begin anew"
            )
        self.watermark.write(self.database.run(identity.last_event))

    async def _write_watermark(self) -> None:
        try:
            self.watermark.write(await self.database.read(identity.last_event))
        except (Refusal, OSError) as error:
            self._log.debug("The watermark was not written: {error}", error=error)

    def compose(self) -> None:
        """Put the parts together; nothing runs yet."""
        config, clock, tasks, database = self.config, self.clock, self.tasks, self.database
        limits, domain = config.limits, config.node.domain
        database.read_entry = atom.read_text
        login = LoginKeys(database, self._reactor)

        self.sessions = Sessions(limits.sessions_per_account)
        dispatch = Dispatch(clock, limits.iq_seconds)
        router = self.router = Router(domain, self.sessions, dispatch, tasks)

        # RFC 6121
        rosters = Rosters(database, self.sessions)
        presence = Presence(router, database, rosters)
        messages = Messages(router)
        router.presence, router.messages = presence, messages
        quiet = self.quiet = Quiet(database, clock, tasks)
        quiet.load()
        router.blocks = quiet.blocks
        self.blocking = Blocking(database, self.sessions, presence, quiet, clock, tasks)

        # other servers
        policy = self.policy = Policy(
            database, config.s2s.federation, clock, tasks, dialback=config.s2s.dialback == "always"
        )
        federation = Federation(
            domain=domain,
            clock=clock,
            tasks=tasks,
            limits=limits,
            certificates=self.certificates,
            keys=Keys(database.run(lambda tx: tx.settings.secret("dialback"))),
            dialback=config.s2s.dialback,
            refuses=policy.refuses,
            trusts_dialback=policy.dialback_suffices,
        )
        resolver = Resolver(
            self._names(),
            clock,
            limits,
            routes=config.s2s.routes,
            own=(*config.s2s.listen, *config.s2s.direct_tls, *config.c2s.listen, *config.c2s.direct_tls),
            private_addresses=config.s2s.private_addresses,
        )
        self.servers = Servers(federation, resolver, self._connect)
        self.servers.request, self.servers.bounce = router.request, router.bounce
        router.servers = self.servers
        self.keeping = Keeping(self.servers)
        self.server_streams = ServerStreams(
            federation,
            self.servers,
            router.from_server,
            router.settled,
            followed=lambda domain: domain in self._followed,
        )

        admin_lines = AdminLines(database, tasks, router.send, lambda domain: self.outbox.wake(domain))
        epoch = database.run(identity.epoch)
        self.given = Given()
        self.given.begin(database.run(lambda tx: tx.peers.numbers()))
        self.peers = Peers(router, self.servers, database, clock, epoch=epoch, doubts=admin_lines.doubted)
        self.server_streams.reception.recognises = self.peers.recognises

        # pubsub
        self.outbox = Outbox(
            database,
            self.servers,
            clock,
            tasks,
            multicast=Multicast(domain, router.request, clock, config.s2s.multicast),
            forwarder=Forwarder(
                database, router.request, self.peers, clock, room=self.servers.max_bytes, given=self.given
            ),
            dialback_suffices=policy.dialback_suffices,
            refuses=policy.refuses,
        )
        policy.listeners += (self.servers.end_refused, self.server_streams.end_refused)
        policy.severed.append(self.outbox.dropped)
        wake = self.outbox.wake
        self.spreading = Spreading(database, wake, clock, tasks)
        self.servers.on_contact.append(self.outbox.contact)
        disco = Disco(database)
        capabilities = Capabilities(router.request, lambda: disco.caps)
        readers = Readers(self.sessions, database, clock, tasks)
        notifications = Notifications(readers, rosters, database, clock, tasks, wake)
        approval = Approval(self.sessions, database, tasks)
        eventing = PersonalEventing(router, database, rosters, capabilities, readers, tasks)
        timelines = Timelines(readers, database, clock, tasks)
        rates = PersonalRates(clock, limits)
        following = Following(router, database, readers, rates, clock, tasks)
        self.health = FollowHealth(
            router, database, following.follows, clock, tasks, dialback_suffices=policy.dialback_suffices
        )
        self.intake = Intake(
            router,
            database,
            readers.backlog,
            following.follows,
            clock,
            tasks,
            dialback_suffices=policy.dialback_suffices,
            refuses=policy.refuses,
            taken=policy.taken,
            recognise=self.peers.recognise,
            suspect=self.health.look,
        )
        self.servers.on_contact.append(self.intake.contact)

        # people, and what they say to the node
        people = People(database, domain, dialback_suffices=config.s2s.dialback == "always")
        self.waking = Waking(database, clock, tasks)
        readers.reloaded = self.waking.reload
        caller = Caller(self._reactor, clock, seconds=CALL_SECONDS, trust_roots=config.tls.trust_roots)
        calls = Calls(resolver, caller.post, clock, private=config.programs.private_addresses)
        self.webhooks = Webhooks(database, self.waking, calls, clock, tasks)
        self.webhooks.told = self._webhook_given_up
        self.events = EventStreams(router, database, people, self.waking, clock, tasks, trusts=policy.dialback_suffices)
        self.lines = ChatLines(self.sessions, readers, database, clock, tasks, wake)
        tag_readers = self.tag_readers = TagReaders(readers, database, clock, tasks)
        self.lines.besides = tag_readers.besides
        following.follows.tags_changed = tag_readers.look_again
        self.tracks = Tracks(router, database, self.sessions, self.lines, clock, tasks, wake)
        following.tracked, self.tracks.leases.taken = self.tracks.leases.event, policy.taken
        policy.severed.append(self.tracks.severed)
        follow_lines = FollowLines(database, clock, tasks, router.send, wake)
        following.follows.decided = follow_lines.decided
        follow_lines.refuses = policy.refuses
        self.outbox.suspended.append(follow_lines.suspended)
        self.moved = Moved(router, database, presence, follow_lines, wake, tasks)
        following.moved, presence.moved, self.health.gone = self.moved.noticed, self.moved.asked, self.moved.gone
        registration = Registration(database, login.derive, self.sessions, presence, clock)
        administration = Administration(database, login.derive, self.sessions, registration.cancel, clock)
        administration.enabled = self.webhooks.changed
        help_ = Help()
        delivery_words = DeliveryWords(database, clock.now, self.lines.refresh)
        posting = self._posting(rates)
        self.rules = Rules(
            self.sessions, database, posting, self.lines, clock, tasks, send=router.send, wake=self.outbox.wake
        )
        federation_words = FederationWords(database, config.s2s.federation, policy.changed, self.outbox.retry)
        administration_words = AdministrationWords(database, administration)
        self.reports = Reports(database, admin_lines.tell, wake, clock)
        self.blocking.accuse = self.reports.accuse
        quiet_words = QuietWords(database, clock.now, quiet.set_mutes, self.blocking)
        lists = ListWords(database, timelines.list_changed)
        report_words = ReportWords(database, self.reports)
        watch_words = WatchWords(database, following.follows)
        words = Table(
            (
                *self._words(following, rates, posting),
                ProgramWords(database, self.events.reader, self.events.changed, self.events.removed),
                HookWords(database, self.webhooks.changed, private=config.programs.private_addresses),
                PlaceWords(
                    database, posting, Hands(self.rules.changed, self.rules.ended, self.rules.sharing, self.rules.tell)
                ),
                watch_words,
                lists,
                quiet_words,
                report_words,
                administration_words,
                federation_words,
                delivery_words,
                help_,
            )
        )
        help_.table = words
        chat = Chat(router, database, clock, tasks, people, words, help_, self.lines.began)
        chat.talking.waiting = delivery_words.waiting
        forms = Table((AdministrationForms(database, administration),))
        held = HeldMessages(router, database, clock, tasks)
        self.intake.letters = Letters(self.sessions, database, held, self.lines, tasks).hand_over
        avatars = Avatars(database, presence, self.sessions, tasks)

        messages.node, messages.keep, presence.stamp = chat.take, held.keep, avatars.stamp
        messages.admit, self.lines.silences = policy.admit, policy.silences
        self.lines.hushes = timelines.hushes = notifications.hushes = quiet.hushes
        reaction_lines = ReactionLines(self.sessions, database, clock, tasks, wake)
        reaction_lines.hushes = quiet.hushes_author
        reaction_lines.pace, reaction_lines.keep = self.lines.pace, self.lines.say
        following.taken = following.follows.taken = policy.taken
        following.dialback_suffices = policy.dialback_suffices
        self.rules.called, self.tracks.matched = self.waking.called, self.waking.wake

        messages.error_listeners += (self.outbox.bounced, eventing.bounced, self.events.bounced)
        router.answer_listeners.append(self.outbox.answered)
        presence.listeners += (readers, eventing, approval, self.lines, held, self.rules)
        presence.to_node, self.lines.listeners.ask = self.lines.listeners.presence_elsewhere, router.send
        self.indexing = Trail(
            indexing.NAME,
            indexing.step,
            database,
            clock,
            tasks,
            pause=indexing.PAUSE_SECONDS,
            patience=indexing.PATIENCE_SECONDS,
        )
        self._listeners = (
            notifications.hear,
            self.spreading.hear,
            approval.hear,
            timelines.hear,
            self.lines.hear,
            follow_lines.hear,
            reaction_lines.hear,
            self.tracks.hear,
            avatars.hear,
            self.moved.hear,
            self.waking.hear,
            self.indexing.hear,
            self.rules.hear,
        )
        database.listeners += self._listeners

        roster = Roster(database, self.sessions, rosters, presence)
        pubsub_ = Pubsub(router, database, readers, rates, clock, people, config.border.border, policy)
        pubsub_.tracks = TrackNode(self.tracks, database, rates, clock, tasks)
        self.extensions: Sequence[Extension] = (
            disco,
            capabilities,
            self.peers,
            Fanout(database, self.given, dialback_suffices=policy.dialback_suffices),
            self.intake,
            Ping(router.settled),
            Version(),
            Time(clock),
            Last(clock),
            roster,
            held,
            registration,
            pubsub_,
            eventing,
            approval,
            following,
            timelines,
            pubsub_.tracks,
            PublicLists(following.follows),
            Microblog(),
            Attachments(),
            chat,
            Commands(domain, words, forms, people, Known(database), clock),
            administration,
            VCards(database, people),
            avatars,
            self.moved,
            self.events,
            self.reports,
            self.blocking,
        )
        disco.extensions = self.extensions
        dispatch.install(self.extensions)

        enrolment = Enrolment(config.accounts.registration, database, login.derive, clock)
        self.clients = Clients(
            domain=domain,
            clock=clock,
            tasks=tasks,
            limits=limits,
            certificates=self.certificates,
            accounts=login,
            router=router,
            preauth=enrolment.preauth,
            preauth_features=enrolment.stream_features,
            features=(*roster.stream_features, capabilities.stream_feature),
        )

        # the command line
        database.run(noticing.forget)
        self.outside = Outside(database, self.clients, self.sessions, rosters, self._heard_outside, wake, clock, tasks)
        self.outside.retry, self.outside.dropped = self.outbox.retry, self.outbox.dropped
        self.outside.spread = self.spreading.wake
        self.outside.policy_changed = policy.changed
        self.outside.webhooks_changed = self.webhooks.changed
        self.policy_lists = PolicyLists(router, database, policy.changed, clock, tasks)
        policy.listeners.append(self.policy_lists.fetch_new)
        self.upkeep = Upkeep(database, admin_lines, wake, clock, tasks)

    def _posting(self, rates: PersonalRates) -> Posting:
        """What makes posts of what people say."""
        config = self.config

        def prepared(service: JID, request: pubsub.Publish) -> Prepared:
            return prepare(service, request, config.limits.post_max_characters, border=config.border.border)

        return Posting(self.database, self.clock.now, prepared, rates.post)

    def _words(self, following: Following, rates: PersonalRates, posting: Posting) -> Sequence[Words]:
        """What people can say to the node, for administrators more."""
        config, database, router = self.config, self.database, self.router
        reading = ReadingWords(database, partial(router.request, seconds=ANSWER_SECONDS), self.clock.now)
        return (
            PostingWords(database, posting),
            reading,
            SearchWords(database),
            TrackingWords(database, self.tracks, reading.timeline),
            ConversationWords(database, posting, router, self.outbox.wake, self.clock.now),
            FollowingWords(
                database, following.follows, FollowImporter(database, following.follows, self.clock, self.tasks)
            ),
            ProfileWords(database, RemoteProfiles(router, self.clock), self.servers.proof, self.moved),
            PeopleWords(
                database,
                router.send,
                self.outbox.wake,
                rates,
                self._linked,
                invites=config.accounts.registration != "closed",
                enrol_domains=config.accounts.enrol_domains,
            ),
        )

    def _linked(self, account: JID) -> None:
        """Somebody has other addresses, or speaks another language."""
        self.lines.changed(account)
        self.tag_readers.look_again()
        self.quiet.linked()

    def _webhook_given_up(self, webhook: Webhook) -> None:
        self._log.warn(
            "The webhook {name} of {who} was not taken for days and is given up: {why}",
            name=webhook.name,
            who=webhook.localpart,
            why=webhook.problem,
        )
        owner = JID(webhook.localpart, self.config.node.domain)
        text = say(self.lines.language(owner), "hooks.given_up", name=webhook.name, problem=webhook.problem)
        self.tasks.spawn(self.lines.say(owner, text), "a webhook is given up")

    def _heard_outside(self, event: Event) -> None:
        for listener in self._listeners:
            listener(event)

    def _names(self) -> Any:
        """What looks names up: the hosts file, and the name servers of the system, whose answers are remembered."""
        reactor = self._reactor
        system = DNSResolver("/etc/resolv.conf", reactor=reactor)
        return ResolverChain([HostsResolver("/etc/hosts"), Remembering(system, self.clock)])

    def _listen(self, endpoint: Endpoint, factory: Factory) -> None:
        self._ports.append(self._reactor.listenTCP(endpoint.port, factory, interface=endpoint.host, backlog=1024))

    async def _connect(self, address: Address, stream: Stream) -> None:
        make = TCP6ClientEndpoint if ":" in address.host else TCP4ClientEndpoint
        seconds = self.config.limits.connect_seconds
        await connectProtocol(make(self._reactor, address.host, address.port, timeout=seconds), stream)

    def startService(self) -> None:
        """Serve."""
        super().startService()
        self.database.start(self._reactor)
        self.tasks.spawn(self._begin_delivering(), "outbox")
        self.policy.start()
        self.policy_lists.start()
        self.upkeep.start()
        self.outside.start()
        self.waking.start()
        self.webhooks.start()
        self.events.start()
        self.lines.start()
        self.tag_readers.start()
        self.quiet.start()
        self.blocking.start()
        self.rules.start()
        self.tracks.start()
        self.health.start()
        self.intake.start()
        self.indexing.wake()
        self._ask_followed()
        seconds = KEPT_LOOK_SECONDS if self._only_dials else FOLLOWED_LOOK_SECONDS
        self._followed_look = self.clock.every(seconds, self._ask_followed)
        self._start_forgetting()
        self._forgetting = self.clock.every(FORGET_SECONDS, self._start_forgetting)
        self._expiring = self.clock.every(EXPIRE_SECONDS, lambda: self.tasks.spawn(self._expire(), "expiring"))
        self._marking = self.clock.every(
            WATERMARK_SECONDS, lambda: self.tasks.spawn(self._write_watermark(), "watermark")
        )
        self._certificate_look = self.clock.every(CERTIFICATE_LOOK_SECONDS, self._look_at_certificate)
        self._certificate_seen = self._certificate_stamp()

    @property
    def addresses(self) -> list[str]:
        """What it listens on, with the ports that were really given."""
        hosts: list[Any] = [port.getHost() for port in self._ports]
        return [str(Endpoint(host.host, host.port)) for host in hosts]

    async def _begin_delivering(self) -> None:
        await self.outbox.start()
        # Not before it is known which domains are left alone.
        self.spreading.wake()

    def _ask_followed(self) -> None:
        self.tasks.spawn(self._read_followed(), "followed domains")

    async def _read_followed(self) -> None:
        self._followed = await self.database.read(following.followed_domains)
        if self._only_dials:
            self.keeping.keep(self._followed)

    @property
    def _only_dials(self) -> bool:
        """True if no server can call this node."""
        return not self.config.s2s.listen and not self.config.s2s.direct_tls

    def _start_forgetting(self) -> None:
        self.tasks.spawn(self._forget(), "forgetting")

    async def _forget(self) -> None:
        try:
            # First: what stays for ever is not to be given up with what does not.
            for domain in await self.database.read(collapsing.long):
                while await self.database.write(collapsing.collapse, domain):
                    pass
        except Refusal:
            return  # in an hour, then
        more = True
        while more:
            try:
                forgotten = await self.database.write(forgetting.forget)
            except Refusal:
                return  # in an hour, then
            more = forgotten.more
            if forgotten.owed:
                self._log.warn(
                    "{rows} notifications were not taken for {days} days and are given up",
                    rows=forgotten.owed,
                    days=forgetting.DAYS,
                )

    async def _expire(self) -> None:
        # What comes from elsewhere and is not new is told to nobody, but is to be found.
        self.indexing.wake()
        more = True
        while more:
            try:
                more = (await self.database.write(expiring.expire, elsewhere.withdraw, mention.write_unsaid)).more
            except Refusal:
                return

    # certificate renewal

    def reload(self) -> None:
        """Read the certificate anew; new connections get it, the others go on."""
        failure = self.certificates.reload()
        if failure is None:
            self._log.info("The certificate was loaded anew")
        else:
            self._log.error("The certificate was not loaded, the old one stays: {failure}", failure=failure)

    def _certificate_stamp(self) -> tuple[float, ...]:
        paths = (self.certificates.certificate_path, self.certificates.key_path)
        return tuple(path.stat().st_mtime if path.exists() else 0.0 for path in paths)

    def _look_at_certificate(self) -> None:
        stamp = self._certificate_stamp()
        if stamp != self._certificate_seen:
            self._certificate_seen = stamp
            self.reload()

    # stopping

    async def _stop(self) -> None:
        self._certificate_look.stop()
        self._marking.stop()
        self._followed_look.stop()
        self._forgetting.stop()
        self._expiring.stop()
        self.lines.stop()
        self.tag_readers.stop()
        self.quiet.stop()
        self.rules.stop()
        self.tracks.stop()
        self.health.stop()
        self.policy_lists.stop()
        self.upkeep.stop()
        self.intake.stop()
        self.outside.stop()
        self.events.stop()
        self.waking.stop()
        self.webhooks.stop()
        self._close_ports()
        self.keeping.stop()
        self.outbox.stop()
        self.clients.stop()
        self.server_streams.stop()
        self.servers.stop()
        await self.tasks.stop()
        await self.database.stop()

    def stopService(self) -> Deferred[None]:
        """End every stream, do what is waiting to be written, close."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def _close_ports(self) -> None:
        for port in self._ports:
            port.stopListening()
        self._ports.clear()


def make_service(config: Config, *, migrate: bool = True) -> IService:
    """The service that twistd runs; SIGHUP makes it read its certificate again."""
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    node = Node(config, reactor, upgrade=migrate)
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(node.reload))
    return node
