"""`twistd microblog tap`: events of a node as calls to a program behind a firewall (``microblog.tapping``)."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectingCancelledError, DNSLookupError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.names import client as names

from microblog.config import Endpoint, Limits
from microblog.http import Caller, CallFailed
from microblog.model.jid import JID
from microblog.runtime import Clock, Tasks, keep_steady_time
from microblog.tapping import Subscription, Tap
from microblog.terminal import Failure, Options, read_password
from microblog.wire import webhook
from microblog.wire.tapped import Told
from microblog.xmpp import tls
from microblog.xmpp.c2s_open import PORT, SERVICES, Login, LoginFailed
from microblog.xmpp.resolve import Address, Resolver, Unreachable
from microblog.xmpp.stream import Stream

# Whom we hear is the node whose people we are: it may say more at once than a stranger may to it.
LIMITS: Final = Limits(rates=False, c2s_stanza_max_bytes=16_777_216, xml_max_elements=1_000_000)
CALL_SECONDS: Final = 30


class Connector:
    """Finds the node and logs in."""

    def __init__(self, reactor: Any, clock: Clock, login: Login, node: Endpoint | None) -> None:
        self._reactor = reactor
        self._clock = clock
        self._login = login
        self._node = node
        # What the administrator of this machine has called is to be found wherever it is.
        self._resolver = Resolver(
            names.createResolver(),
            clock,
            LIMITS,
            routes={},
            private_addresses=True,
            services=SERVICES,
            port=PORT,
        )

    async def connect(self) -> tuple[Stream, JID]:
        """A stream and who we are on it. Raises LoginFailed, Unreachable."""
        failure: LoginFailed | Unreachable = Unreachable("the node has no address")
        for address in await self._addresses():
            stream = self._login.stream(self._clock, LIMITS)
            endpoint = HostnameEndpoint(self._reactor, address.host, address.port, timeout=LIMITS.connect_seconds)
            try:
                await connectProtocol(endpoint, stream)
                return stream, await self._login.log_in(stream, direct_tls=address.direct_tls)
            except (ConnectError, DNSLookupError) as error:
                failure = Unreachable(f"{address}: {error}")
            except ConnectingCancelledError as error:
                raise CancelledError from error
            except LoginFailed as error:
                failure = error
                if error.permanent:
                    raise
        raise failure

    async def _addresses(self) -> Sequence[Address]:
        if self._node is not None:
            return [Address(self._node.host, self._node.port, self._node.direct_tls)]
        found: list[Address] = []
        for target in await self._resolver.targets(self._login.account.domainpart):
            found += await self._resolver.addresses(target)
        return found


class Poster:
    """Makes calls of events."""

    def __init__(self, caller: Caller, url: str, clock: Clock, key: bytes | None) -> None:
        self._caller = caller
        self._url = url
        self._clock = clock
        self._key = key

    async def post(self, event: Told) -> None:
        """Hand it over. Raises CallFailed: it was not taken."""
        headers = webhook.headers(event.id, self._clock.now(), event.body, self._key)
        answer = await self._caller.post(self._url, event.body, headers)
        if not answer.is_success:
            raise CallFailed(f"the answer is {answer.status}")


def tap(options: Options) -> int:
    """Run it; the exit status."""
    from twisted.internet import reactor as running_reactor

    reactor: Any = running_reactor

    password = read_password(options)
    key = None
    if options["secret-file"] is not None:
        try:
            key = webhook.read_secret(Path(options["secret-file"]).read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise Failure(f"{options['secret-file']} is not text.") from error
        except ValueError as error:
            raise Failure(str(error)) from error
    roots = None if options["trust-roots"] is None else Path(options["trust-roots"])
    try:
        context = tls.anonymous_context(roots)
    except tls.CertificateUnusable as error:
        raise Failure(str(error)) from error
    keep_steady_time(reactor)
    errors = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
    log = FilteringLogObserver(textFileLogObserver(sys.stderr), [errors])
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    clock, tasks = Clock(reactor), Tasks()

    async def derive(function: Callable[[bytes], bytes], data: bytes) -> bytes:
        return await deferToThreadPool(reactor, reactor.getThreadPool(), function, data)

    login = Login(
        options["jid"].bare,
        password,
        context,
        derive,
        fingerprint=options["fingerprint"] or "",
        resource=options["jid"].resourcepart or "",
    )
    subscription = Subscription(
        name=options["name"], sources=options["sources"], window=options["window"], start=bool(options["from-start"])
    )
    poster = Poster(Caller(reactor, clock, seconds=CALL_SECONDS, trust_roots=roots), options["to"], clock, key)
    running = Tap(
        subscription, Connector(reactor, clock, login, options["node"]).connect, poster.post, clock, tasks, _say(clock)
    )
    failures: list[BaseException] = []

    async def run() -> None:
        try:
            await running.run()
        except CancelledError:
            raise
        except Exception as error:
            failures.append(error)
            reactor.callLater(0, reactor.stop)

    reactor.callWhenRunning(lambda: tasks.spawn(run(), "tap") and None)
    reactor.addSystemEventTrigger("before", "shutdown", tasks.stop)
    reactor.run()
    if failures:
        raise failures[0]
    return 0


def _say(clock: Clock) -> Callable[[str], None]:
    def say(text: str) -> None:
        moment = clock.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
        shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
        print(f"{moment}  {shown}", flush=True)

    return say
