"""What somebody may see of posts, wherever they stand: the audiences that each node lets them read.

A node is asked once for everything that is read in one go. Our copies of feeds elsewhere are read by whoever follows
them, and what is public of them by all; nodes that depend on an item by whoever may read that item. Direct posts are
read by those they name. What comes from a domain that the administrator has silenced is read by those who follow it.
Who has blocked somebody, or was blocked, sees nothing of theirs.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property

from microblog.model.access import Facts, audiences_readable
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.quiet import Quiet
from microblog.model.subscription import SubscriptionState
from microblog.store.timelines import Standing
from microblog.store.transaction import Transaction
from microblog.usecases import muting
from microblog.usecases.depending import is_dependent, stand


class Sight:
    """What a reader may see at which node. ``audiences``: of what may go to where they read it.

    ``unmuted``: nor what is all of somebody whom they muted. ``quiet``: what they do not want, where that is known.
    """

    def __init__(
        self,
        tx: Transaction,
        reader: JID,
        audiences: frozenset[Audience] = frozenset(Audience),
        *,
        unmuted: bool = False,
        quiet: Quiet | None = None,
    ) -> None:
        self._tx = tx
        self._quiet = quiet
        self._unmuted = unmuted
        self._reader = reader.bare
        self.here = self._reader.domainpart == tx.domain
        # Whom somebody from elsewhere follows does not matter: their own server has those posts.
        self.audiences = audiences if self.here else audiences & {Audience.PUBLIC}
        self.everybodys = self.audiences & {Audience.PUBLIC, Audience.LOCAL}
        self._direct = Audience.DIRECT in self.audiences
        self._nodes: dict[int, tuple[Node, frozenset[Audience] | None] | None] = {}

    @cached_property
    def quiet(self) -> Quiet:
        """What the reader does not want."""
        return self._quiet if self._quiet is not None else muting.quiet(self._tx, self._reader)

    @property
    def shuns_some(self) -> bool:
        """Is there anybody of whom nothing is shown?"""
        quiet = self.quiet
        return bool(quiet.avoided or quiet.avoiding or (self._unmuted and (quiet.people or quiet.domains)))

    def _shuns(self, jid: JID) -> bool:
        return self.quiet.hides_all_of(jid) if self._unmuted else self.quiet.avoids(jid)

    def at(self, node_key: int) -> tuple[Node, frozenset[Audience] | None] | None:
        """A node with the audiences of which everything there may be read; None in their place: nothing at all."""
        if node_key not in self._nodes:
            self.look((node_key,))
        return self._nodes[node_key]

    def look(self, node_keys: Iterable[int]) -> None:
        """Find out about several nodes at once."""
        unknown = [node_key for node_key in node_keys if node_key not in self._nodes]
        found = self._tx.timelines.at_nodes(unknown, self._reader)
        for node_key in unknown:
            self._nodes[node_key] = self._seen(*found[node_key]) if node_key in found else None

    def node(self, node_key: int) -> Node | None:
        """The node of a key."""
        found = self.at(node_key)
        return found[0] if found else None

    def _seen(self, node: Node, facts: Facts) -> tuple[Node, frozenset[Audience] | None]:
        if node.service != self._reader and self._shuns(node.service):
            return node, None
        if is_dependent(node.name):
            node, facts = stand(self._tx, node, self._reader)
        if not facts.capability.retrieve:
            return node, None
        if node.service.domainpart != self._tx.domain:
            follows = facts.subscribed is SubscriptionState.SUBSCRIBED
            if not follows and self._tx.policies.silences(node.service.domainpart):
                return node, None
            allowed = frozenset((Audience.PUBLIC, Audience.FOLLOWERS) if follows else (Audience.PUBLIC,))
        else:
            allowed = audiences_readable(node.config, facts)
        return node, allowed & self.audiences

    def admits(self, standing: Standing) -> bool:
        """May it be read, given that a direct one is for this reader?"""
        found = self.at(standing.node)
        if found is None or found[1] is None:
            return False
        return standing.audience in found[1] or (standing.audience is Audience.DIRECT and self._direct)

    def readable(self, node_key: int, item: Item, mentioned: Mapping[JID, bool] | None = None) -> Node | None:
        """The node of an item that may be read."""
        found = self.at(node_key)
        if found is None or found[1] is None:
            return None
        author = item.publisher.bare
        if author not in (found[0].service, self._reader) and self._shuns(author):
            return None
        if item.audience in found[1]:
            return found[0]
        if item.audience is not Audience.DIRECT or not self._direct:
            return None
        readers = self._tx.items.mentioned(item.key) if mentioned is None else mentioned
        return found[0] if readers.get(self._reader) else None
