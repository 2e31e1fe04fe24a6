"""What DNS says of our own domain, asked in a reactor that runs for this question only.

It is the server's own resolver that is asked, without the configured routes: what comes out is what another node
would connect to.
"""

from dataclasses import dataclass, field
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.names import client, dns

from microblog.config import Config
from microblog.runtime import Clock
from microblog.xmpp.resolve import Address, Resolver, Unreachable

SECONDS = 4


@dataclass(slots=True)
class Found:
    """Where servers would connect, why they could not, and the targets of the clients' SRV records."""

    servers: list[Address] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)


def look_up(config: Config) -> Found:
    """Ask; takes a few seconds when no name server answers. Not for a process whose reactor runs or has run."""
    found = Found()

    def main(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_ask(reactor, config, found))

    try:
        task.react(main)
    except SystemExit as end:
        if end.code:
            raise
    return found


async def _ask(reactor: Any, config: Config, found: Found) -> None:
    names = client.createResolver()
    limits = config.limits.model_copy(update={"dns_seconds": SECONDS})
    resolver = Resolver(names, Clock(reactor), limits, routes={}, private_addresses=True)
    try:
        for target in await resolver.targets(config.node.domain):
            try:
                found.servers += await resolver.addresses(target)
            except Unreachable as error:
                found.troubles.append(error.reason)
    except Unreachable as error:
        found.troubles.append(error.reason)
    for service in ("_xmpp-client", "_xmpps-client"):
        try:
            name = f"{service}._tcp.{config.node.domain}"
            answers, _, _ = await names.lookupService(name, timeout=(SECONDS,))
        except Exception:  # no such record, or no answer: the finding is the same
            continue
        found.clients += [
            f"{header.payload.target.name.decode('ascii', 'replace')}:{header.payload.port}"
            for header in answers
            if header.type == dns.SRV
        ]
