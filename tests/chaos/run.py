"""A run: the town is built, the plan is lived, then quiet, then everything is looked at.

1. Five servers start; accounts, first posts, first follows and friendships, while all is well.
2. Chaos, as planned, each server's steps in a thread of its own.
3. Quiet: links healed, nodes up, clocks right, everybody on line. The run waits until no node owes anything to any
   other and nothing changes any more, at most `LEVEL_SECONDS`.
4. The next day: the nodes are restarted with clocks of the day after, so that what they look after once a day (whether
   their follows are still known elsewhere, and what they missed) happens now; then level again.
5. `invariants` over ledger, sessions, databases, files and samples.
"""

import contextlib
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tests.chaos import people
from tests.chaos.databases import Database, disagreements
from tests.chaos.people import Person, now
from tests.chaos.plan import Op, Plan, Step
from tests.chaos.town import OurNode, Town
from tests.interop.client import Refused, register
from tests.interop.microblogging import MICROBLOG

LEVEL_SECONDS = 150.0
START_SECONDS = 300.0  # so long only where the machine has too much to do
STILL_SECONDS = 6.0
AGREE_SECONDS = 90.0
DAY_SECONDS = 100_000.0  # a day, and more than any clock was ahead
MORNINGS, MORNING = 2, 100_000  # so many, with numbers from there
SAMPLE_SECONDS = 1.0


@dataclass(slots=True)
class Sample:
    """A look at a node: seconds since the beginning, resident megabytes, open files, rows owed."""

    at: float
    megabytes: float
    files: int


@dataclass(slots=True)
class Outcome:
    """What there is to judge."""

    plan: Plan
    town: Town
    persons: dict[str, Person]
    password: str
    first: list[Op] = field(default_factory=list)  # what was asked before the chaos
    mornings: list[Op] = field(default_factory=list)  # and the day after
    chaos: tuple[float, float] = (0.0, 0.0)  # from when to when, monotonic
    quiet: dict[str, Database] = field(default_factory=dict)  # when level
    later: dict[str, Database] = field(default_factory=dict)  # and a day later
    unlevel: list[str] = field(default_factory=list)  # what was still owed, and when
    troubles: list[str] = field(default_factory=list)  # starts that failed
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    crowd: float = 1.0  # how many processes wanted each of this machine's processors, at most
    backup: dict[str, float] = field(default_factory=dict)
    restored: dict[str, float] = field(default_factory=dict)
    downs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    homes: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    kept: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def ops(self) -> list[Op]:
        """Everything that anybody asked for, in order."""
        return [*self.first, *self.plan.ops]


class Run:
    """One run; `lived` gives its outcome while the servers are still there."""

    def __init__(self, plan: Plan, folder: Path, say: TextIO | None = None, *, next_day: bool = True) -> None:
        self.plan, self.folder, self.next_day = plan, folder, next_day
        self._output = say
        people.begin_time()
        self._over = threading.Event()

    def say(self, text: str) -> None:
        """A line of progress."""
        if self._output is not None:
            print(f"{now():6.1f} s  {text}", file=self._output, flush=True)

    @contextlib.contextmanager
    def lived(self, settings: dict[str, dict[str, object]] | None = None) -> Iterator[Outcome]:
        """Live it."""
        merged: dict[str, dict[str, object]] = {"accounts": {"registration": "open"}, **(settings or {})}
        with Town(self.folder, self.plan.domains, merged) as town:
            outcome = Outcome(self.plan, town, {}, secrets.token_hex(12))
            actors = {domain: Actor(self, outcome, domain) for domain in self.plan.domains}
            try:
                self._begin(outcome, actors)
                self._chaos(outcome, actors)
                self._quiet(outcome, actors)
                yield outcome
            finally:
                self._over.set()
                for actor in actors.values():
                    actor.stop()

    def _stage(self, outcome: Outcome, name: str, since: float) -> None:
        outcome.seconds[name] = now() - since

    # 1

    def _begin(self, outcome: Outcome, actors: dict[str, "Actor"]) -> None:
        since = now()
        town = outcome.town
        for node in town.ours.values():
            node.set_clock(self.plan.skew.get(node.domain, 0.0))
        town.proxies.start()
        self.say(f"seed {self.plan.seed}: starting {', '.join(self.plan.domains)}")
        together([actor.start_server for actor in actors.values()], actors)
        for address in self.plan.people():
            name, _, domain = address.partition("@")
            outcome.persons[address] = Person(town.servers[domain], name, outcome.password)
        together([actor.settle_in for actor in actors.values()], actors)
        for number, (address, person) in enumerate(outcome.persons.items(), 1):
            op = Op(number, address, "post", "first", token=f"tok{self.plan.seed}first{number}x")
            outcome.first.append(op)
            person.do(op)
            if person.stock:  # ejabberd cannot make two nodes at once
                self._answered(outcome, [op])
        self._answered(outcome, outcome.first)
        for one, two in self.plan.friends:
            people.befriend(outcome.persons[one], outcome.persons[two])
        pairs = enumerate(self.plan.follows, len(outcome.first) + 1)
        follows = [Op(number, reader, "follow", target=author) for number, (reader, author) in pairs]
        outcome.first += follows
        for op in follows:
            outcome.persons[op.person].do(op)
        self._answered(outcome, follows)
        bad = [
            f"{op.person} {op.kind} {op.target}: {op.answer or 'no answer'}"
            for op in outcome.first
            if op.answer != "result"
        ]
        if bad:
            raise RuntimeError("the beginning went wrong already: " + "; ".join(bad[:5]))
        self._stage(outcome, "beginning", since)

    def _answered(self, outcome: Outcome, ops: list[Op]) -> None:
        deadline = now() + 30
        while now() < deadline:
            for person in outcome.persons.values():
                person.resolve()
            if all(op.answer for op in ops):
                return
            time.sleep(0.1)

    # 2

    def _chaos(self, outcome: Outcome, actors: dict[str, "Actor"]) -> None:
        began = now()
        self.say(f"chaos for {self.plan.seconds:.0f} s: {len(self.plan.ops)} deeds, {len(self.plan.steps)} steps")
        threading.Thread(target=self._sample, args=(outcome,), daemon=True).start()
        for actor in actors.values():
            actor.live([step for step in self.plan.steps if step.domain == actor.domain], began)
        for step in self.plan.steps:
            if step.domain:
                continue
            wait_until(began + step.at)
            for source, target in step.links:
                if step.what == "reset":
                    outcome.town.proxies.reset(source, target)
                else:
                    mode, seconds, allowance = step.fault
                    outcome.town.proxies.set(source, target, mode, seconds, allowance)
        wait_until(began + self.plan.seconds)
        outcome.town.proxies.heal()
        for actor in actors.values():
            actor.wait()
        outcome.chaos = began, now()
        self._stage(outcome, "chaos", began)

    def _sample(self, outcome: Outcome) -> None:
        while not self._over.is_set():
            before = now()
            outcome.crowd = max(outcome.crowd, os.getloadavg()[0] / (os.cpu_count() or 1))
            for domain, node in outcome.town.ours.items():
                megabytes, files = node.sample()
                if megabytes:
                    found = outcome.samples.setdefault(domain, [])
                    found.append(Sample(before, megabytes, files))
            self._over.wait(SAMPLE_SECONDS)

    # 3, 4

    def _quiet(self, outcome: Outcome, actors: dict[str, "Actor"]) -> None:
        since = now()
        self.say("quiet: links healed, everybody there, clocks right")
        for node in outcome.town.ours.values():
            node.set_clock(0.0)
        together([actor.come_back for actor in actors.values()], actors)
        self.level(outcome, "when all was quiet")
        outcome.quiet = self.read(outcome)
        self._stage(outcome, "level", since)
        if self.next_day:
            since = now()
            self.say("the next day: nodes restarted, follows looked after")
            for node in outcome.town.ours.values():
                node.set_clock(DAY_SECONDS)
            together([actor.next_day for actor in actors.values()], actors)
            self._looked_after(outcome)
            # Twice: who was restored is heard of with the first, and repaired with the second.
            for morning in range(MORNINGS):
                self._good_morning(outcome, morning)
                self.level(outcome, "the day after")
            self._agree(outcome)
            self._stage(outcome, "next day", since)
        outcome.later = self.read(outcome)
        for person in outcome.persons.values():
            with contextlib.suppress(AssertionError, OSError):
                if person.stock:
                    outcome.kept[person.jid] = people.kept(person)
                else:
                    outcome.homes[person.jid] = people.home(person)
        for person in outcome.persons.values():
            person.resolve()
        self._write_down(outcome)

    def _good_morning(self, outcome: Outcome, morning: int) -> None:
        """Everybody at ours posts once more."""
        posts = []
        for number, person in enumerate(outcome.persons.values()):
            if not person.stock:
                op = Op(MORNING + 100 * morning + number, person.jid, "post", f"morning{morning}")
                op.token = f"tok{self.plan.seed}morning{morning}x{number}x"
                posts.append(op)
                person.do(op)
        outcome.mornings += posts
        self._answered(outcome, posts)

    def _write_down(self, outcome: Outcome) -> None:
        """For whoever looks for what went wrong: what was asked, and what each session was told, with their seconds."""
        with open(self.folder / "ledger.txt", "w") as file:
            for op in outcome.ops:
                what = f"{op.kind} {op.item or op.target} {op.audience} {' '.join(op.readers)}"
                print(f"{op.sent:7.2f} {op.answered:7.2f} {op.number:5} {op.person} {what}: {op.answer}", file=file)
        with open(self.folder / "sessions.txt", "w") as file:
            for person in outcome.persons.values():
                for number, session in enumerate(person.sessions):
                    print(f"{session.began:7.2f} {person.jid} session {number}", file=file)
                    for one in session.seen():
                        print(f"{one.at:7.2f}   {one.feed} {one.item} {one.number or 'gone'} {one.node}", file=file)

    def read(self, outcome: Outcome) -> dict[str, Database]:
        """All databases of our nodes."""
        return {domain: Database(node.database) for domain, node in outcome.town.ours.items()}

    def level(self, outcome: Outcome, when: str) -> None:
        """Wait until nobody owes anybody anything and nothing changes; what is not so in time is written down."""
        deadline = now() + LEVEL_SECONDS
        still_since, before = now(), None
        while True:
            found = self.read(outcome)
            heard = sum(len(p.session.client.record) for p in outcome.persons.values() if p.session is not None)
            each = {d: (x.owed, x.on_their_way, x.marks, x.behind, x.rows, len(x.follows)) for d, x in found.items()}
            state = (each, heard)
            # A node that reads feeds anew tries again after minutes what failed.
            owing = _owing(found) + (_behind(found) if outcome.quiet else [])
            if state != before:
                before, still_since = state, now()
            if not owing and now() - still_since >= STILL_SECONDS:
                items = (f"{domain} {database.rows['items']} items" for domain, database in found.items())
                self.say(f"level: {', '.join(items)}")
                return
            if now() > deadline:
                late = owing or ["something still changes"]
                outcome.unlevel += [f"{when}: {one}" for one in late]
                self.say(f"not level after {LEVEL_SECONDS:.0f} s: {'; '.join(late)}")
                return
            time.sleep(1)

    def _agree(self, outcome: Outcome) -> None:
        """Wait for those who have heard that they have not the same followers: they look again a little later."""
        deadline = now() + AGREE_SECONDS
        while now() < deadline and any(disagreements(self.read(outcome))):
            time.sleep(2)

    def _looked_after(self, outcome: Outcome) -> None:
        """Wait until each follow elsewhere was asked about since the day began."""
        deadline = now() + 60
        while now() < deadline:
            time.sleep(1)
            if not any(_unchecked(node) for node in outcome.town.ours.values()):
                return
        self.say("not every follow was looked after in time")


def _unchecked(node: OurNode) -> int:
    import sqlite3

    connection = sqlite3.connect(f"file:{node.database}?mode=ro", uri=True, timeout=20)
    try:
        since = (time.time() + DAY_SECONDS - 3600) * 1e6
        query = (
            "SELECT count(*) FROM subscriptions s JOIN nodes n ON n.id = s.node_id WHERE s.checked < ? AND n.name = ?"
            " AND s.options NOT LIKE '%implicit%'"
        )
        return int(connection.execute(query, (since, MICROBLOG)).fetchone()[0])
    finally:
        connection.close()


def _owing(found: dict[str, Database]) -> list[str]:
    owing = []
    for domain, database in found.items():
        for to, count in database.owed.items():
            owing.append(f"{domain} owes {to} {count}")
        for seq in database.on_their_way:
            owing.append(f"{domain} owes event {seq} to more than it has rows for")
        for to in database.marks:
            owing.append(f"{domain} has marks for {to}")
    return owing


def _behind(found: dict[str, Database]) -> list[str]:
    return [f"{domain} is behind {to}" for domain, database in found.items() for to in database.behind]


class Actor:
    """The thread of one server: its process and its people."""

    def __init__(self, run: Run, outcome: Outcome, domain: str) -> None:
        self.run, self.outcome, self.domain = run, outcome, domain
        self.server = outcome.town.servers[domain]
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._loop, name=f"actor {domain}", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                work()
            except Exception as error:
                self.outcome.troubles.append(f"{self.domain}: {type(error).__name__}: {error}"[:2000])
            finally:
                self._work.task_done()
        # What it started is to die with it, and not before.

    def do(self, work: Callable[[], None]) -> None:
        """In its turn."""
        self._work.put(work)

    def wait(self) -> None:
        """Until all that was asked is done."""
        self._work.join()

    def stop(self) -> None:
        """Nothing more; its server has to be closed before the thread ends."""
        self.do(self.server.close)
        self._work.put(None)
        self._thread.join(30)

    @property
    def people(self) -> list[Person]:
        return [person for person in self.outcome.persons.values() if person.server is self.server]

    # what it is asked

    def start_server(self) -> None:
        self.server.start(START_SECONDS)

    def settle_in(self) -> None:
        for person in self.people:

            def enrol(person: Person = person) -> None:
                with contextlib.suppress(Refused):  # it was made, and the answer came too late
                    register(self.server, person.name, person.password)

            patiently(enrol)
            self._let_in(person)

    def come_back(self) -> None:
        if self.server.process is None:
            self.server.start(START_SECONDS)
        self._all_come()

    def next_day(self) -> None:
        if not isinstance(self.server, OurNode):
            return
        self._down()
        self.server.start(START_SECONDS)
        self._all_come()

    def _all_come(self) -> None:
        for person in self.people:
            person.wanted = True
            self._let_in(person)

    def _let_in(self, person: Person) -> None:
        deadline = now() + 60
        while not person.come():
            if now() > deadline:
                raise RuntimeError(f"{person.jid} cannot log in\n{self.server.tail(20)}")
            time.sleep(0.3)

    def live(self, steps: list[Step], began: float) -> None:
        """All steps of the plan, at their time or as soon as one before them is done."""

        def all_of_them() -> None:
            for step in steps:
                self._meanwhile(began + step.at)
                try:
                    self._step(step)
                except Exception as error:
                    message = f"{self.domain} at {step.at:.1f} s, {step.what}: {type(error).__name__}: {error}"
                    self.outcome.troubles.append(message[:3000])

        self.do(all_of_them)

    def _meanwhile(self, until: float) -> None:
        """Until then, whoever wants to be there and is not tries to come."""
        while True:
            if self.server.process is not None:
                for person in self.people:
                    if person.wanted and person.session is None:
                        person.come()
            left = until - now()
            if left <= 0:
                return
            time.sleep(min(left, 0.5))

    def _step(self, step: Step) -> None:
        node = self.server
        match step.what:
            case "op":
                assert step.op is not None
                self.outcome.persons[step.op.person].do(step.op)
            case "leave" | "come":
                person = self.outcome.persons[step.person]
                person.wanted = step.what == "come"
                if person.wanted:
                    person.come()
                else:
                    person.leave()
            case "kill":
                self._down(by_force=True)
            case "stop":
                self._down()
            case "start":
                if node.process is None:
                    node.start(START_SECONDS)
                    self.outcome.downs[self.domain][-1] = (self.outcome.downs[self.domain][-1][0], now())
            case "clock":
                assert isinstance(node, OurNode)
                node.set_clock(step.number)
            case "backup":
                assert isinstance(node, OurNode)
                self.outcome.backup[self.domain] = now()
                node.backup()
            case "restore":
                assert isinstance(node, OurNode)
                node.restore()
                self.outcome.restored[self.domain] = now()

    def _down(self, *, by_force: bool = False) -> None:
        if self.server.process is None:
            return
        self.outcome.downs.setdefault(self.domain, []).append((now(), 0.0))
        if by_force:
            self.server.kill9()
        else:
            self.server.stop()
        for person in self.people:
            person.lost()


def together(works: list[Callable[[], None]], actors: dict[str, Actor]) -> None:
    """Let every actor do its part at the same time; what goes wrong ends the run."""
    failures: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def attempt() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        return attempt

    for actor, work in zip(actors.values(), works, strict=True):
        actor.do(guarded(work))
    for actor in actors.values():
        actor.wait()
    if failures:
        raise failures[0]


def patiently(attempt: Callable[[], None]) -> None:
    """While nothing is broken yet, only a machine with too much to do stands in the way."""
    for _ in range(3):
        try:
            return attempt()
        except (OSError, RuntimeError, AssertionError) as error:
            last = error
            time.sleep(2)
    raise last


def wait_until(moment: float) -> None:
    """Sleep until a moment of the monotonic clock."""
    left = moment - now()
    if left > 0:
        time.sleep(left)
