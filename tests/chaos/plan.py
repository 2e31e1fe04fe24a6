"""What happens in a run and when, drawn from the seed alone before anything starts.

`make` returns the steps in their order. What a step finds - a node that is down, a follow that was refused - is not
foreseen here: then it fails, as it would for people, and the ledger knows.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.chaos import proxy
from tests.chaos.proxy import Mode
from tests.chaos.town import EJABBERD, OURS, PROSODY

PEOPLE = {
    "montague.example": ("romeo", "benvolio", "mercutio"),
    "capulet.example": ("juliet", "tybalt", "nurse"),
    "verona.example": ("escalus", "paris", "laurence"),
    PROSODY: ("balthasar", "apothecary"),
    EJABBERD: ("rosaline", "peter"),
}
FIRST_NUMBER = 1000  # of what is planned; before that comes what is asked at the beginning
PUBLIC, FOLLOWERS, DIRECT, LOCAL = "public", "followers", "direct", "local"


@dataclass(slots=True)
class Op:
    """Something that somebody wants of their server. `number` grows with time; `token` is in every version's text.

    What became of it is written down by `people`: when it was sent, last, and what was answered.
    """

    number: int
    person: str
    kind: str  # post, edit, retract, follow, unfollow
    item: str = ""
    audience: str = PUBLIC
    readers: tuple[str, ...] = ()
    target: str = ""
    token: str = ""
    payload: str = ""
    sent: float = 0.0
    answered: float = 0.0
    answer: str = ""  # result, or the error's condition; empty: nobody knows

    @property
    def domain(self) -> str:
        """Where it is done."""
        return self.person.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Step:
    """At `at` seconds, at `domain` (empty: in the network)."""

    at: float
    domain: str
    what: str  # op, kill, stop, start, restore, backup, clock, leave, come, link, reset
    op: Op | None = None
    person: str = ""
    number: float = 0.0
    links: tuple[tuple[str, str], ...] = ()
    fault: tuple[Mode, float, int] = (Mode.OPEN, 0.0, 0)


@dataclass(slots=True)
class Plan:
    """All of a run."""

    seed: int
    seconds: float
    domains: tuple[str, ...]
    follows: list[tuple[str, str]] = field(default_factory=list)  # from the beginning: reader, author
    friends: list[tuple[str, str]] = field(default_factory=list)  # one of ours, one at ejabberd
    skew: dict[str, float] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    restored: str = ""

    @property
    def ops(self) -> list[Op]:
        """In the order of their time."""
        return [step.op for step in self.steps if step.op is not None]

    def people(self, *domains: str) -> list[str]:
        """Addresses."""
        return [f"{name}@{domain}" for domain in domains or self.domains for name in PEOPLE[domain]]


def make(
    seed: int, seconds: float, domains: Sequence[str], *, kills: bool = True, clocks: bool = True, restore: bool = True
) -> Plan:
    """The plan of a seed."""
    chance = random.Random(seed)
    plan = Plan(seed, seconds, tuple(domains))
    ours = [domain for domain in plan.domains if domain in OURS]
    _beginnings(plan, chance, ours)
    plan.steps += _deeds(plan, chance)
    plan.steps += _faults(plan, chance)
    if kills:
        plan.steps += _deaths(plan, chance, ours, restore=restore)
    if clocks:
        plan.skew = {domain: chance.choice((0.0, 200.0, -400.0, -30.0, 3600.0, -7200.0)) for domain in ours}
        plan.steps += _clocks(plan, chance, ours)
    plan.steps += _absences(plan, chance, ours)
    plan.steps.sort(key=lambda step: step.at)
    for number, op in enumerate(plan.ops, FIRST_NUMBER):
        op.number = number
    return plan


def _beginnings(plan: Plan, chance: random.Random, ours: Sequence[str]) -> None:
    authors = plan.people(*(domain for domain in plan.domains if domain != EJABBERD))
    for reader in plan.people():
        for author in authors:
            if author != reader and _can_follow(reader, author) and chance.random() < 0.4:
                plan.follows.append((reader, author))
    if EJABBERD in plan.domains:
        for friend in plan.people(EJABBERD):
            plan.friends.append((chance.choice(plan.people(*ours)), friend))


def _can_follow(reader: str, author: str) -> bool:
    """Between two stock servers nothing of ours is tried."""
    return reader.partition("@")[2] in OURS or author.partition("@")[2] in OURS


def _times(chance: random.Random, seconds: float, every: float) -> list[float]:
    times, now = [], chance.uniform(0, every)
    while now < seconds:
        times.append(now)
        now += chance.expovariate(1 / every)
    return times


def _deeds(plan: Plan, chance: random.Random) -> list[Step]:
    """What people do: half of it is posting; edits and retractions are of what was posted before."""
    steps: list[Step] = []
    posted: dict[str, list[Op]] = {person: [] for person in plan.people()}
    authors = [person for person in plan.people() if person.partition("@")[2] in OURS]
    stock = [person for person in plan.people() if person not in authors]
    count = 0
    for at in _times(chance, plan.seconds, 0.45):
        person = chance.choice(authors if chance.random() < 0.88 or not stock else stock)
        domain = person.partition("@")[2]
        mine = posted[person]
        dice = chance.random()
        if dice < 0.52 or not mine:
            count += 1
            audience, readers = _audience(plan, chance, person)
            op = Op(
                0,
                person,
                "post",
                f"i{count}",
                audience,
                readers,
                token=f"tok{plan.seed}x{count}x{chance.getrandbits(48):x}",
            )
            mine.append(op)
        elif dice < 0.70:
            before = chance.choice(mine[-6:])
            op = Op(0, person, "edit", before.item, before.audience, before.readers, token=before.token)
        elif dice < 0.82:
            before = mine.pop(chance.randrange(max(0, len(mine) - 8), len(mine)))
            op = Op(0, person, "retract", before.item, before.audience, before.readers, token=before.token)
        else:
            author = chance.choice([one for one in plan.people() if one != person and EJABBERD not in one])
            if not _can_follow(person, author):
                continue
            op = Op(0, person, chance.choice(("follow", "unfollow")), target=author)
        steps.append(Step(at, domain, "op", op=op))
    return steps


def _audience(plan: Plan, chance: random.Random, person: str) -> tuple[str, tuple[str, ...]]:
    if person.partition("@")[2] not in OURS:
        return PUBLIC, ()
    audience = chance.choices((PUBLIC, FOLLOWERS, DIRECT, LOCAL), (55, 25, 10, 10))[0]
    if audience != DIRECT:
        return audience, ()
    others = [one for one in plan.people() if one != person]
    return audience, tuple(sorted(chance.sample(others, chance.choice((1, 2)))))


def _faults(plan: Plan, chance: random.Random) -> list[Step]:
    """One link, both ways between two, or a server cut off; and connections that end for no reason."""
    steps = []
    pairs = [(one, two) for one in plan.domains for two in plan.domains if one != two]
    for at in _times(chance, plan.seconds, 3.0):
        dice = chance.random()
        if dice < 0.25:
            steps.append(Step(at, "", "reset", links=(chance.choice(pairs),)))
            continue
        one, two = chance.choice(pairs)
        if dice < 0.6:
            links = [(one, two)]
        elif dice < 0.88:
            links = [(one, two), (two, one)]
        else:
            links = [pair for pair in pairs if one in pair]
        until = min(plan.seconds, at + chance.choice((0.5, 2, 5, 12, 25)))
        steps.append(Step(at, "", "link", links=tuple(links), fault=proxy.draw(chance)))
        steps.append(Step(until, "", "link", links=tuple(links)))
    return steps


def _deaths(plan: Plan, chance: random.Random, ours: Sequence[str], *, restore: bool) -> list[Step]:
    """kill -9 of one of ours, or a stop, and later a start; and once the end of a node's database."""
    steps = []
    free = dict.fromkeys(ours, 2.0)
    if restore:
        plan.restored = chance.choice(list(ours))
        backup, crash = chance.uniform(0.1, 0.4) * plan.seconds, chance.uniform(0.55, 0.75) * plan.seconds
        down = chance.uniform(0.2, 4)
        steps.append(Step(backup, plan.restored, "backup"))
        steps.append(Step(crash, plan.restored, "kill"))
        steps.append(Step(crash + down, plan.restored, "restore"))
        steps.append(Step(crash + down, plan.restored, "start"))
    for at in _times(chance, plan.seconds - 3, 14.0):
        domain = chance.choice(list(ours))
        down = chance.choice((0.0, 0.5, 3.0, 8.0))
        near = restore and domain == plan.restored and abs(at - crash) < down + 12
        if at < free[domain] or near:
            continue
        free[domain] = at + down + 6
        steps.append(Step(at, domain, chance.choice(("kill", "kill", "stop"))))
        steps.append(Step(at + down, domain, "start"))
    return steps


def _clocks(plan: Plan, chance: random.Random, ours: Sequence[str]) -> list[Step]:
    times = _times(chance, plan.seconds, 20.0)
    jumps = (0.0, 250.0, -600.0, 7200.0, -86_000.0, 40.0)
    return [Step(at, chance.choice(list(ours)), "clock", number=chance.choice(jumps)) for at in times]


def _absences(plan: Plan, chance: random.Random, ours: Sequence[str]) -> list[Step]:
    steps = []
    for at in _times(chance, plan.seconds - 2, 6.0):
        person = chance.choice(plan.people(*ours))
        domain = person.partition("@")[2]
        steps.append(Step(at, domain, "leave", person=person))
        steps.append(Step(min(plan.seconds - 1, at + chance.choice((0.1, 2, 10))), domain, "come", person=person))
    return steps
