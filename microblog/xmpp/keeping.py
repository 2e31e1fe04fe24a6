"""For a node that nobody can dial, as behind NAT: a stream to each domain that it wants to hear from, kept open.

Others can send to such a node only on streams that it has opened itself (XEP-0288). So these are not closed when
nothing is said for a while; they are opened again when they end, after the pauses that every domain is given when it
fails; and each time the domain counts as having shown itself, as if it had called us: what is owed to it goes, and
what it told nobody meanwhile is asked for.
"""

from collections.abc import Collection
from random import SystemRandom
from typing import Final

from twisted.logger import Logger

from microblog.model.errors import ResourceConstraint
from microblog.xmpp.resolve import Unreachable
from microblog.xmpp.s2s_out import Servers

KEPT_MAX: Final = 500
AGAIN_SECONDS: Final = 60  # from one stream to the next, at least, however well the first one began
_RANDOM: Final = SystemRandom()


class Keeping:
    """The domains to which streams are kept. Nothing is kept before ``keep``."""

    _log = Logger()

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._clock = servers.federation.clock
        self._wanted: frozenset[str] = frozenset()
        self._left_out = 0
        self._running: set[str] = set()
        servers.keeps = self.keeps

    def keeps(self, domain: str) -> bool:
        """Is a stream to that domain kept?"""
        return domain in self._wanted and not self._servers.federation.refuses(domain)

    def keep(self, domains: Collection[str]) -> None:
        """Keep streams to these from now on, and to no others; of too many, those that are kept already come first."""
        refuses = self._servers.federation.refuses
        wanted = [domain for domain in domains if not refuses(domain)]
        wanted.sort(key=lambda domain: (domain not in self._wanted, domain))
        left_out = len(wanted) - KEPT_MAX
        if left_out > 0 and left_out != self._left_out:
            self._log.warn(
                "Streams are kept to {kept} domains; {more} more that are followed are heard when they are called",
                kept=KEPT_MAX,
                more=left_out,
            )
        self._left_out = left_out
        self._wanted = frozenset(wanted[:KEPT_MAX])
        for domain in self._wanted - self._running:
            self._running.add(domain)
            self._servers.federation.tasks.spawn(self._keep(domain), f"a stream to {domain} that is kept")

    def stop(self) -> None:
        """Open no more; those that are there end as others do."""
        self._wanted = frozenset()

    async def _keep(self, domain: str) -> None:
        try:
            while self.keeps(domain):
                began = self._clock.monotonic()
                try:
                    carrier = await self._servers.open(domain)
                    if self.keeps(domain):
                        self._servers.contact(domain)
                    await carrier.ending()
                except (Unreachable, ResourceConstraint) as error:
                    self._log.debug("No stream is kept to {domain}: {error}", domain=domain, error=error)
                gap = _RANDOM.uniform(AGAIN_SECONDS / 2, AGAIN_SECONDS) - (self._clock.monotonic() - began)
                await self._clock.sleep(max(gap, self._servers.pause(domain), 0))
        finally:
            self._running.discard(domain)
