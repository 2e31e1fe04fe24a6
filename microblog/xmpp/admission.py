"""Who may connect and try passwords, and how often (XEP-0205, RFC 6120 §6.4.5).

Connections above the rate of a listener, and too many at a time from one address that have not authenticated, are
closed without a word. Logins that fail are counted: an address that fails often is refused for a while, an account for
which many fail is answered later, and never locked: its owner must not be locked out by a stranger. An IPv6 address
counts as its /64. No table grows without bound: the oldest entry goes first.
"""

import ipaddress
from collections import OrderedDict
from typing import Final

from microblog.config import Limits
from microblog.runtime import Clock

_TABLE_MAX: Final = 65_536
_DELAY_MAX_SECONDS: Final = 10.0


def address_key(host: str) -> str:
    """What counts as one address: itself, or the /64 of an IPv6 address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)
    return host


class Admission:
    """The door of one listening port."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._rate = limits.rate(limits.connections_per_second)
        self._burst = limits.connections_burst
        self._per_address = limits.rate(limits.unauthenticated_per_address)
        self._tokens = float(self._burst)
        self._tokens_at = clock.monotonic()
        self._strangers: dict[str, int] = {}

    def admit(self, host: str) -> bool:
        """Whether a connection may come in; if so, ``settled`` has to be called once for it."""
        if self._rate is not None:
            now = self._clock.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._tokens_at) * self._rate)
            self._tokens_at = now
            if self._tokens < 1:
                return False
        key = address_key(host)
        strangers = self._strangers.get(key, 0)
        if self._per_address is not None and strangers >= self._per_address:
            return False
        self._tokens -= 1
        self._strangers[key] = strangers + 1
        return True

    def settled(self, host: str) -> None:
        """A connection that was admitted has authenticated, or is gone before it did."""
        key = address_key(host)
        strangers = self._strangers.get(key, 0)
        if strangers > 1:
            self._strangers[key] = strangers - 1
        else:
            self._strangers.pop(key, None)


class _Failures:
    """Failures of somebody within a window of time."""

    def __init__(self, clock: Clock, window_seconds: float) -> None:
        self._clock = clock
        self._window_seconds = window_seconds
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, who: str) -> int:
        count = self.count(who) + 1
        since = self._counts.pop(who, (self._clock.monotonic(), 0))[0]
        self._counts[who] = since, count
        if len(self._counts) > _TABLE_MAX:
            self._counts.popitem(last=False)
        return count

    def count(self, who: str) -> int:
        since, count = self._counts.get(who, (0.0, 0))
        if count and self._clock.monotonic() - since >= self._window_seconds:
            del self._counts[who]
            return 0
        return count

    def forget(self, who: str) -> None:
        self._counts.pop(who, None)


class LoginFailures:
    """Logins that failed, by address and by account."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._refusal_seconds = limits.login_refusal_seconds
        self._per_address = limits.rate(limits.login_failures_per_address)
        self._per_account = limits.rate(limits.login_failures_per_account)
        self._addresses = _Failures(clock, limits.login_failure_window_seconds)
        self._accounts = _Failures(clock, limits.login_failure_window_seconds)
        self._refused: OrderedDict[str, float] = OrderedDict()

    def refused(self, host: str) -> bool:
        """Whether an address has to wait before it may try again."""
        key = address_key(host)
        until = self._refused.get(key)
        if until is None:
            return False
        if self._clock.monotonic() >= until:
            del self._refused[key]
            return False
        return True

    def failed(self, host: str, localpart: str | None) -> None:
        """Count a login that failed."""
        if localpart is not None and self._per_account is not None:
            self._accounts.add(localpart)
        if self._per_address is None:
            return
        key = address_key(host)
        if self._addresses.add(key) >= self._per_address:
            self._addresses.forget(key)
            self._refused[key] = self._clock.monotonic() + self._refusal_seconds
            if len(self._refused) > _TABLE_MAX:
                self._refused.popitem(last=False)

    def delay(self, localpart: str | None) -> float:
        """How many seconds the answer about an account waits."""
        if localpart is None or self._per_account is None:
            return 0.0
        excess = self._accounts.count(localpart) - self._per_account
        return 0.0 if excess < 0 else min(0.5 * 2 ** min(excess, 8), _DELAY_MAX_SECONDS)
