"""The command line: `twistd -n microblog` serves, `twistd microblog COMMAND` administers.

twistd parses the options before it does anything else. A command does its work while twistd is still parsing, and
leaves with its exit status: no daemon, no pid file, no log. 0 is done, 1 refused (one sentence on standard error
says why), 2 a mistake in the command or in the configuration.

What the commands do is in `microblog.admin`; here is only what can be said. Modules that are slow to import are
imported by the command that needs them.
"""

import getopt
import ipaddress
import re
import sys
import textwrap
from pathlib import Path
from typing import Any, NoReturn, cast

from twisted.application.service import IService
from twisted.python import usage

from microblog import __version__
from microblog.config import Config, ConfigError, Endpoint, find_config, load, read_route
from microblog.model import jid, program

DONE, REFUSED, WRONG = 0, 1, 2

# Rows of usage.Options: long name, short name, default (of a parameter), what for, how to read it.
OptionRows = tuple[tuple[Any, ...], ...]


def fail(status: int, *lines: str) -> NoReturn:
    """Say it on standard error and leave."""
    for line in lines:
        print(line, file=sys.stderr)
    raise SystemExit(status)


class Command(usage.Options):
    """What every level has in common: its help, its place in the chain, the configuration file."""

    about = ""
    example = ""
    longdesc = ""
    arguments: tuple[str, ...] = ()
    file: Path | None = None
    optFlags: OptionRows = ()
    optParameters: OptionRows = (
        ("config", None, None, "Configuration file [default: ./microblog.toml, then /etc/microblog/]"),
    )

    @property
    def path(self) -> list[str]:
        """The words that lead here: ["microblog", "account", "add"]."""
        above = self.parent
        if isinstance(above, Command):
            return [*above.path, str(above.subCommand)]
        return ["microblog"]

    @property
    def above(self) -> "Command | None":
        """The command that this one is a part of."""
        return self.parent if isinstance(self.parent, Command) else None

    @property
    def deepest(self) -> "Command":
        """The command that was being parsed last."""
        below = getattr(self, "subOptions", None)
        return below.deepest if isinstance(below, Command) else self

    def getSynopsis(self) -> str:
        """One line: how this is said."""
        tail = "COMMAND" if hasattr(self, "subCommands") else " ".join(self.arguments)
        return f"Usage: twistd {' '.join(self.path)} [options] {tail}".rstrip()

    def __str__(self) -> str:
        about = textwrap.fill(self.about, 78)
        usage = self.getUsage().strip().replace("\n\n\n", "\n\n")
        return f"{self.getSynopsis()}\n\n{about}\n\n{usage}\n\nExample:\n  {self.example}"

    def opt_version(self) -> None:
        """Display the version and exit."""
        print(f"Microblog {__version__}")
        raise SystemExit(DONE)

    def load(self) -> Config:
        """The configuration, wherever on the line it was named; leaves with every fault when there is one."""
        try:
            self.file = find_config(self.config_file)
            return load(self.file)
        except ConfigError as error:
            fail(WRONG, *error.lines())

    @property
    def config_file(self) -> Path | None:
        """The file named here or at a level above."""
        named = cast(str | None, self["config"])
        if named is not None:
            return Path(named)
        return self.above.config_file if self.above else None


class Group(Command):
    """A command that only has commands."""

    subCommands: tuple[tuple[str, None, type[Command], str], ...]

    def postOptions(self) -> None:
        """Reached only when no command was given."""
        names = [name for name, *_ in self.subCommands]
        raise usage.UsageError(f"Say what to do: {', '.join(names[:-1])} or {names[-1]}.")


class Leaf(Command):
    """A command that does something: `does` is the name of a function in `microblog.admin`."""

    does = ""

    def act(self) -> int:
        """Do it; the answer is the exit status."""
        config = self.load()
        from microblog import admin

        return admin.run(getattr(admin, self.does), config, self)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Options may stand after the arguments: `account add romeo --admin`."""
        known = {name.rstrip("=") for name in self.longOpt}
        for word in options or []:
            # getopt would take --password for --password-file, and the password for a file's name.
            if word.startswith("--") and word[2:].partition("=")[0] not in known | {""}:
                raise usage.UsageError(f"Option {word.partition('=')[0]} not recognized.")
        try:
            found, arguments = getopt.gnu_getopt(options or [], self.shortOpt, self.longOpt)
        except getopt.error as error:
            raise usage.UsageError(f"{str(error).capitalize()}.") from error
        ordered = [name if name[2:] in self.longOpt else f"{name}={value}" for name, value in found]
        super().parseOptions([*ordered, "--", *arguments])

    def parseArgs(self, *given: str) -> None:
        """Keep the arguments under their names in lower case."""
        if len(given) < len(self.arguments):
            raise usage.UsageError(f"{' '.join(self.arguments[len(given) :])} is missing.")
        if len(given) > len(self.arguments):
            raise usage.UsageError(f'"{given[len(self.arguments)]}" is one argument too many.')
        for name, value in zip(self.arguments, given, strict=True):
            self[name.lower()] = value

    def postOptions(self) -> None:
        """Act, and leave: twistd goes no further."""
        raise SystemExit(self.act())


def days(text: str) -> int:
    """Coerce --days."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 10_000:
        raise ValueError(f'--days needs a whole number from 1 to 9999, not "{text}".')
    return int(text)


def port(text: str) -> int:
    """Coerce --port."""
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65_000:
        raise ValueError(f'--port needs a number from 1024 to 65000, not "{text}".')
    return int(text)


def domain(text: str) -> str:
    """Coerce --domain."""
    try:
        return jid.domain(text)
    except ValueError:
        raise ValueError(f'--domain needs a domain, not "{text}".') from None


def address(text: str) -> str:
    """Coerce --address."""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError(f'--address needs an IP address, not "{text}".') from None


class Report(Leaf):
    """A command whose answer scripts may want to read."""

    optFlags: OptionRows = (("json", None, "Print JSON, for scripts"),)


PASSWORD_FILE = ("password-file", None, None, "Read the password from the first line of this file, - is standard input")


class Init(Report):
    """`init`."""

    about = (
        "Make a node: a commented configuration file, the data folder, the database, a self-signed certificate "
        "and an invitation for its first administrator. Nothing that exists is overwritten."
    )
    example = "twistd microblog init --domain montague.example"
    optParameters = (
        ("domain", None, "localhost", "The domain of the addresses [default: localhost]", domain),
        ("address", None, None, "Where to listen [default: 0.0.0.0, or 127.0.0.1 for localhost]", address),
    )

    def act(self) -> int:
        """Needs no configuration: it makes one."""
        from microblog import admin

        return admin.run_init(self.config_file or Path("microblog.toml"), self)


class Check(Report):
    """`check`."""

    about = (
        "Look at everything a start needs - configuration, certificate, ports, database, disk - and at what other "
        "servers will find in DNS, and tell all faults at once. Warnings do not count."
    )
    example = "twistd microblog --config /etc/microblog/microblog.toml check"
    does = "check"


class AccountAdd(Report):
    """`account add`."""

    about = "Make an account. The password is asked for, or read from a file; it is never an argument."
    example = "twistd microblog account add romeo --password-file secret.txt"
    arguments = ("NAME",)
    optFlags = (("admin", None, "Make it an administrator"),)
    optParameters = (PASSWORD_FILE,)
    does = "account_add"


class AccountList(Report):
    """`account list`."""

    about = "Show the accounts of this node."
    example = "twistd microblog account list --json"
    does = "account_list"


class AccountPasswd(Report):
    """`account passwd`."""

    about = "Change an account's password."
    example = "twistd microblog account passwd romeo"
    arguments = ("NAME",)
    optParameters = (PASSWORD_FILE,)
    does = "account_passwd"


class AccountMove(Report):
    """`account move`."""

    about = (
        "Tell the followers of an account that its owner has another address now, as the word move does. Those of "
        "other servers are told; those here see it in the list of whom they follow."
    )
    example = "twistd microblog account move romeo romeo@mantua.example"
    arguments = ("NAME", "ADDRESS")
    does = "account_move"


class AccountRemove(Report):
    """`account remove`."""

    about = "Remove an account and everything it wrote here. There is no way back."
    example = "twistd microblog account remove romeo"
    arguments = ("NAME",)
    does = "account_remove"


class Account(Group):
    """`account`."""

    about = "The accounts of this node."
    example = "twistd microblog account add romeo"
    subCommands = (
        ("add", None, AccountAdd, "Make an account"),
        ("list", None, AccountList, "Show the accounts"),
        ("move", None, AccountMove, "Say where an account's owner is now"),
        ("passwd", None, AccountPasswd, "Change a password"),
        ("remove", None, AccountRemove, "Remove an account and its posts"),
    )


class Invite(Report):
    """`invite`."""

    about = "Make an invitation: who has it may register one account."
    example = "twistd microblog invite --days 3"
    optFlags = (("admin", None, "The account will be an administrator"),)
    optParameters = (("days", None, 7, "How long it is good [default: 7]", days),)
    does = "invite"


class DbUpgrade(Report):
    """`db upgrade`."""

    about = "Bring the database to the schema of this version. The server does it by itself at start."
    example = "twistd microblog db upgrade"
    does = "db_upgrade"


class DbRestored(Report):
    """`db restored`."""

    about = (
        "Say that the database was restored from a backup, while the node is stopped: other nodes, which may know more "
        "than it does, are told that what it tells them begins anew. A node finds that out by itself, unless the "
        "backup is only a moment old or the data folder is another one."
    )
    example = "twistd microblog db restored"
    does = "db_restored"


class Db(Group):
    """`db`."""

    about = "The database."
    example = "twistd microblog db upgrade"
    subCommands = (
        ("upgrade", None, DbUpgrade, "Bring the database to this version's schema"),
        ("restored", None, DbRestored, "Say that it was restored from a backup"),
    )


class Status(Report):
    """`status`."""

    about = "Show what the node holds, what waits to be delivered to whom, and whether the listeners answer."
    example = "twistd microblog status --json"
    does = "status"


class Federating(Report):
    """What is said of other domains and what waits for them: done in `microblog.domains`."""

    def act(self) -> int:
        """Do it; the answer is the exit status."""
        config = self.load()
        from microblog import admin, domains

        return admin.run(getattr(domains, self.does), config, self)


REASON = ("reason", None, None, "Why, for yourself and for those who read your list")


class DomainList(Federating):
    """`domain list`."""

    about = "Show whom this node speaks with, and your rules for other domains."
    example = "twistd microblog domain list --json"
    optFlags = (("lists", None, "Also what the lists that you follow say"),)
    does = "domain_list"


class DomainShow(Federating):
    """`domain show`."""

    about = "Show all there is to say of a domain: its grade and why, who follows whom, what is stored, what waits."
    example = "twistd microblog domain show capulet.example"
    arguments = ("DOMAIN",)
    does = "domain_show"


class DomainAllow(Federating):
    """`domain allow`."""

    about = (
        'Let everything of a domain, and of those below it, in, whatever lists say. With federation = "allowlist" '
        "only such domains are spoken with."
    )
    example = "twistd microblog domain allow capulet.example"
    arguments = ("DOMAIN",)
    optParameters = (REASON,)
    does = "domain_allow"


class DomainNoMedia(Federating):
    """`domain no-media`."""

    about = "Take what comes from a domain, and from those below it, without pictures, enclosures and attachments."
    example = "twistd microblog domain no-media capulet.example"
    arguments = ("DOMAIN",)
    optParameters = (REASON,)
    does = "domain_no_media"


class DomainSilence(Federating):
    """`domain silence`."""

    about = (
        "Show the posts of a domain, and of those below it, only to people who follow their authors: they are in no "
        "tag's timeline, and nobody there can mention or write to somebody who does not follow them."
    )
    example = "twistd microblog domain silence capulet.example"
    arguments = ("DOMAIN",)
    optParameters = (REASON,)
    does = "domain_silence"


class DomainRefuse(Federating):
    """`domain refuse`."""

    about = (
        "Have nothing to do with a domain and those below it: streams end, what waits for them is dropped, follows and "
        "followers end, and what is here of them is removed. None of that comes back when you allow it again."
    )
    example = 'twistd microblog domain refuse capulet.example --reason "A plague"'
    arguments = ("DOMAIN",)
    optParameters = (REASON,)
    does = "domain_refuse"


class DomainReset(Federating):
    """`domain reset`."""

    about = "Forget your rule for a domain: the default and the lists that you follow count again."
    example = "twistd microblog domain reset capulet.example"
    arguments = ("DOMAIN",)
    does = "domain_reset"


class DomainTrust(Federating):
    """`domain trust`."""

    about = (
        "Say that a domain is still the same though it has another key and another delivery log: what is not public "
        "was held, and is sent now."
    )
    example = "twistd microblog domain trust capulet.example"
    arguments = ("DOMAIN",)
    does = "domain_trust"


class DomainDialback(Federating):
    """`domain dialback`."""

    about = "Say whether what is not public may go to a domain that proves itself by dialback, without a certificate."
    example = "twistd microblog domain dialback capulet.example on"
    arguments = ("DOMAIN", "ON-OR-OFF")
    does = "domain_dialback"


class DomainLists(Federating):
    """`domain lists`."""

    about = "Show the lists of domains that this node goes by, and whether your own rules are published as one."
    example = "twistd microblog domain lists"
    does = "domain_lists"


class DomainListAdd(Federating):
    """`domain list-add`."""

    about = (
        "Go by a list of domains that others keep as a pubsub node. It is fetched once an hour and can only restrict; "
        "your own rules come first."
    )
    example = "twistd microblog domain list-add 'xmpp:verona.example?;node=urn:x-microblog:policy:0'"
    arguments = ("URI",)
    does = "domain_list_add"


class DomainListRemove(Federating):
    """`domain list-remove`."""

    about = "Go by a list no more: what only it said does not count any longer."
    example = "twistd microblog domain list-remove 'xmpp:verona.example?;node=urn:x-microblog:policy:0'"
    arguments = ("URI",)
    does = "domain_list_remove"


class DomainPublish(Federating):
    """`domain publish`."""

    about = "Publish what you refuse, silence or take without media as a list that others can go by, or do so no more."
    example = "twistd microblog domain publish on"
    arguments = ("ON-OR-OFF",)
    does = "domain_publish"


class Domain(Group):
    """`domain`."""

    about = "Whom this node speaks with, and how much of them it lets in."
    example = "twistd microblog domain refuse capulet.example"
    subCommands = (
        ("list", None, DomainList, "Show the rules"),
        ("show", None, DomainShow, "Show all about a domain"),
        ("allow", None, DomainAllow, "Let everything in"),
        ("no-media", None, DomainNoMedia, "Take what comes without media"),
        ("silence", None, DomainSilence, "Show its posts to followers only"),
        ("refuse", None, DomainRefuse, "Have nothing to do with it"),
        ("reset", None, DomainReset, "Forget the rule"),
        ("trust", None, DomainTrust, "Say that it is the same as before"),
        ("dialback", None, DomainDialback, "May private posts go there without a certificate?"),
        ("lists", None, DomainLists, "Show the lists that are followed"),
        ("list-add", None, DomainListAdd, "Go by a list"),
        ("list-remove", None, DomainListRemove, "Go by it no more"),
        ("publish", None, DomainPublish, "Publish the rules as a list"),
    )


class QueueList(Federating):
    """`queue list`."""

    about = "Show for each domain what waits for it, why, and when it is tried next."
    example = "twistd microblog queue list --json"
    does = "queue_list"


class QueueShow(Federating):
    """`queue show`."""

    about = "Show what waits for one domain."
    example = "twistd microblog queue show capulet.example"
    arguments = ("DOMAIN",)
    does = "queue_show"


class QueueRetry(Federating):
    """`queue retry`."""

    about = "Try a domain now, once, in whatever state it is."
    example = "twistd microblog queue retry capulet.example"
    arguments = ("DOMAIN",)
    does = "queue_retry"


class QueueDrop(Federating):
    """`queue drop`."""

    about = "Forget what waits for a domain: it will never be sent, retractions among it."
    example = "twistd microblog queue drop capulet.example"
    arguments = ("DOMAIN",)
    does = "queue_drop"


class Queue(Group):
    """`queue`."""

    about = "What waits to be delivered to other domains."
    example = "twistd microblog queue list"
    subCommands = (
        ("list", None, QueueList, "Show what waits for whom"),
        ("show", None, QueueShow, "Show what waits for a domain"),
        ("retry", None, QueueRetry, "Try a domain now"),
        ("drop", None, QueueDrop, "Forget what waits for a domain"),
    )


class Moderating(Report):
    """What is said of reports: done in `microblog.moderation`."""

    def act(self) -> int:
        """Do it; the answer is the exit status."""
        config = self.load()
        from microblog import admin, moderation

        return admin.run(getattr(moderation, self.does), config, self)


class ReportList(Moderating):
    """`report list`."""

    about = "Show what was reported and nobody is done with; --json also shows the posts."
    example = "twistd microblog report list --json"
    does = "report_list"


class ReportSettle(Moderating):
    """`report settle`."""

    about = "Say that you are done with a report. It changes nothing else; nobody is told."
    example = "twistd microblog report settle 5"
    arguments = ("NUMBER",)
    does = "report_settle"


class Reports(Group):
    """`report`."""

    about = "What people here and other nodes have reported of somebody."
    example = "twistd microblog report list"
    subCommands = (
        ("list", None, ReportList, "Show what waits to be looked at"),
        ("settle", None, ReportSettle, "Be done with one"),
    )


def account_jid(text: str) -> jid.JID:
    """Coerce --jid."""
    try:
        parsed = jid.JID.parse(text)
    except ValueError:
        parsed = None
    if parsed is None or not parsed.localpart:
        raise ValueError(f'--jid needs the address of an account, such as ci@montague.example, not "{text}".')
    return parsed


def node(text: str) -> Endpoint:
    """Coerce --node."""
    try:
        return read_route(text)
    except ValueError as error:
        raise ValueError(f"--node {error}.") from None


def local_url(text: str) -> str:
    """Coerce --to."""
    from microblog.http import check_url

    return check_url(text, plain=True)


def fingerprint(text: str) -> str:
    """Coerce --fingerprint."""
    digits = text.replace(":", "").lower()
    if not re.fullmatch("[0-9a-f]{64}", digits):
        raise ValueError(f'--fingerprint needs the SHA-256 of a certificate, 64 hexadecimal digits, not "{text}".')
    return digits


def program_name(text: str) -> str:
    """Coerce --name."""
    if not program.is_name(text):
        raise ValueError(f'--name needs small letters, digits, dots and hyphens, not "{text}".')
    return text


def window(text: str) -> int:
    """Coerce --window."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text[:5]) <= 200:
        raise ValueError(f'--window needs a whole number from 1 to 200, not "{text}".')
    return int(text)


class Sourced(Leaf):
    """A command with --source."""

    def __init__(self) -> None:
        super().__init__()
        self["sources"] = ()

    def opt_source(self, text: str) -> None:
        """What to be told of: own, mentions, home, local, track, calls; several with commas, or said again."""
        known = [source.value for source in program.Source]
        for word in text.split(","):
            if word not in known:
                raise usage.UsageError(f'--source is one of {", ".join(known)}, not "{word}".')
            self["sources"] = tuple(dict.fromkeys((*self["sources"], program.Source(word))))


class Tap(Sourced):
    """`tap`."""

    about = (
        "Hold a stream to a node, as an account, and make of each event one HTTP POST to a local address: for programs "
        "inside a firewall, which nobody can call. Events wait at the node until the program has taken them; they come "
        "in order, and again if need be, until the answer is 2xx."
    )
    example = (
        "twistd microblog tap --jid ci@montague.example --password-file secret.txt --name builds "
        "--source home,mentions --to http://127.0.0.1:8080/events"
    )
    optFlags = (("from-start", None, "A new subscription begins with all the node still has, not with now"),)
    optParameters = (
        ("jid", None, None, "The account to log in as", account_jid),
        PASSWORD_FILE,
        ("name", None, "tap", "The name of the subscription, of which an account may have several", program_name),
        ("to", None, None, "Where to POST: a URL", local_url),
        ("node", None, None, "Where the node is, HOST:PORT or xmpps://HOST:PORT, and not where DNS says", node),
        ("window", None, 50, "How many events may be under way", window),
        ("trust-roots", None, None, "A PEM file with the authorities to believe [default: the system's]"),
        ("fingerprint", None, None, "SHA-256 of the only certificate to take, whoever vouches for it", fingerprint),
        ("secret-file", None, None, "Sign each call with the secret (whsec_...) in this file"),
    )

    def act(self) -> int:
        """Needs no configuration: it may run on any machine."""
        for name in ("jid", "to"):
            if self[name] is None:
                raise usage.UsageError(f"--{name} is missing.")
        from microblog import tap, terminal

        return terminal.guarded(lambda: tap.tap(self))


class HookAdd(Sourced, Report):
    """`hook add`."""

    about = (
        "Make a webhook: a URL is called with each event of an account, signed, in order, until it has taken it. "
        "Without --source: home, mentions and own."
    )
    example = "twistd microblog hook add ci builds https://ci.montague.example/events --source mentions"
    arguments = ("ACCOUNT", "NAME", "URL")
    optFlags = (*Report.optFlags, ("from-start", None, "Begin with all that the node still has, not with now"))

    def act(self) -> int:
        """The work is done in `microblog.hooks`."""
        return _hooks(self, "hook_add")


class HookList(Report):
    """`hook list`."""

    about = "Show the webhooks: whether they take what they are called with, and why not."
    example = "twistd microblog hook list --json"

    def act(self) -> int:
        """The work is done in `microblog.hooks`."""
        return _hooks(self, "hook_list")


class HookRemove(Report):
    """`hook remove`."""

    about = "Call a webhook no more, and forget what it was not told yet."
    example = "twistd microblog hook remove ci builds"
    arguments = ("ACCOUNT", "NAME")

    def act(self) -> int:
        """The work is done in `microblog.hooks`."""
        return _hooks(self, "hook_remove")


class HookResume(Report):
    """`hook resume`."""

    about = "Call a webhook again at once, though it failed, or was given up after days of failures."
    example = "twistd microblog hook resume ci builds"
    arguments = ("ACCOUNT", "NAME")

    def act(self) -> int:
        """The work is done in `microblog.hooks`."""
        return _hooks(self, "hook_resume")


class HookTest(Report):
    """`hook test`."""

    about = 'Call a webhook once, with an event of the kind "test", and show how it answers.'
    example = "twistd microblog hook test ci builds"
    arguments = ("ACCOUNT", "NAME")

    def act(self) -> int:
        """The work is done in `microblog.hooks`."""
        return _hooks(self, "hook_test")


def _hooks(options: Leaf, does: str) -> int:
    config = options.load()
    from microblog import admin, hooks

    return admin.run(getattr(hooks, does), config, options)


class Hook(Group):
    """`hook`."""

    about = "Programs that are called with what happens: webhooks."
    example = "twistd microblog hook list"
    subCommands = (
        ("add", None, HookAdd, "Call a URL with what happens to an account"),
        ("list", None, HookList, "Show them, and how they do"),
        ("remove", None, HookRemove, "Call one no more"),
        ("resume", None, HookResume, "Call one again at once"),
        ("test", None, HookTest, "Call one with a test"),
    )


class Demo(Leaf):
    """`demo`."""

    about = (
        "Run two nodes in one process, with a person on each, who follow each other and post; print what happens and "
        "how to log in beside them. Everything is on loopback and in a temporary folder, and gone at Ctrl-C."
    )
    example = "twistd microblog demo --port 25222"
    optFlags = (("once", None, "Stop when the first posts have arrived"),)
    optParameters = (("port", None, 15222, "The first port; five more are used [default: 15222]", port),)

    def act(self) -> int:
        """Needs no configuration."""
        from microblog import demo, terminal

        return terminal.guarded(lambda: demo.demo(self))


class Options(Command):
    """`twistd microblog`: without a command it serves."""

    about = "Serve the configured domain; with a command, do that instead and exit."
    example = "twistd -n microblog --config /etc/microblog/microblog.toml"
    optFlags = (("no-migrate", None, "Do not bring the database to this version's schema at start"),)
    subCommands = (
        ("init", None, Init, "Make a node here: configuration, database, certificate"),
        ("check", None, Check, "Tell what is wrong before a start does"),
        ("account", None, Account, "Add, list and remove accounts, change passwords"),
        ("invite", None, Invite, "Make an invitation to register"),
        ("db", None, Db, "Upgrade the database"),
        ("status", None, Status, "Show what the node holds and whether it answers"),
        ("domain", None, Domain, "Whom to speak with: allow, silence, refuse domains"),
        ("queue", None, Queue, "What waits for other domains: show, retry, drop"),
        ("report", None, Reports, "What was reported: list, settle"),
        ("hook", None, Hook, "Webhooks: add, list, remove, resume, test"),
        ("tap", None, Tap, "Make calls to a local program of what happens at a node"),
        ("demo", None, Demo, "Run two nodes that follow each other"),
    )
    loaded: Config

    def getSynopsis(self) -> str:
        """-n belongs to twistd and is what one wants."""
        return "Usage: twistd [-n] microblog [options] [COMMAND]"

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Answer a mistake with one line and the synopsis of the command it was made in."""
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            said = str(error).removeprefix("Parameter type enforcement failed: ")
            fail(WRONG, f"twistd microblog: {said}", self.deepest.getSynopsis())

    def postOptions(self) -> None:
        """Reached only without a command: refuse a wrong configuration before twistd daemonises."""
        self.loaded = self.load()


def makeService(options: Options) -> IService:
    """What twistd runs. Leaves with a sentence when the node cannot start."""
    from twisted.internet import reactor

    from microblog import admin, app
    from microblog.runtime import keep_steady_time
    from microblog.terminal import sentence

    keep_steady_time(reactor)
    upgrade = not options["no-migrate"]
    daemon = options.parent is not None and not options.parent.get("nodaemon", True)
    try:
        admin.prepare(options.loaded, options.file, upgrade=upgrade, daemon=daemon)
        return app.make_service(options.loaded, migrate=upgrade)
    except Exception as error:
        said = sentence(error)
        if said is None:
            raise
        fail(REFUSED, f"microblog: {said}")
