"""The administrator's commands for webhooks. They work beside a running server, which hears of what they do."""

import json
from typing import TYPE_CHECKING, Any

from microblog.admin import database
from microblog.config import Config
from microblog.terminal import Failure, Options, show, table

if TYPE_CHECKING:
    from microblog.model.program import Program
    from microblog.store.webhooks import Webhook

TEST_SECONDS = 15


def hook_add(configuration: Config, options: Options) -> int:
    """`hook add ACCOUNT NAME URL`."""
    from microblog.http import check_url
    from microblog.model.program import Source
    from microblog.usecases import hooking, registering
    from microblog.wire import webhook as signing

    try:
        url = check_url(options["url"], plain=configuration.programs.private_addresses)
    except ValueError as error:
        raise Failure(str(error), 2) from error
    secret = signing.new_secret()
    sources = options["sources"] or (Source.HOME, Source.MENTIONS, Source.OWN)
    with database(configuration) as opened:
        made = opened.run(
            lambda tx: hooking.add(
                tx,
                registering.get_account(tx, options["account"]),
                options["name"],
                url,
                secret,
                sources,
                start=bool(options["from-start"]),
                outside=True,
            )
        )

    def lines() -> None:
        print(f"{made.url} is called with what happens to {made.localpart}: {', '.join(sources)}.")
        print("Each call is signed with this secret, which is not shown again:")
        print(f"  {secret}")

    show(options, {"account": made.localpart, "name": made.name, "url": made.url, "secret": secret}, lines)
    return 0


def hook_list(configuration: Config, options: Options) -> int:
    """`hook list`."""
    from microblog.usecases import hooking

    with database(configuration) as opened:
        found = opened.run(hooking.everybodys)
    rows = [_row(webhook, program) for webhook, program in found]
    heads = ("Account", "Name", "URL", "Sources", "State", "Failures", "Next try", "Problem", "Last taken")
    show(options, rows, lambda: table(heads, [list(row.values()) for row in rows]))
    return 0


def _row(webhook: "Webhook", program: "Program") -> dict[str, Any]:
    state = "given up" if webhook.is_given_up else "failing" if webhook.failures else "ok"
    return {
        "account": webhook.localpart,
        "name": webhook.name,
        "url": webhook.url,
        "sources": ", ".join(sorted(program.sources)),
        "state": state,
        "failures": webhook.failures,
        "next_attempt": webhook.next_attempt,
        "problem": webhook.problem or None,
        "acknowledged": webhook.acknowledged,
    }


def hook_remove(configuration: Config, options: Options) -> int:
    """`hook remove ACCOUNT NAME`."""
    from microblog.usecases import hooking, registering

    with database(configuration) as opened:
        gone = opened.run(
            lambda tx: hooking.remove(
                tx, registering.get_account(tx, options["account"]), options["name"], outside=True
            )
        )
    show(options, {"account": gone.localpart, "name": gone.name}, lambda: print(f"{gone.url} is called no more."))
    return 0


def hook_resume(configuration: Config, options: Options) -> int:
    """`hook resume ACCOUNT NAME`."""
    from microblog.usecases import hooking, registering

    with database(configuration) as opened:
        found = opened.run(
            lambda tx: hooking.resume(
                tx, registering.get_account(tx, options["account"]), options["name"], outside=True
            )
        )
    show(options, {"account": found.localpart, "name": found.name}, lambda: print(f"{found.url} is called again."))
    return 0


def hook_test(configuration: Config, options: Options) -> int:
    """`hook test ACCOUNT NAME`."""
    from microblog.usecases import hooking, registering

    with database(configuration) as opened:
        found = opened.run(
            lambda tx: hooking.find(tx, registering.get_account(tx, options["account"]), options["name"])
        )
    status = _call(configuration, found)
    if not 200 <= status < 300:
        raise Failure(f"{found.url} answers {status}: of an event it would be called again and again.")
    show(options, {"url": found.url, "status": status}, lambda: print(f"{found.url} answers {status}."))
    return 0


def _call(configuration: Config, webhook: "Webhook") -> int:
    """The status. Not for a process whose reactor runs or has run."""
    from twisted.internet import task
    from twisted.internet.defer import Deferred
    from twisted.names import client

    from microblog.http import Caller, CallFailed
    from microblog.runtime import Clock
    from microblog.wire.xml import stamp
    from microblog.xep.webhooks import Calls
    from microblog.xmpp.resolve import Resolver

    statuses: list[int] = []
    failures: list[CallFailed] = []

    async def call(reactor: Any) -> None:
        clock = Clock(reactor)
        resolver = Resolver(client.createResolver(), clock, configuration.limits, routes={})
        caller = Caller(reactor, clock, seconds=TEST_SECONDS, trust_roots=configuration.tls.trust_roots)
        calls = Calls(resolver, caller.post, clock, private=configuration.programs.private_addresses)
        now = clock.now()
        id_ = f"test{int(now.timestamp())}"
        body = json.dumps({"id": id_, "kind": "test", "time": stamp(now)}).encode()
        try:
            at, _ = await calls.addresses(webhook.url)
            statuses.append((await calls.call(webhook, id_, body, at)).status)
        except CallFailed as failure:
            failures.append(failure)

    def main(reactor: Any) -> "Deferred[None]":
        return Deferred.fromCoroutine(call(reactor))

    try:
        task.react(main)
    except SystemExit as end:
        if end.code:
            raise
    if failures:
        raise Failure(f"{webhook.url} cannot be called: {failures[0]}")
    return statuses[0]
