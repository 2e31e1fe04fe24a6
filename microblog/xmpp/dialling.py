"""RFC 6120 §3: from the name of a domain to a stream that may carry stanzas, by way of its targets and their addresses.

Whatever the reason, a domain is not dialled twice within a few seconds, and not everybody at once.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectingCancelledError

from microblog.xmpp.resolve import Address, Unreachable
from microblog.xmpp.s2s_open import Outgoing, Refused

if TYPE_CHECKING:
    from microblog.xmpp.s2s_out import Servers

ATTEMPT_GAP_SECONDS: Final = 5  # 1 where rates are off


class Dialler:
    """Dials one domain. ``on_secured`` is called with a stream on which keys may be verified already."""

    def __init__(self, servers: "Servers", domain: str, on_secured: Callable[[Outgoing], None]) -> None:
        self.attempted: float | None = None  # None: nothing speaks against dialling at once
        self.gap = ATTEMPT_GAP_SECONDS if servers.federation.limits.rates else 1
        self._servers = servers
        self._federation = servers.federation
        self._domain = domain
        self._on_secured = on_secured

    async def reach(self) -> Outgoing:
        """A stream that may carry stanzas. Raises Unreachable."""
        if self.attempted is not None:
            gap = self.attempted + self.gap - self._federation.clock.monotonic()
            if gap > 0:
                await self._federation.clock.sleep(gap)
        await self._servers.connecting.acquire()
        try:
            self.attempted = self._federation.clock.monotonic()
            seconds = self._federation.limits.s2s_auth_seconds
            return await self._federation.clock.deadline(self._try_all(), seconds)
        except TimeoutError as error:
            raise Unreachable(f"no stream after {seconds} seconds") from error
        finally:
            self._servers.connecting.release()

    async def _try_all(self) -> Outgoing:
        failure: Unreachable | None = None
        for target in await self._servers.resolver.targets(self._domain):
            try:
                for address in await self._servers.resolver.addresses(target):
                    try:
                        return await self._try(address)
                    except Refused:
                        raise
                    except Unreachable as error:
                        failure = error
            except Refused:
                raise
            except Unreachable as error:
                # A passing failure says more than a permanent one: the target may be there tomorrow.
                failure = error if failure is None or failure.permanent else failure
        assert failure is not None
        raise failure

    async def _try(self, address: Address) -> Outgoing:
        outgoing = Outgoing(
            self._federation,
            self._domain,
            address,
            self._on_secured,
            self._servers.reception,
            self._servers.unconfirmed,
        )
        try:
            await self._servers.connect(address, outgoing.stream)
        except ConnectError as error:
            raise Unreachable(f"{address}: {error}") from error
        except ConnectingCancelledError as error:  # the server stops
            raise CancelledError from error
        await outgoing.negotiate()
        return outgoing
