"""The writer's groups and the readers, in their threads, on both databases."""

import contextlib
import os
import resource
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from microblog.config import Limits
from microblog.model.errors import Forbidden, ResourceConstraint
from microblog.model.event import NodePurged
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.store import crashpoint, engine, migrate, tables, writer
from microblog.store.database import Transaction, open_database

NODE = Node(key=1, service=JID.parse("romeo@montague.example"), name="n")


def put(tx: Transaction, name: str, value: str = "") -> str:
    tx.connection.execute(tables.settings.insert().values(name=name, value=value))
    return name


def emit(tx: Transaction, name: str) -> str:
    put(tx, name)
    tx.emit(NodePurged(seq=int(name), node=NODE))
    return name


def names(tx: Transaction) -> list[str]:
    rows = tx.connection.execute(text("SELECT name FROM settings WHERE name NOT LIKE 'secret.%' ORDER BY name"))
    return list(rows.scalars())


def refuse(tx: Transaction) -> None:
    raise Forbidden("no")


class Gate:
    """A job that holds the writer up, so that what comes after it becomes one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()

    def __call__(self, tx: Transaction) -> None:
        self.entered.set()
        assert self.open.wait(10)


class Threads(TestCase):
    __test__ = False
    timeout = 60
    url: str

    def setUp(self) -> None:
        migrate.upgrade(self.url)
        self.open()

    def open(self, **more: Any) -> None:
        self.database = open_database(
            self.url, domain="montague.example", now=lambda: datetime.now(UTC), exclusive=True, **more
        )
        self.database.start(reactor)

    async def tearDown(self) -> None:
        await self.database.stop()

    async def group(self, *jobs: Callable[[Transaction], object]) -> list[Any]:
        """Run the jobs as one group; a list of results and exceptions."""
        gate = Gate()
        results = [self.database.write(gate)]
        await deferToThread(gate.entered.wait, 10)
        results += [self.database.write(job) for job in jobs]
        # When they have been handed over.
        reactor.callLater(0, gate.open.set)  # type: ignore[attr-defined]  # installed, whichever it is
        pairs = await DeferredList([result.addErrback(lambda failure: failure.value) for result in results])
        return [value for _, value in pairs[1:]]

    async def test_what_is_written_is_read(self) -> None:
        assert await self.database.write(put, "a") == "a"
        assert await self.database.read(names) == ["a"]

    async def test_a_group_is_one_transaction_in_order(self) -> None:
        seen: list[int] = []

        def job(name: str) -> Callable[[Transaction], str]:
            def run(tx: Transaction) -> str:
                seen.append(id(tx))
                return put(tx, name)

            return run

        order = [str(number) for number in range(100, 300)]
        assert await self.group(*map(job, order)) == order
        assert len(set(seen)) == 1 and len(seen) == 200
        assert await self.database.read(names) == order

    async def test_a_group_has_at_most_200(self) -> None:
        seen: list[int] = []
        await self.group(*[lambda tx: seen.append(id(tx))] * 201)
        assert len(set(seen[:200])) == 1 and seen[200] != seen[199]

    async def test_results_come_before_events_and_both_in_order(self) -> None:
        heard: list[object] = []
        self.database.listeners.append(lambda event: heard.append(event.seq))
        gate = Gate()
        first = self.database.write(gate)
        await deferToThread(gate.entered.wait, 10)
        results = [self.database.write(emit, name).addCallback(heard.append) for name in ("1", "2", "3")]
        gate.open.set()
        await first
        await results[2]
        await self.database.write(lambda tx: None)
        assert heard == ["1", "2", "3", 1, 2, 3]

    async def test_events_are_heard_in_the_reactors_thread_after_the_commit(self) -> None:
        heard: Deferred[tuple[str, list[str]]] = Deferred()

        def listener(_: object) -> None:
            other = create_engine(self.url)
            with other.connect() as connection:
                transaction = Transaction(connection, now=datetime.now(UTC), domain="", limits=Limits())
                heard.callback((threading.current_thread().name, names(transaction)))
            other.dispose()

        self.database.listeners.append(listener)
        await self.database.write(emit, "1")
        assert await heard == (threading.main_thread().name, ["1"])

    async def test_only_the_bad_job_of_a_group_fails(self) -> None:
        heard: list[int] = []
        self.database.listeners.append(lambda event: heard.append(event.seq))
        results = await self.group(
            lambda tx: emit(tx, "1"), lambda tx: emit(tx, "2"), lambda tx: emit(tx, "2"), lambda tx: emit(tx, "3")
        )
        assert results[:2] == ["1", "2"] and isinstance(results[2], IntegrityError) and results[3] == "3"
        await self.database.write(lambda tx: None)
        assert heard == [1, 2, 3]
        assert await self.database.read(names) == ["1", "2", "3"]

    async def test_a_refusal_costs_the_others_nothing(self) -> None:
        runs: list[int] = []

        def count(tx: Transaction) -> str:
            runs.append(1)
            return put(tx, f"a{len(runs)}")

        results = await self.group(count, refuse, count)
        assert results[0] == "a1" and isinstance(results[1], Forbidden) and results[2] == "a2"
        assert await self.database.read(names) == ["a1", "a2"]

    async def test_a_refusal_after_writing_leaves_nothing_behind_either(self) -> None:
        heard: list[int] = []
        self.database.listeners.append(lambda event: heard.append(event.seq))

        def late(tx: Transaction) -> None:
            emit(tx, "2")
            raise Forbidden("no")

        results = await self.group(lambda tx: emit(tx, "1"), late, lambda tx: emit(tx, "3"))
        assert results[0] == "1" and isinstance(results[1], Forbidden) and results[2] == "3"
        await self.database.write(lambda tx: None)
        assert heard == [1, 3]
        assert await self.database.read(names) == ["1", "3"]

    async def test_a_bug_of_the_machine_itself_ends_in_errors_not_in_silence(self) -> None:
        def broken(tx: Transaction) -> None:
            raise KeyError("bug")

        results = await self.group(broken, lambda tx: put(tx, "a"))
        assert isinstance(results[0], KeyError) and results[1] == "a"

    async def test_the_queue_is_bounded(self) -> None:
        await self.database.stop()
        self.open(limits=Limits(write_queue_max=2))
        gate = Gate()
        waiting = [self.database.write(gate), self.database.write(put, "a")]
        with pytest.raises(ResourceConstraint):
            await self.database.write(put, "b")
        assert self.database.waiting_writes == 2
        gate.open.set()
        await waiting[1]
        assert await self.database.write(put, "c") == "c"
        assert await self.database.read(names) == ["a", "c"]

    async def test_stop_does_what_waits_and_takes_no_more(self) -> None:
        gate = Gate()
        results: list[object] = []
        self.database.write(gate)
        for name in ("a", "b"):
            self.database.write(put, name).addCallback(results.append)
        self.database.read(names).addCallback(lambda _: results.append("read"))
        stopped = Deferred.fromCoroutine(self.database.stop())
        with pytest.raises(ResourceConstraint):
            await self.database.write(put, "c")
        with pytest.raises(ResourceConstraint):
            await self.database.read(names)
        gate.open.set()
        await stopped
        assert sorted(map(str, results)) == ["a", "b", "read"]
        self.open()
        assert await self.database.read(names) == ["a", "b"]

    async def test_readers_do_not_wait_for_the_writer(self) -> None:
        gate = Gate()
        written = self.database.write(gate)
        await deferToThread(gate.entered.wait, 10)
        assert await self.database.read(names) == []
        gate.open.set()
        await written

    async def test_readers_cannot_write(self) -> None:
        with pytest.raises(ResourceConstraint):
            await self.database.read(put, "a")
        assert await self.database.read(names) == []

    async def test_who_does_not_wait_any_more_harms_nobody(self) -> None:
        gate = Gate()
        first = self.database.write(gate)
        abandoned = self.database.write(put, "a")
        abandoned.addErrback(lambda _: None)
        abandoned.cancel()
        gate.open.set()
        await first
        assert await self.database.write(put, "b") == "b"
        assert await self.database.read(names) == ["a", "b"]

    async def test_a_serving_database_is_not_run_inline(self) -> None:
        with pytest.raises(RuntimeError):
            self.database.run(names)


class SQLiteThreads(Threads):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _url(self, tmp_path: Path) -> None:
        self.path = tmp_path / "microblog.db"
        self.url = f"sqlite:///{self.path}"

    async def test_locked_by_somebody_else(self) -> None:
        """As by a backup: wait, then say so; nothing is lost, and it goes on by itself."""
        await self.database.stop()
        self.patch(engine, "BUSY_SECONDS", 0.2)
        self.open()
        other = sqlite3.connect(self.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = [self.database.write(put, name) for name in ("a", "b")]
        for each in waiting:
            with pytest.raises(ResourceConstraint):
                await each
        assert await self.database.read(names) == []
        other.execute("COMMIT")
        other.close()
        assert await self.database.write(put, "c") == "c"
        assert await self.database.read(names) == ["c"]

    async def test_a_full_database(self) -> None:
        def limit(tx: Transaction, pages: int) -> object:
            return tx.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar()

        pages: Any = await self.database.read(lambda tx: tx.connection.exec_driver_sql("PRAGMA page_count").scalar())
        await self.database.write(limit, pages + 2)
        results = await self.group(lambda tx: put(tx, "a"), lambda tx: put(tx, "b", "x" * 100_000))
        assert all(isinstance(result, ResourceConstraint) for result in results)
        assert await self.database.read(names) == []
        await self.database.write(limit, 1_000_000)
        assert await self.database.write(put, "b", "x" * 100_000) == "b"

    async def test_a_write_that_the_system_refuses(self) -> None:
        """The file may not grow: what a full disk or a quota looks like from here."""
        await self.database.write(put, "a")
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        log = Path(f"{self.path}-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (log, hard))
        try:
            results = await self.group(lambda tx: put(tx, "b", "x" * 100_000), lambda tx: put(tx, "c"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert all(isinstance(result, ResourceConstraint) for result in results)
        assert await self.database.write(put, "d") == "d"
        assert await self.database.read(names) == ["a", "d"]

    async def test_many_writers_share_commits(self) -> None:
        """Not a measurement: only that flushes are fewer than jobs."""
        commits: list[int] = []
        attempt = writer.Writer._attempt

        def counted(self: writer.Writer, jobs: Any) -> Any:
            commits.append(len(jobs))
            return attempt(self, jobs)

        self.patch(writer.Writer, "_attempt", counted)
        await DeferredList([self.database.write(put, f"{number:03}") for number in range(500)])
        assert sum(commits) == 500 and len(commits) <= 10

    def test_killed_after_the_author_was_told(self) -> None:
        """K5: the result was fired, the listeners were not."""
        path = str(self.path)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            # A reactor of its own kind: it runs what it is given, here.
            calls: list[Callable[[], object]] = []
            done = threading.Semaphore(0)

            class Reactor:
                def callLater(self, seconds: float, f: Callable[[], object]) -> None:
                    calls.append(f)

                def callFromThread(self, f: Callable[..., object], *args: object) -> None:
                    calls.append(lambda: f(*args))
                    done.release()

            try:
                crashpoint._name, crashpoint._file = "K5", path
                database = open_database(f"sqlite:///{path}", domain="montague.example", now=lambda: datetime.now(UTC))
                database.listeners.append(lambda _: os.write(writing, b"listener "))
                database.start(Reactor())
                database.write(emit, "1").addCallback(lambda _: os.write(writing, b"result "))
                calls.pop(0)()
                done.acquire()
                calls.pop(0)()
            finally:
                os._exit(1)
        os.close(writing)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
        with open(reading, "rb") as told:
            assert told.read() == b"result "
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT count(*) FROM settings WHERE name = '1'").fetchone() == (1,)
        connection.close()


def hang_up(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Between the database and its clients: can go away, and can cut the line after a COMMIT went through."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.cut_after_commit = False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.53.2", 0))
        self.address = self._listener.getsockname()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._down:
                client.close()
                continue
            server = socket.create_connection(self.target)
            self._pairs.append((client, server))
            commit = threading.Event()
            threading.Thread(target=self._forward, args=(client, server, commit, True), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, commit, False), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, commit: threading.Event, up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if up and self.cut_after_commit and b"COMMIT" in data:
                    commit.set()
                if not up and commit.is_set() and b"COMMIT" in data:
                    # It is committed, and nobody hears of it.
                    self.cut_after_commit = False
                    self.cuts += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            hang_up(end)

    def go_away(self) -> None:
        self._down = True
        for pair in self._pairs:
            for end in pair:
                hang_up(end)

    def come_back(self) -> None:
        self._down = False

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.go_away()


class PostgreSQLThreads(Threads):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _url(self, postgresql_url: Callable[[], str]) -> Iterator[None]:
        direct = create_engine(postgresql_url()).url
        assert direct.host is not None and direct.port is not None
        self.direct = direct.render_as_string(hide_password=False)
        self.proxy = Proxy((direct.host, direct.port))
        host, port = self.proxy.address
        self.url = direct.set(host=host, port=port).render_as_string(hide_password=False)
        yield
        self.proxy.close()

    async def test_a_lost_connection_inside_a_transaction(self) -> None:
        """All of the group is run again, once."""
        attempts: list[int] = []

        def terminate(tx: Transaction) -> str:
            attempts.append(1)
            put(tx, "b")
            if len(attempts) == 1:
                tx.connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
            return "b"

        assert await self.group(lambda tx: put(tx, "a"), terminate, lambda tx: put(tx, "c")) == ["a", "b", "c"]
        assert len(attempts) == 2
        assert await self.database.read(names) == ["a", "b", "c"]

    async def test_a_serialization_failure_is_tried_again(self) -> None:
        attempts: list[int] = []

        def collide(tx: Transaction) -> str:
            attempts.append(1)
            put(tx, "a")
            if len(attempts) < 3:
                tx.connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
            return "a"

        assert await self.database.write(collide) == "a"
        assert len(attempts) == 3
        assert await self.database.read(names) == ["a"]

    async def test_a_connection_lost_after_commit_posts_once(self) -> None:
        """Nobody heard that it is committed; it must not be done again."""
        attempts: list[int] = []

        def append(tx: Transaction) -> str:
            attempts.append(1)
            return put(tx, f"a{len(attempts)}")

        await self.database.write(lambda tx: None)
        self.proxy.cut_after_commit = True
        assert await self.database.write(append) == "a1"
        assert self.proxy.cuts == 1 and len(attempts) == 1
        assert await self.database.read(names) == ["a1"]

    async def test_a_server_that_is_gone_for_a_moment(self) -> None:
        await self.database.write(put, "a")
        assert await self.database.read(names) == ["a"]
        self.proxy.go_away()
        waiting = self.database.write(put, "b")
        reactor.callLater(0.5, self.proxy.come_back)  # type: ignore[attr-defined]
        assert await waiting == "b"
        assert await self.database.read(names) == ["a", "b"]

    async def test_a_server_that_stays_away(self) -> None:
        self.patch(writer, "PATIENCE_SECONDS", 0.3)
        self.proxy.go_away()
        with pytest.raises(ResourceConstraint):
            await self.database.write(put, "a")
        with pytest.raises(ResourceConstraint):
            await self.database.read(names)
        self.proxy.come_back()
        assert await self.database.write(put, "b") == "b"
        assert await self.database.read(names) == ["b"]

    async def test_another_server_that_took_over(self) -> None:
        """Whoever lost the connection and with it the lock is not a server any more."""
        self.patch(writer, "PATIENCE_SECONDS", 0.3)
        self.patch(engine, "LINGERING_SECONDS", 0.3)
        self.proxy.go_away()
        with pytest.raises(ResourceConstraint):
            await self.database.write(put, "a")
        other = open_database(self.direct, domain="montague.example", now=lambda: datetime.now(UTC), exclusive=True)
        self.proxy.come_back()
        with pytest.raises(ResourceConstraint):
            await self.database.write(put, "b")
        other.close()
        assert await self.database.write(put, "c") == "c"

    async def test_administration_waits_for_the_writer(self) -> None:
        """Two who write: one after the other, as SQLite has it."""
        gate = Gate()
        written = self.database.write(gate)
        await deferToThread(gate.entered.wait, 10)
        other = create_engine(self.direct)
        with other.connect() as connection:
            connection.exec_driver_sql("SET lock_timeout = '200ms'")
            with pytest.raises(DBAPIError):
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({engine.WRITE_LOCK})")
        other.dispose()
        gate.open.set()
        await written


del Threads  # only the databases are to be collected
