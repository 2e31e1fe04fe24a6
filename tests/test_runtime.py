"""Time and tasks on a clock that the test moves."""

from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from microblog.runtime import Clock, Tasks

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def reactor():
    return task.Clock()


@pytest.fixture
def clock(reactor):
    return Clock(reactor, start=NOON)


@pytest.fixture
def failures():
    events = []

    def keep(event):
        if "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(keep)
    yield events
    globalLogPublisher.removeObserver(keep)


def outcome(awaitable):
    """What a coroutine has come to: a list with its result or its error, empty while it waits."""
    results = []

    async def run():
        try:
            results.append(await awaitable)
        except Exception as error:
            results.append(error)

    Deferred.fromCoroutine(run())
    return results


def test_now_moves_with_the_reactor(clock, reactor):
    reactor.advance(90)
    assert clock.now() == NOON + timedelta(seconds=90)
    assert clock.monotonic() == 90


def test_now_is_aware_and_utc():
    assert Clock(task.Clock()).now().utcoffset() == timedelta(0)


def test_later_calls_once_with_its_arguments(clock, reactor):
    calls = []
    clock.later(5, calls.append, "ping")
    reactor.pump([4, 1, 5])
    assert calls == ["ping"]


def test_every_goes_on_after_a_failure_until_stopped(clock, reactor, failures):
    calls = []

    def call():
        calls.append(clock.monotonic())
        raise RuntimeError("once more")

    repetition = clock.every(10, call)
    reactor.pump([10, 10])
    repetition.stop()
    repetition.stop()
    reactor.pump([10, 10])
    assert calls == [10, 20]
    assert len(failures) == 2
    assert not reactor.getDelayedCalls()


def test_every_can_stop_itself(clock, reactor):
    calls = []

    def call():
        calls.append(1)
        repetition.stop()

    repetition = clock.every(1, call)
    reactor.pump([1, 1, 1])
    assert calls == [1]


def test_sleep_wakes_and_cancelling_it_leaves_no_timer(clock, reactor):
    slept = outcome(clock.sleep(3))
    reactor.advance(3)
    assert slept == [None]
    waiting = clock.sleep(3)
    ended = outcome(waiting)
    waiting.cancel()
    assert isinstance(ended[0], CancelledError)
    assert not reactor.getDelayedCalls()


def test_deadline_gives_the_result_and_leaves_no_timer(clock, reactor):
    source = Deferred()
    result = outcome(clock.deadline(source, 10))
    source.callback("in time")
    assert result == ["in time"]
    assert not reactor.getDelayedCalls()


def test_deadline_passes_an_error_on(clock, reactor):
    async def refuse():
        raise PermissionError("no")

    result = outcome(clock.deadline(refuse(), 10))
    assert isinstance(result[0], PermissionError)
    assert not reactor.getDelayedCalls()


def test_deadline_cancels_and_raises_timeout_error(clock, reactor):
    cleaned = []

    async def wait():
        try:
            await Deferred()
        finally:
            cleaned.append(True)

    result = outcome(clock.deadline(wait(), 10))
    reactor.advance(10)
    assert isinstance(result[0], TimeoutError)
    assert cleaned == [True]


def test_deadline_hides_what_the_cancelled_code_raised(clock, reactor):
    def refuse(deferred):
        deferred.errback(ConnectionError("gave up"))

    result = outcome(clock.deadline(Deferred(refuse), 10))
    reactor.advance(10)
    assert isinstance(result[0], TimeoutError)


def test_cancelling_from_outside_is_no_timeout(clock, reactor):
    inner = Deferred()
    outer = Deferred.fromCoroutine(clock.deadline(inner, 10))
    result = outcome(outer)
    outer.cancel()
    assert isinstance(result[0], CancelledError)
    assert not reactor.getDelayedCalls()


def test_a_failing_task_is_logged_with_its_name(failures):
    tasks = Tasks()

    async def fail():
        raise RuntimeError("broken")

    ended = outcome(tasks.spawn(fail(), "sweep"))
    assert ended == [None]
    assert [event["name"] for event in failures] == ["sweep"]
    assert len(tasks) == 0


def test_tasks_are_tracked_until_they_end():
    tasks = Tasks()
    source = Deferred()

    async def wait():
        await source

    tasks.spawn(wait(), "deliver")
    assert tasks.names() == ["deliver"]
    source.callback(None)
    assert tasks.names() == []


def test_stop_cancels_all_and_waits_for_slow_ends(failures):
    tasks = Tasks()
    goodbye = Deferred()

    async def stubborn():
        try:
            await Deferred()
        finally:
            await goodbye

    async def obedient():
        await Deferred()

    tasks.spawn(stubborn(), "stubborn")
    tasks.spawn(obedient(), "obedient")
    stopped = outcome(tasks.stop())
    assert stopped == []
    assert tasks.names() == ["stubborn"]
    goodbye.callback(None)
    assert stopped == [None]
    assert failures == []


def test_nothing_starts_after_stop():
    tasks = Tasks()
    tasks.stop()
    started = []

    async def start():
        started.append(True)

    assert outcome(tasks.spawn(start(), "late")) == [None]
    assert started == []
