"""The one door from use cases to the database.

A use case is a function of a transaction: it asks the collections, writes through them, emits events, and returns.
It may be run twice (its group failed and is run again), so it touches nothing else; what it emitted the first time is
forgotten with what it wrote.

Statements are made once, at import, with ``bindparam``: building one costs three times as much as running it.
"""

import base64
import os
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from microblog.config import Limits
from microblog.model.entry import Entry
from microblog.model.event import Event
from microblog.model.item import Audience

if TYPE_CHECKING:
    from microblog.store.accounts import Accounts
    from microblog.store.affiliations import Affiliations
    from microblog.store.blocks import Blocks
    from microblog.store.contacts import Contacts
    from microblog.store.deferred import DeferredLines
    from microblog.store.domains import Domains
    from microblog.store.events import Events
    from microblog.store.fan_outs import FanOuts
    from microblog.store.followed_tags import FollowedTags
    from microblog.store.held import HeldMessages
    from microblog.store.holders import Holders
    from microblog.store.interests import Interests
    from microblog.store.items import Items
    from microblog.store.linked import LinkedAddresses
    from microblog.store.logs import Logs
    from microblog.store.marks import BacklogMarks
    from microblog.store.moved import MovedAccounts
    from microblog.store.mutes import Mutes
    from microblog.store.nodes import Nodes
    from microblog.store.outbox import Outbox
    from microblog.store.outside import OutsideChanges
    from microblog.store.peers import Peers
    from microblog.store.people_lists import PeopleLists
    from microblog.store.places import Locations, Places
    from microblog.store.policies import Policies
    from microblog.store.preferences import Preferences
    from microblog.store.profiles import Profiles
    from microblog.store.programlogs import ProgramLogs
    from microblog.store.programs import Programs
    from microblog.store.reports import Reports
    from microblog.store.rules import Rules
    from microblog.store.said import Said
    from microblog.store.search import Search
    from microblog.store.settings import Settings
    from microblog.store.shown import Shown
    from microblog.store.subscriptions import Subscriptions
    from microblog.store.timelines import Timelines
    from microblog.store.tracks import Tracks
    from microblog.store.trails import Trails
    from microblog.store.webhooks import Webhooks


class Transaction:
    """What a use case gets: the collections, one instant, the node's domain, limits and default audience."""

    def __init__(
        self,
        connection: Connection,
        *,
        now: datetime,
        domain: str,
        limits: Limits,
        audience: Audience = Audience.PUBLIC,
        folder: str | None = None,
        read_entry: Callable[[str], Entry | None] = lambda payload: None,
    ) -> None:
        self.connection = connection
        self.now = now
        self.domain = domain
        self.limits = limits
        self.audience = audience
        # What a payload says: rules know no XML.
        self.read_entry = read_entry
        self.emitted: list[Event] = []
        self._folder = folder

    def emit(self, event: Event) -> None:
        """Tell what happened; it is heard if and when this transaction is committed, in order of ``seq``."""
        self.emitted.append(event)

    def new_id(self) -> str:
        """128 random bits as 26 letters and digits."""
        return base64.b32encode(secrets.token_bytes(16)).decode("ascii").rstrip("=").lower()

    @cached_property
    def disk_low(self) -> bool:
        """Less room than the administrator wants left: new content is to be refused, cleaning up is not.

        Looked at once for all that is committed together.
        """
        if self._folder is None:
            return False
        disk = os.statvfs(self._folder)
        return disk.f_bavail * disk.f_frsize < self.limits.free_disk_min_bytes

    # Imported on first use: the collections import what they need of this package, and nobody needs all of them.

    @cached_property
    def accounts(self) -> "Accounts":
        """Our people and their keys."""
        from microblog.store.accounts import Accounts

        return Accounts(self)

    @cached_property
    def contacts(self) -> "Contacts":
        """Our people's rosters."""
        from microblog.store.contacts import Contacts

        return Contacts(self)

    @cached_property
    def nodes(self) -> "Nodes":
        """Pubsub nodes, ours and our copies of others."""
        from microblog.store.nodes import Nodes

        return Nodes(self)

    @cached_property
    def items(self) -> "Items":
        """What was published."""
        from microblog.store.items import Items

        return Items(self)

    @cached_property
    def subscriptions(self) -> "Subscriptions":
        """Who subscribed to which node."""
        from microblog.store.subscriptions import Subscriptions

        return Subscriptions(self)

    @cached_property
    def affiliations(self) -> "Affiliations":
        """Who is what at which node."""
        from microblog.store.affiliations import Affiliations

        return Affiliations(self)

    @cached_property
    def interests(self) -> "Interests":
        """Remote contacts that are present and want notifications."""
        from microblog.store.interests import Interests

        return Interests(self)

    @cached_property
    def events(self) -> "Events":
        """The log of what happened."""
        from microblog.store.events import Events

        return Events(self)

    @cached_property
    def outbox(self) -> "Outbox":
        """What other domains have yet to be told."""
        from microblog.store.outbox import Outbox

        return Outbox(self)

    @cached_property
    def outside_changes(self) -> "OutsideChanges":
        """What was done beside the running server."""
        from microblog.store.outside import OutsideChanges

        return OutsideChanges(self)

    @cached_property
    def domains(self) -> "Domains":
        """How we get on with other domains."""
        from microblog.store.domains import Domains

        return Domains(self)

    @cached_property
    def settings(self) -> "Settings":
        """What the node remembers about itself."""
        from microblog.store.settings import Settings

        return Settings(self)

    @cached_property
    def timelines(self) -> "Timelines":
        """Posts in the order in which people read them."""
        from microblog.store.timelines import Timelines

        return Timelines(self)

    @cached_property
    def search(self) -> "Search":
        """Posts by what they say."""
        from microblog.store.search import Search

        return Search(self)

    @cached_property
    def trails(self) -> "Trails":
        """How far those have come who read the log behind the publishing."""
        from microblog.store.trails import Trails

        return Trails(self)

    @cached_property
    def tracks(self) -> "Tracks":
        """Saved searches, and what has met them."""
        from microblog.store.tracks import Tracks

        return Tracks(self)

    @cached_property
    def linked(self) -> "LinkedAddresses":
        """Addresses elsewhere of our people."""
        from microblog.store.linked import LinkedAddresses

        return LinkedAddresses(self)

    @cached_property
    def preferences(self) -> "Preferences":
        """What our people have set."""
        from microblog.store.preferences import Preferences

        return Preferences(self)

    @cached_property
    def profiles(self) -> "Profiles":
        """What our people say of themselves."""
        from microblog.store.profiles import Profiles

        return Profiles(self)

    @cached_property
    def held(self) -> "HeldMessages":
        """Messages to people who were not there."""
        from microblog.store.held import HeldMessages

        return HeldMessages(self)

    @cached_property
    def shown(self) -> "Shown":
        """The numbers by which our people know items."""
        from microblog.store.shown import Shown

        return Shown(self)

    @cached_property
    def deferred(self) -> "DeferredLines":
        """Lines of chat that wait for their readers."""
        from microblog.store.deferred import DeferredLines

        return DeferredLines(self)

    @cached_property
    def said(self) -> "Said":
        """What our people said in chat."""
        from microblog.store.said import Said

        return Said(self)

    @cached_property
    def holders(self) -> "Holders":
        """Which domains have which items."""
        from microblog.store.holders import Holders

        return Holders(self)

    @cached_property
    def logs(self) -> "Logs":
        """What other nodes were told, numbered."""
        from microblog.store.logs import Logs

        return Logs(self)

    @cached_property
    def peers(self) -> "Peers":
        """Other nodes, and how far each of us has come with the other's log."""
        from microblog.store.peers import Peers

        return Peers(self)

    @cached_property
    def fan_outs(self) -> "FanOuts":
        """Which domains are owed an event."""
        from microblog.store.fan_outs import FanOuts

        return FanOuts(self)

    @cached_property
    def marks(self) -> "BacklogMarks":
        """What stands for long backlogs."""
        from microblog.store.marks import BacklogMarks

        return BacklogMarks(self)

    @cached_property
    def policies(self) -> "Policies":
        """What the administrator says of other domains, and what they take here."""
        from microblog.store.policies import Policies

        return Policies(self)

    @cached_property
    def moved(self) -> "MovedAccounts":
        """Accounts that moved, or are gone."""
        from microblog.store.moved import MovedAccounts

        return MovedAccounts(self)

    @cached_property
    def webhooks(self) -> "Webhooks":
        """Programs that are called."""
        from microblog.store.webhooks import Webhooks

        return Webhooks(self)

    @cached_property
    def programs(self) -> "Programs":
        """Durable subscriptions of programs to what happens."""
        from microblog.store.programs import Programs

        return Programs(self)

    @cached_property
    def followed_tags(self) -> "FollowedTags":
        """Tags that our people follow."""
        from microblog.store.followed_tags import FollowedTags

        return FollowedTags(self)

    @cached_property
    def people_lists(self) -> "PeopleLists":
        """Lists of people, each with a timeline."""
        from microblog.store.people_lists import PeopleLists

        return PeopleLists(self)

    @cached_property
    def reports(self) -> "Reports":
        """What was reported to the moderators."""
        from microblog.store.reports import Reports

        return Reports(self)

    @cached_property
    def mutes(self) -> "Mutes":
        """What our people do not want to read."""
        from microblog.store.mutes import Mutes

        return Mutes(self)

    @cached_property
    def blocks(self) -> "Blocks":
        """Whom our people have blocked."""
        from microblog.store.blocks import Blocks

        return Blocks(self)

    @cached_property
    def program_logs(self) -> "ProgramLogs":
        """What programs are told, out of the logs."""
        from microblog.store.programlogs import ProgramLogs

        return ProgramLogs(self)

    @cached_property
    def places(self) -> "Places":
        """Places that our people have named."""
        from microblog.store.places import Places

        return Places(self)

    @cached_property
    def locations(self) -> "Locations":
        """Where our people are."""
        from microblog.store.places import Locations

        return Locations(self)

    @cached_property
    def rules(self) -> "Rules":
        """What our people want done when something happens."""
        from microblog.store.rules import Rules

        return Rules(self)
