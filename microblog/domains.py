"""The administrator's commands for other domains: federation policy, and what waits to be delivered.

They work as those of ``microblog.admin`` do. A rule counts at once for whoever asks the database, and within seconds in
a running server, which then also ends the streams of a domain that is refused and removes what there is of it; without
one that is done at the next start.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from microblog.admin import database
from microblog.config import Config
from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.model.policy import Grade, Rule
from microblog.model.uri import read_uri
from microblog.terminal import Failure, Options, show, table

if TYPE_CHECKING:
    from microblog.model.jid import JID
    from microblog.usecases.policing import Shown
    from microblog.usecases.queueing import Queue

_DONE = {
    Grade.ALLOWED: "{domain} is allowed.",
    Grade.NO_MEDIA: "What comes from {domain} is taken without media.",
    Grade.SILENCED: "{domain} is silenced: its posts are for those who follow their authors.",
    Grade.REFUSED: "{domain} is refused: nothing goes there, nothing comes, and what there is of it is removed.",
}


def _domain(options: Options) -> str:
    try:
        return jid.domain(options["domain"])
    except JIDMalformed:
        raise Failure(f'"{options["domain"]}" is no domain.', 2) from None


def _list_address(options: Options) -> "tuple[JID, str]":
    found = read_uri(options["uri"])
    if found is None or found.item_id is not None:
        raise Failure(f'"{options["uri"]}" is not the address of a node, such as xmpp:SERVICE?;node=NODE.', 2)
    return found.service.bare, found.node


# Rules


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "domain": rule.domain,
        "grade": rule.grade.value if rule.grade else None,
        "dialback": rule.dialback,
        "reason": rule.reason,
        "list": rule.source or None,
    }


def domain_list(configuration: Config, options: Options) -> int:
    """`domain list`."""
    with database(configuration) as opened:
        rules = opened.run(lambda tx: tx.policies.rules() if options["lists"] else tx.policies.own())
        doubted = opened.run(lambda tx: [peer.domain for peer in tx.peers.doubted()])
    rows = [_rule(rule) for rule in rules]
    whole = {"federation": configuration.s2s.federation, "rules": rows, "doubted": doubted}

    def lines() -> None:
        who = "all that are not refused" if configuration.s2s.federation == "open" else "only those that are allowed"
        print(f"Federation with other domains: {who}.")
        if rows:
            print()
            heads = ("Domain, and all below it", "Grade", "Private by dialback", "Reason", "From the list")
            table(heads, [list(row.values()) for row in rows])
        for domain in doubted:
            print(f"\n{domain} has another key and another delivery log than before. Is it the same? Then say:")
            print(f"  twistd microblog domain trust {domain}")

    show(options, whole, lines)
    return 0


def domain_show(configuration: Config, options: Options) -> int:
    """`domain show DOMAIN`."""
    from microblog.usecases import policing

    domain = _domain(options)
    with database(configuration) as opened:
        shown = opened.run(policing.show, domain, configuration.s2s.federation)
    facts = _facts(shown, configuration)
    show(options, facts, lambda: table((domain, ""), _rows(facts)))
    return 0


def _facts(shown: "Shown", configuration: Config) -> dict[str, Any]:
    return {
        "domain": shown.domain,
        "grade": shown.grade.value,
        "private_by_dialback": shown.dialback or configuration.s2s.dialback == "always",
        "rules": [_rule(rule) for rule in shown.rules],
        "microblog_node": shown.fanout,
        "first_seen": shown.first_seen,
        "doubted_since": shown.doubted,
        "followed_there": shown.follows,
        "followers_there": shown.followers,
        "stored_items": shown.storage.items,
        "stored_bytes": shown.storage.bytes,
        **{f"queue_{name}": value for name, value in _queue(shown.queue).items() if name != "domain"},
    }


def _rows(facts: dict[str, Any]) -> list[list[object]]:
    rows: list[list[object]] = []
    for name, value in facts.items():
        if name == "rules":
            rows += [
                [f"rule for {rule['domain']}", f"{rule['grade'] or '-'} {rule['reason']}".strip()] for rule in value
            ]
        elif name != "domain":
            rows.append([name.replace("_", " "), value if value != "" else None])
    return rows


def _set(configuration: Config, options: Options, grade: Grade) -> int:
    from microblog.usecases import policing

    domain = _domain(options)
    with database(configuration) as opened:
        rule = opened.run(policing.set_grade, domain, grade, options["reason"] or "", outside=True)
    show(options, _rule(rule), lambda: print(_DONE[grade].format(domain=domain)))
    return 0


def domain_allow(configuration: Config, options: Options) -> int:
    """`domain allow DOMAIN`."""
    return _set(configuration, options, Grade.ALLOWED)


def domain_no_media(configuration: Config, options: Options) -> int:
    """`domain no-media DOMAIN`."""
    return _set(configuration, options, Grade.NO_MEDIA)


def domain_silence(configuration: Config, options: Options) -> int:
    """`domain silence DOMAIN`."""
    return _set(configuration, options, Grade.SILENCED)


def domain_refuse(configuration: Config, options: Options) -> int:
    """`domain refuse DOMAIN`."""
    return _set(configuration, options, Grade.REFUSED)


def domain_reset(configuration: Config, options: Options) -> int:
    """`domain reset DOMAIN`."""
    from microblog.usecases import policing

    domain = _domain(options)
    with database(configuration) as opened:
        opened.run(policing.reset, domain, outside=True)
    show(options, {"domain": domain}, lambda: print(f"There is no rule of yours for {domain} any more."))
    return 0


def domain_trust(configuration: Config, options: Options) -> int:
    """`domain trust DOMAIN`."""
    from microblog.usecases import policing

    domain = _domain(options)
    with database(configuration) as opened:
        opened.run(policing.trust, domain, outside=True)
    show(
        options, {"domain": domain}, lambda: print(f"{domain} is taken for the same as before: what was held is sent.")
    )
    return 0


def domain_dialback(configuration: Config, options: Options) -> int:
    """`domain dialback DOMAIN on|off`."""
    from microblog.usecases import policing

    domain, allowed = _domain(options), _switch(options)
    with database(configuration) as opened:
        rule = opened.run(policing.set_dialback, domain, allowed, outside=True)
    what = "may go there without a certificate" if allowed else "waits until it has a certificate"
    show(options, _rule(rule), lambda: print(f"What is not public and for {domain} {what}."))
    return 0


def _switch(options: Options) -> bool:
    said = options["on-or-off"]
    if said not in ("on", "off"):
        raise Failure(f'It is "on" or "off", not "{said}".', 2)
    return bool(said == "on")


# Lists


def domain_lists(configuration: Config, options: Options) -> int:
    """`domain lists`."""
    from microblog.usecases import disclosing

    with database(configuration) as opened:
        lists = opened.run(lambda tx: [(known, tx.policies.count(known.source)) for known in tx.policies.lists()])
        published = opened.run(disclosing.is_published)
    rows = [
        {
            "service": known.service,
            "node": known.node,
            "domains": count,
            "fetched": known.fetched,
            "problem": known.problem or None,
        }
        for known, count in lists
    ]
    own = f"xmpp:{configuration.node.domain}?;node={disclosing.NODE}"

    def lines() -> None:
        if rows:
            table(("Service", "Node", "Domains", "Fetched", "Problem"), [list(row.values()) for row in rows])
        else:
            print("No list is followed.")
        print(f"\nYour own rules are {f'published at {own}' if published else 'not published'}.")

    show(options, {"lists": rows, "published": own if published else None}, lines)
    return 0


def domain_list_add(configuration: Config, options: Options) -> int:
    """`domain list-add URI`."""
    from microblog.usecases import policing

    said = "The running server fetches the list now, and then once an hour."
    return _change_lists(configuration, options, policing.add_list, said)


def domain_list_remove(configuration: Config, options: Options) -> int:
    """`domain list-remove URI`."""
    from microblog.usecases import policing

    said = "The list is not followed any more; what it said does not count."
    return _change_lists(configuration, options, policing.remove_list, said)


def _change_lists(configuration: Config, options: Options, change: Callable[..., object], said: str) -> int:
    service, node = _list_address(options)
    with database(configuration) as opened:
        opened.run(change, service, node, outside=True)
    show(options, {"service": str(service), "node": node}, lambda: print(said))
    return 0


def domain_publish(configuration: Config, options: Options) -> int:
    """`domain publish on|off`."""
    from microblog.usecases import disclosing

    published = _switch(options)
    with database(configuration) as opened:
        opened.run(disclosing.set_published, published, outside=True)
    own = f"xmpp:{configuration.node.domain}?;node={disclosing.NODE}"
    said = f"Your rules are for everybody to read at {own}." if published else "Your rules are for nobody else to read."
    show(options, {"published": own if published else None}, lambda: print(said))
    return 0


# Queues


def _queue(queue: "Queue") -> dict[str, Any]:
    return {
        "domain": queue.domain,
        "state": queue.state.value,
        "waiting": queue.rows,
        "unconfirmed": queue.sent,
        "feeds_behind": queue.feeds,
        "since": queue.since,
        "failures": queue.failures,
        "failing_since": queue.failing_since,
        "last_success": queue.last_success,
        "next_attempt": queue.next_attempt,
        "last_error": queue.last_error,
    }


def queue_list(configuration: Config, options: Options) -> int:
    """`queue list`."""
    from microblog.usecases import queueing

    with database(configuration) as opened:
        queues = opened.run(queueing.queues)
    rows = [_queue(queue) for queue in queues]
    shown = ("domain", "state", "waiting", "unconfirmed", "feeds_behind", "since", "next_attempt", "last_error")
    heads = ("Domain", "State", "Waiting", "Unconfirmed", "Feeds behind", "Since", "Next attempt", "Last error")

    def lines() -> None:
        if rows:
            table(heads, [[row[name] if row[name] != "" else None for name in shown] for row in rows])
        else:
            print("Nothing waits for anybody.")

    show(options, rows, lines)
    return 0


def queue_show(configuration: Config, options: Options) -> int:
    """`queue show DOMAIN`."""
    from microblog.usecases import queueing

    domain = _domain(options)
    with database(configuration) as opened:
        facts = _queue(opened.run(queueing.queue, domain))
    show(options, facts, lambda: table((domain, ""), _rows(facts)))
    return 0


def queue_retry(configuration: Config, options: Options) -> int:
    """`queue retry DOMAIN`."""
    from microblog.usecases import queueing

    domain = _domain(options)
    with database(configuration) as opened:
        queue = opened.run(queueing.retry, domain, outside=True)
    show(options, _queue(queue), lambda: print(f"The running server tries {domain} now."))
    return 0


def queue_drop(configuration: Config, options: Options) -> int:
    """`queue drop DOMAIN`."""
    from microblog.usecases import queueing

    domain = _domain(options)
    with database(configuration) as opened:
        queue = opened.run(queueing.queue, domain)
        while opened.run(queueing.drop, domain, outside=True):
            pass
    waiting = queue.rows + queue.sent
    also = f" and {queue.feeds} feeds" if queue.feeds else ""
    show(options, _queue(queue), lambda: print(f"{waiting} notifications{also} for {domain} will never be sent."))
    return 0
