"""What posts from another server cost without their stream: read, dispatched, stored, flushed to disk, told.

    python benchmarks/micro_receive.py [--notifications 20000] [--followers 1] [--folder DIRECTORY]
    python benchmarks/micro_receive.py --log [--posts 2000] [--entries 1] [--followers 1000] [--online]

A stock server sends each post once for every follower here. They overlap as on a stream from it. Another node sends it
once in its delivery log (``--log``), so many entries in a delivery, each answered before the next. ``--online``:
everybody has a session, and is told. CPU is that of the whole process: the writer's thread and the reactor's.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from microblog.im.message import Messages
from microblog.im.roster import Rosters
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import SubscriptionState
from microblog.runtime import Clock, Tasks
from microblog.store.database import Database, open_database
from microblog.store.transaction import Transaction
from microblog.usecases.following import Follow, record_subscribe
from microblog.wire import ns
from microblog.wire.stanza import Stanza, presence
from microblog.wire.xml import Element
from microblog.xep.following import Following
from microblog.xep.intake import Intake
from microblog.xep.notifications import Notifications
from microblog.xep.rates import PersonalRates
from microblog.xep.readers import Readers
from microblog.xmpp.dispatch import Dispatch
from microblog.xmpp.parser import Parser, XMLLimits
from microblog.xmpp.router import Router
from microblog.xmpp.sessions import Sessions

DOMAIN = "montague.example"
SERVICE = JID.parse("juliet@capulet.example")
TEXT = "But, soft! what light through yonder window breaks? " * 10
LIMITS = XMLLimits(element_bytes=1 << 20, header_bytes=10_000, depth=64, attributes=64, elements=10_000)
# As Prosody 0.13 writes it.
NOTIFICATION = (
    "<message type='headline' from='{service}' to='{reader}' id='{number}'>"
    "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:microblog:0'>"
    "<item id='{number}' publisher='{service}'><entry xmlns='http://www.w3.org/2005/Atom'><title>{text}</title>"
    "<id>tag:capulet.example,2026:{number}</id><published>2026-01-01T12:00:00Z</published>"
    "<updated>2026-01-01T12:00:00Z</updated></entry></item></items></event></message>"
)
ENTRY = (
    "<entry seq='{number}' author='{service}' audience='public'>"
    "<event xmlns='http://jabber.org/protocol/pubsub#event'><items node='urn:xmpp:microblog:0'>"
    "<item id='{number}' publisher='{service}'><entry xmlns='http://www.w3.org/2005/Atom'><title>{text}</title>"
    "<id>tag:capulet.example,2026:{number}</id><published>2026-01-01T12:00:00Z</published>"
    "<updated>2026-01-01T12:00:00Z</updated></entry></item></items></event></entry>"
)
DELIVERY = (
    "<iq type='set' id='{first}' from='capulet.example' to='montague.example'>"
    "<deliver xmlns='urn:x-microblog:fanout:0' epoch='e' prev='{prev}'>{inside}</deliver></iq>"
)


def prepare(tx: Transaction, followers: int) -> None:
    """People who follow Juliet."""
    for n in range(followers):
        account = JID(f"reader{n}", DOMAIN)
        tx.accounts.add(account.localpart, (), admin=False, audience=tx.audience)
        record_subscribe(
            tx, Follow(account=account, service=SERVICE, node=MICROBLOG, state=SubscriptionState.SUBSCRIBED)
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Notifications per second through router and database.")
    parser.add_argument("--notifications", type=int, default=20_000)
    parser.add_argument("--followers", type=int, default=1)
    parser.add_argument("--log", action="store_true")
    parser.add_argument("--posts", type=int, default=2000)
    parser.add_argument("--entries", type=int, default=1)
    parser.add_argument("--online", action="store_true")
    parser.add_argument("--folder", default=None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "microblog.sqlite"
        database = open_database(f"sqlite:///{path}", domain=DOMAIN, now=lambda: datetime.now(UTC), create=True)
        database.run(prepare, arguments.followers)
        if arguments.log:
            measure_log(database, arguments.followers, arguments.posts, arguments.entries, online=arguments.online)
        else:
            measure(database, arguments.followers, arguments.notifications)


class Nowhere:
    """A session's line that only counts."""

    written = 0

    def write(self, data: bytes) -> None:
        """Something is told."""
        Nowhere.written += 1

    def fail(self, error: object) -> None:
        """Nothing fails here."""


class Answers:
    """Other servers, as far as they hear answers."""

    def __init__(self) -> None:
        self.waiting: Deferred[None] = Deferred()

    def send(self, stanza: Stanza, minimum_proof: Proof = Proof.DIALBACK) -> None:
        """An answer."""
        assert stanza.type == "result", stanza.element
        waiting, self.waiting = self.waiting, Deferred()
        waiting.callback(None)


def deliveries(posts: int, entries: int) -> bytes:
    """The bytes of a stream with a delivery log."""
    opening = f"<stream:stream xmlns:stream='{ns.STREAM}' xmlns='{ns.SERVER}'>"
    found = [opening]
    for first in range(1, posts + 1, entries):
        numbers = range(first, min(first + entries, posts + 1))
        inside = "".join(ENTRY.format(service=SERVICE, number=number, text=TEXT) for number in numbers)
        found.append(DELIVERY.format(first=first, prev=first - 1, inside=inside))
    return "".join(found).encode()


def measure_log(database: Database, followers: int, posts: int, entries: int, *, online: bool) -> None:
    """Take a log in, one delivery after the other."""
    from twisted.internet import reactor

    the_reactor: Any = reactor
    clock, tasks, sessions = Clock(the_reactor), Tasks(), Sessions(10)
    dispatch = Dispatch(clock, 90)
    router = Router(DOMAIN, sessions, dispatch, tasks)
    answers = router.servers = Answers()
    rates = PersonalRates(clock, database.limits)
    readers = Readers(sessions, database, clock, tasks)
    notifications = Notifications(readers, Rosters(database, sessions), database, clock, tasks, lambda domain: None)
    following = Following(router, database, readers, rates, clock, tasks)
    dispatch.install([Intake(router, database, readers.backlog, following.follows, clock, tasks)])
    found: list[Element] = []
    parser = Parser(LIMITS, lambda header: None, found.append, lambda: None)
    data = deliveries(posts, entries)
    origin = JID("", SERVICE.domainpart)

    async def take() -> None:
        for number in range(followers if online else 0):
            session = sessions.bind(JID(f"reader{number}", DOMAIN), "phone", Nowhere())
            session.presence = presence("", session.jid, session.jid.bare)
            readers.session_presence(session, session.presence, True)
        await readers.loaded()
        parser.feed(data)
        started, cpu = time.monotonic(), time.process_time()
        for element in found:
            waiting = answers.waiting
            await router.from_server(element, origin, JID("", DOMAIN), Proof.CERTIFICATE)
            await waiting
        stored, stored_cpu = time.monotonic() - started, time.process_time() - cpu
        while len(tasks):
            await clock.sleep(0.01)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        print(
            f"log, {posts} posts, {entries} in a delivery, {followers} followers: stored {posts / stored:,.0f}/s, "
            f"{1e6 * stored_cpu / posts:,.0f} us CPU a post; with telling {posts / seconds:,.0f}/s, "
            f"{1e6 * cpu / posts:,.0f} us a post, {Nowhere.written} notifications"
        )
        Deferred.fromCoroutine(database.stop()).addBoth(lambda _: the_reactor.stop())

    def fail(failure: object) -> None:
        print(failure)
        os._exit(1)

    def start() -> None:
        database.listeners.append(notifications.hear)
        database.start(the_reactor)
        Deferred.fromCoroutine(take()).addErrback(fail)

    the_reactor.callWhenRunning(start)
    the_reactor.run()


def written(followers: int, count: int) -> bytes:
    """The bytes of a stream with so many notifications."""
    stanzas = (
        NOTIFICATION.format(service=SERVICE, reader=JID(f"reader{reader}", DOMAIN), number=number, text=TEXT)
        for number in range(count)
        for reader in range(followers)
    )
    opening = f"<stream:stream xmlns:stream='{ns.STREAM}' xmlns='{ns.SERVER}'>"
    return (opening + "".join(islice(stanzas, count))).encode()


def measure(database: Database, followers: int, count: int) -> None:
    """Take it all in."""
    from twisted.internet import reactor

    the_reactor: Any = reactor
    clock, tasks, sessions = Clock(the_reactor), Tasks(), Sessions(10)
    dispatch = Dispatch(clock, 90)
    router = Router(DOMAIN, sessions, dispatch, tasks)
    router.messages = Messages(router)
    rates = PersonalRates(clock, database.limits)
    readers = Readers(sessions, database, clock, tasks)
    dispatch.install([Following(router, database, readers, rates, clock, tasks)])
    heard = 0
    found: list[Element] = []
    parser = Parser(LIMITS, lambda header: None, found.append, lambda: None)
    data = memoryview(written(followers, count))
    started = (0.0, 0.0)

    def listen(_: object) -> None:
        nonlocal heard
        heard += 1

    def elements() -> Iterator[Element]:
        for at in range(0, len(data), 8192):
            parser.feed(bytes(data[at : at + 8192]))
            while found:
                yield found.pop(0)

    async def take(source: Iterator[Element]) -> None:
        for element in source:
            to = JID.parse(element.attributes["to"])
            await router.from_server(element, SERVICE, to, Proof.CERTIFICATE)
        await router._settled(SERVICE.domainpart)
        report()

    def report() -> None:
        seconds, cpu = time.monotonic() - started[0], time.process_time() - started[1]
        print(
            f"{count} notifications, {followers} followers: {count / seconds:,.0f}/s, "
            f"{1000 * cpu / count:.3f} ms CPU each, {heard} events heard"
        )
        Deferred.fromCoroutine(database.stop()).addBoth(lambda _: the_reactor.stop())

    def fail(failure: object) -> None:
        print(failure)
        os._exit(1)

    def start() -> None:
        nonlocal started
        database.listeners.append(listen)
        database.start(the_reactor)
        started = (time.monotonic(), time.process_time())
        Deferred.fromCoroutine(take(elements())).addErrback(fail)

    the_reactor.callWhenRunning(start)
    the_reactor.run()


if __name__ == "__main__":
    main()
