"""The administrator's commands: call what a stream would call, print, and return an exit status.

Each command is a function of the configuration and its options. It works beside a running server: both take turns at
the database, and what the server has to hear of is written down for it (``usecases.noticing``). What goes wrong is told
in one sentence on standard error with status 1; a traceback means a bug.
"""

import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microblog import __version__, checkup, config
from microblog.config import Config
from microblog.terminal import Failure, Options, guarded, program, read_password, show, table

if TYPE_CHECKING:
    from microblog.model.account import Account
    from microblog.store.database import Database
    from microblog.store.transaction import Transaction


def run(command: Callable[[Config, Options], int], configuration: Config, options: Options) -> int:
    """Run one command; known failures become a sentence and a status."""
    return guarded(lambda: command(configuration, options))


def run_init(path: Path, options: Options) -> int:
    """Run `init`, which has no configuration yet."""
    return guarded(lambda: init(path, options))


# The database


@contextmanager
def database(configuration: Config) -> Iterator["Database"]:
    """The database at this version's schema. A new one is made on the way, an older one is refused."""
    from microblog.store import migrate
    from microblog.store.database import open_database

    url = configuration.database_url
    if migrate.current(url) is None:
        make_data_folder(configuration)
        migrate.upgrade(url)
    opened = open_database(
        url,
        domain=configuration.node.domain,
        now=lambda: datetime.now(UTC),
        limits=configuration.limits,
        audience=configuration.accounts.audience,
    )
    try:
        yield opened
    finally:
        opened.close()


def sqlite_path(configuration: Config) -> Path | None:
    """Where the SQLite file is, if it is SQLite."""
    prefix = "sqlite:///"
    url = configuration.database_url
    return Path(url.removeprefix(prefix)) if url.startswith(prefix) else None


def make_data_folder(configuration: Config) -> None:
    """Only ours to read: it holds the key and everybody's posts."""
    configuration.node.data.mkdir(mode=0o700, parents=True, exist_ok=True)


# Commands


def account_add(configuration: Config, options: Options) -> int:
    """`account add NAME`."""
    from microblog.usecases import registering

    password = read_password(options)
    with database(configuration) as opened:
        account = opened.run(registering.create_account, options["name"], password, admin=bool(options["admin"]))
    address = address_of(configuration, account)
    show(options, {"address": address, "admin": account.admin}, lambda: print(f"{address} can log in now."))
    return 0


def address_of(configuration: Config, account: "Account") -> str:
    """The address of an account, as text."""
    return str(account.jid(configuration.node.domain))


def account_list(configuration: Config, options: Options) -> int:
    """`account list`."""
    from microblog.usecases import registering

    with database(configuration) as opened:
        accounts = opened.run(registering.list_accounts)
    rows = [
        {
            "address": address_of(configuration, account),
            "admin": account.admin,
            "disabled": account.disabled,
            "audience": account.audience.value,
            "created": account.created,
        }
        for account in accounts
    ]
    heads = ("Address", "Administrator", "Disabled", "Audience", "Since")
    show(options, rows, lambda: table(heads, [list(row.values()) for row in rows]))
    return 0


def account_passwd(configuration: Config, options: Options) -> int:
    """`account passwd NAME`."""
    from microblog.usecases import registering

    password = read_password(options)
    with database(configuration) as opened:
        account = opened.run(registering.change_password, options["name"], password, outside=True)
    address = address_of(configuration, account)
    show(options, {"address": address}, lambda: print(f"{address} has a new password."))
    return 0


def account_move(configuration: Config, options: Options) -> int:
    """`account move NAME ADDRESS`."""
    from microblog.model.jid import JID
    from microblog.usecases import moving, registering
    from microblog.wire import moved, ns

    to = JID.parse(options["address"])
    with database(configuration) as opened:
        account = opened.run(registering.get_account, options["name"])
        wanted = moving.Move(
            account=account.jid(configuration.node.domain),
            to=to,
            node=ns.MOVED,
            item_id=moved.ITEM,
            statement=moved.write_statement(to),
            notice=moved.write_notice,
            outside=True,
        )
        announced = opened.run(moving.move, wanted)
    address = address_of(configuration, account)
    said = f"{address} is {to} now. Followers at {len(announced.domains)} other servers are told."
    show(options, {"address": address, "moved": str(to), "domains": len(announced.domains)}, lambda: print(said))
    return 0


def account_remove(configuration: Config, options: Options) -> int:
    """`account remove NAME`."""
    from microblog.usecases import registering
    from microblog.wire import notification

    with database(configuration) as opened:
        account = opened.run(registering.remove_account, options["name"], notification, outside=True)
    address = address_of(configuration, account)
    show(options, {"address": address}, lambda: print(f"{address} and its posts are removed."))
    return 0


def invite(configuration: Config, options: Options) -> int:
    """`invite`."""
    from microblog.usecases import registering

    with database(configuration) as opened:
        token = opened.run(registering.create_invite, admin=bool(options["admin"]), days=options["days"])
    made = {
        "token": token,
        "uri": invitation_uri(configuration, token),
        "days": options["days"],
        "admin": bool(options["admin"]),
    }
    show(options, made, lambda: print(made["uri"]))
    return 0


def invitation_uri(configuration: Config, token: str) -> str:
    """XEP-0401: what a client opens to register with an invitation."""
    return f"xmpp:{configuration.node.domain}?register;preauth={token}"


def db_upgrade(configuration: Config, options: Options) -> int:
    """`db upgrade`."""
    from microblog.store import migrate

    make_data_folder(configuration)
    url = configuration.database_url
    before = migrate.current(url)
    migrate.upgrade(url)
    after = migrate.current(url)
    said = f"The database is at {after}" + (" already." if before == after else f" now, and was {before or 'empty'}.")
    show(options, {"before": before, "after": after}, lambda: print(said))
    return 0


def db_restored(configuration: Config, options: Options) -> int:
    """`db restored`."""
    from microblog.usecases import identity

    with database(configuration) as opened:
        opened.run(identity.new_epoch)
    show(options, {"restored": True}, lambda: print("Other nodes are told that what this one tells them begins anew."))
    return 0


def status(configuration: Config, options: Options) -> int:
    """`status`: 0 when every listener answers, else 1."""
    from microblog.store import migrate

    path = sqlite_path(configuration)
    if path is not None and not path.exists():
        raise Failure(f"There is no database at {path}: make one with twistd microblog init, or start the node.")
    with database(configuration) as opened:
        held = opened.run(count)
    domain = configuration.node.domain
    answering = [
        {"listener": place.about, "at": str(place.endpoint), "answers": checkup.answers(place, domain)}
        for place in checkup.listeners(configuration)
    ]
    schema = migrate.current(configuration.database_url)
    whole = {"domain": domain, "version": __version__, "schema": schema, **held, "listeners": answering}

    def lines() -> None:
        print(f"{domain}: Microblog {__version__}, database at {schema}")
        table(("Held", ""), [[name.replace("_", " "), held[name]] for name in held if name != "outbox"])
        print()
        table(("Listener", "At", "Answers"), [list(place.values()) for place in answering])
        if held["outbox"]:
            print()
            heads = ("Waits for", "Rows", "Since", "Failures", "Next attempt", "Last error")
            table(heads, [list(row.values()) for row in held["outbox"]])

    show(options, whole, lines)
    return 0 if all(place["answers"] for place in answering) else 1


def count(tx: "Transaction") -> dict[str, Any]:
    """What the node holds."""
    from sqlalchemy import func, select

    from microblog.store import tables

    ours = tables.nodes.c.service.endswith(f"@{tx.domain}", autoescape=True)
    items = select(func.count()).select_from(tables.items.join(tables.nodes))
    followers = select(func.count()).select_from(tables.subscriptions.join(tables.nodes))

    def number(statement: Any) -> int:
        return int(tx.connection.execute(statement).scalar_one())

    outbox, remote = tables.outbox, tables.remote_domains
    waiting = (
        select(
            outbox.c.domain,
            func.count().label("rows"),
            func.min(outbox.c.created).label("since"),
            func.coalesce(func.max(remote.c.failures), 0).label("failures"),
            func.max(remote.c.next_attempt).label("next_attempt"),
            func.max(remote.c.last_error).label("last_error"),
        )
        .select_from(outbox.outerjoin(remote, outbox.c.domain == remote.c.domain))
        .group_by(outbox.c.domain)
        .order_by(func.count().desc(), outbox.c.domain)
    )
    return {
        "accounts": number(select(func.count()).select_from(tables.accounts)),
        "items": number(items.where(ours)),
        "items_of_others": number(items.where(~ours)),
        "followers": number(followers.where(ours, tables.subscriptions.c.state == "subscribed")),
        "follows": number(followers.where(~ours)),
        "outbox": [dict(row) for row in tx.connection.execute(waiting).mappings()],
    }


def check(configuration: Config, options: Options) -> int:
    """`check`: 1 when there is a fault."""
    findings = list(checkup.look(configuration, datetime.now(UTC)))

    def lines() -> None:
        table(("", "What", "Finding"), [(found.level, found.about, found.sentence) for found in findings])

    show(options, [found._asdict() for found in findings], lines)
    return 1 if any(found.level == "fault" for found in findings) else 0


def sample() -> str:
    """The commented configuration file that we ship."""
    package = Path(__file__).parent
    for folder in (package / "etc", package.parent / "etc"):
        if (folder / "microblog.toml").is_file():
            return (folder / "microblog.toml").read_text(encoding="utf-8")
    raise Failure("The sample configuration is missing from this installation: install it again.")


def sample_for(domain: str, address: str) -> str:
    """The sample with a domain and an address in it."""
    text = sample().replace('domain = "localhost"', f'domain = "{domain}"', 1)
    written = f"[{address}]" if ":" in address else address
    return text.replace('["127.0.0.1:', f'["{written}:')


def init(path: Path, options: Options) -> int:
    """`init`: everything a start needs, in an order that leaves nothing half done under the final name."""
    from microblog.usecases import registering
    from microblog.xmpp.tls import Certificates

    path = path.absolute()
    domain = options["domain"]
    address = options["address"] or ("127.0.0.1" if domain == "localhost" else "0.0.0.0")
    text = sample_for(domain, address)
    configuration = config.parse(tomllib.loads(text), path.parent)
    for existing in (path, sqlite_path(configuration)):
        if existing is not None and existing.exists():
            raise Failure(f"{existing} is there already, and nothing is overwritten.")
    path.parent.mkdir(parents=True, exist_ok=True)
    make_data_folder(configuration)
    Certificates(domain, None, None, None, configuration.node.data).ensure(datetime.now(UTC))
    with database(configuration) as opened:
        token = opened.run(registering.create_invite, admin=True)
    with open(path, "x", encoding="utf-8") as file:
        file.write(text)
    made = {
        "config": str(path),
        "data": str(configuration.node.data),
        "domain": domain,
        "invitation": invitation_uri(configuration, token),
    }
    show(options, made, lambda: print(first_steps(configuration, path, made["invitation"]), end=""))
    return 0


def first_steps(configuration: Config, path: Path | None, invitation: str, *, started: bool = False) -> str:
    """The screen after `init`, and at the first start of a node without it."""
    listens = "\n".join(f"{place.endpoint} ({place.about})" for place in checkup.listeners(configuration))
    found = (None, (Path.cwd() / config.LOCAL_FILE).absolute(), config.SYSTEM_FILE)
    path = path.absolute() if path else None
    say = f"{program()} microblog" + ("" if path in found else f" --config {path}")
    serve = f"{program()} -n microblog" + ("" if path in found else f" --config {path}")
    certificate = "self-signed; put a real one into [tls] for other servers to trust"
    if not configuration.own_certificate:
        certificate = str(configuration.certificate_path)
    facts = [
        ("Configuration", str(path) if path else "none, the defaults hold; twistd microblog init writes one"),
        ("Data", str(configuration.node.data)),
        ("Listens on", listens.replace("\n", f"\n{' ' * 18}")),
        ("Certificate", certificate),
    ]
    steps = [
        *([] if started else [(serve, "start it")]),
        (f"{say} account add NAME", "make an account"),
        (f"{say} check", "see what is still missing"),
        (f"{say} status", "see what it does"),
        (f"{program()} microblog demo", "see two nodes follow each other"),
    ]
    width = max(len(step) for step, _ in steps) + 3
    return "\n".join(
        [
            f"{configuration.node.domain} is ready.",
            "",
            *(f"  {name:<16}{value}" for name, value in facts),
            "",
            "In another terminal:" if started else "Next:",
            *(f"  {step:<{width}}{why}" for step, why in steps),
            "",
            "The first administrator may also register with this invitation:",
            f"  {invitation}",
            "",
        ]
    )


def prepare(configuration: Config, path: Path | None, *, upgrade: bool, daemon: bool) -> None:
    """Before the server starts: welcome whoever starts it for the first time; see that a daemon will start.

    Raises: what `terminal.sentence` can tell.
    """
    from microblog.store import migrate

    make_data_folder(configuration)
    if upgrade and migrate.current(configuration.database_url) is None:
        from microblog.usecases import registering

        with database(configuration) as opened:
            token = opened.run(registering.create_invite, admin=True)
        print(first_steps(configuration, path, invitation_uri(configuration, token), started=True), flush=True)
    if daemon:
        attempt(configuration, upgrade=upgrade)


def attempt(configuration: Config, *, upgrade: bool) -> None:
    """Everything a start can fail at, done and undone: a daemon has no terminal left to say it at."""
    from microblog.store import migrate
    from microblog.store.database import open_database
    from microblog.xmpp.tls import Certificates

    tls, now = configuration.tls, datetime.now(UTC)
    domain = configuration.node.domain
    certificates = Certificates(domain, tls.certificate, tls.key, tls.trust_roots, configuration.node.data)
    certificates.ensure(now)
    certificates.load()
    if upgrade:
        migrate.upgrade(configuration.database_url)
    open_database(configuration.database_url, domain=domain, now=lambda: now, exclusive=True).close()
    for finding in checkup.look_at_ports(configuration):
        if finding.level == "fault":
            raise Failure(f"The port of {finding.about} {finding.sentence}")
