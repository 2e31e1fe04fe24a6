"""Configuration: one TOML file becomes one frozen `Config`, handed on in pieces.

Nothing else reads a file, the environment or a global for its settings. Every key has its default here and
its explanation in `etc/microblog.toml`. A wrong file is reported whole: all faults at once, each with its
dotted key, its line, and a sentence that says what would be right. Plain numbers carry their unit in the key.

Relative paths count from the folder of the file, so that a node can be moved with its folder.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from microblog.model import jid
from microblog.model.border import Border
from microblog.model.policy import FederationMode

LOCAL_FILE = Path("microblog.toml")
SYSTEM_FILE = Path("/etc/microblog/microblog.toml")
_DIRECT = "xmpps://"


class Fault(NamedTuple):
    """One thing wrong; `key` is empty when the fault is the file's."""

    key: str
    sentence: str
    line: int | None = None


class ConfigError(Exception):
    """The configuration cannot be used; every reason is in `faults`."""

    def __init__(self, faults: Sequence[Fault], path: Path | None = None) -> None:
        super().__init__()
        self.faults = tuple(faults)
        self.path = path

    def lines(self) -> list[str]:
        """One line a fault, for people."""
        return [self._line(fault) for fault in self.faults]

    def _line(self, fault: Fault) -> str:
        place = str(self.path) if self.path else "configuration"
        if fault.line is not None:
            place += f":{fault.line}"
        line = f"{place}: {fault.key} {fault.sentence}" if fault.key else f"{place}: {fault.sentence}"
        return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)

    def __str__(self) -> str:
        return "\n".join(self.lines())


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host or address, and a port; ``direct_tls`` if TLS begins at once there."""

    host: str
    port: int
    direct_tls: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Endpoint":
        """Read `host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`."""
        host, colon, port = text.rpartition(":")
        if not colon or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or int(port) > 65535:
            raise ValueError(f'must be "host:port" with a port from 0 to 65535, not "{text}"')
        if host.startswith("[") and host.endswith("]"):
            try:
                host = str(ipaddress.IPv6Address(host[1:-1]))
            except ValueError:
                raise ValueError(f'has no IPv6 address between the brackets: "{text}"') from None
        elif not re.fullmatch(r"[A-Za-z0-9._-]+", host):
            raise ValueError(f'must be "host:port" (IPv6 addresses in brackets, "[::1]:5222"), not "{text}"')
        return cls(host, int(port))

    @property
    def is_address(self) -> bool:
        """An IP address and not a name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def _listen(value: object) -> object:
    if not isinstance(value, str):
        return value
    endpoint = Endpoint.parse(value)
    if not endpoint.is_address:
        raise ValueError(f'must begin with an IP address (127.0.0.1, 0.0.0.0 or [::] for all), not "{value}"')
    return endpoint


def read_route(text: str) -> Endpoint:
    """Read `host:port`, or `xmpps://host:port` where TLS begins at once."""
    direct = text.removeprefix(_DIRECT)
    endpoint = Endpoint.parse(direct)
    if endpoint.port == 0:
        raise ValueError("needs a port other than 0")
    return replace(endpoint, direct_tls=direct != text)


def _route(value: object) -> object:
    return read_route(value) if isinstance(value, str) else value


def _domain(value: object) -> object:
    return jid.domain(value) if isinstance(value, str) else value


def _frozen_list(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _base(info: ValidationInfo) -> Path:
    return Path((info.context or {}).get("base") or Path.cwd())


def _path(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    if not value:
        raise ValueError("must not be empty")
    return _base(info) / Path(value).expanduser()


def _optional_path(value: object, info: ValidationInfo) -> object:
    return None if value == "" else _path(value, info)


Listen = Annotated[Endpoint, BeforeValidator(_listen)]
Listens = Annotated[tuple[Listen, ...], BeforeValidator(_frozen_list)]
Route = Annotated[Endpoint, BeforeValidator(_route)]
Domain = Annotated[str, BeforeValidator(_domain)]
FilePath = Annotated[Path, BeforeValidator(_path)]
OptionalPath = Annotated[Path | None, BeforeValidator(_optional_path)]
Positive = Annotated[int, Field(ge=1)]
StanzaSize = Annotated[int, Field(ge=10_000)]  # RFC 6120 §13.12: no limit below 10,000 bytes


class Section(BaseModel):
    """A table of the file: strict, frozen, nothing unknown in it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class NodeSection(Section):
    """Who this node is and where it keeps its things."""

    domain: Domain = "localhost"
    data: FilePath = Field(default="microblog-data", validate_default=True)


class C2SConfig(Section):
    """Where clients connect."""

    listen: Listens = (Endpoint("127.0.0.1", 5222),)
    direct_tls: Listens = (Endpoint("127.0.0.1", 5223),)


class S2SConfig(Section):
    """Where servers connect, where to find some of them, and which proof of identity is enough."""

    listen: Listens = (Endpoint("127.0.0.1", 5269),)
    direct_tls: Listens = ()
    routes: Mapping[Domain, Route] = Field(default_factory=dict)
    federation: FederationMode = "open"
    dialback: Literal["never", "public", "always"] = "public"
    private_addresses: bool = False
    multicast: Annotated[tuple[Domain, ...], BeforeValidator(_frozen_list)] = ()


class TLSConfig(Section):
    """Certificate, key and whom we trust; None means: the one made at first start, the system's roots."""

    certificate: OptionalPath = None
    key: OptionalPath = None
    trust_roots: OptionalPath = None

    @model_validator(mode="after")
    def _both_or_none(self) -> "TLSConfig":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("needs certificate and key together, or neither")
        return self


def _database_url(value: object, info: ValidationInfo) -> object:
    """Name the driver we ship with, and make the path of a SQLite file absolute."""
    if not isinstance(value, str) or not value:
        return value
    scheme, colon, rest = value.partition("://")
    if colon and scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if colon and scheme == "sqlite" and rest.startswith("/") and rest != "/":
        return f"sqlite:///{_base(info) / Path(rest[1:]).expanduser()}"
    raise ValueError('must begin with "sqlite:///" and a file, or with "postgresql://"')


class DatabaseConfig(Section):
    """A SQLAlchemy URL; empty means the SQLite file in the data folder. Use `Config.database_url`."""

    url: Annotated[str, BeforeValidator(_database_url)] = ""


class AccountsConfig(Section):
    """Who may have an account, and how far a post goes when its author does not say."""

    registration: Literal["closed", "invite", "open"] = "invite"
    audience: Literal["public", "followers", "local"] = "public"
    enrol_domains: Annotated[tuple[Domain, ...], BeforeValidator(_frozen_list)] = ()


class BorderConfig(Section):
    """What never leaves this node, whatever its author wants."""

    words: Annotated[tuple[str, ...], BeforeValidator(_frozen_list)] = ()
    labels: Annotated[tuple[str, ...], BeforeValidator(_frozen_list)] = ()

    @property
    def border(self) -> Border:
        """As posts are held against it."""
        return Border(self.words, self.labels)


class ProgramsConfig(Section):
    """What webhooks may call."""

    private_addresses: bool = False


class Limits(Section):
    """Every bound by name. Rates are asked for through `rate`; sizes and deadlines are read as they are."""

    rates: bool = True

    # Rates, and what one address may hold: pass these through `rate`.
    c2s_read_bytes_per_second: Positive = 10_000
    s2s_read_bytes_per_second: Positive = 30_000
    s2s_followed_read_bytes_per_second: Positive = 100_000
    connections_per_second: Positive = 20
    connections_burst: Positive = 50
    unauthenticated_per_address: Positive = 10
    login_failures_per_address: Positive = 20
    login_failures_per_account: Positive = 10
    posts_per_3_hours: Positive = 300
    posts_burst_per_minute: Positive = 10
    follows_per_day: Positive = 400
    s2s_requests_per_second: Positive = 50  # of one domain; those beyond wait

    # What belongs to the rates above.
    read_burst_seconds: Positive = 2
    s2s_requests_burst: Positive = 500
    login_failure_window_seconds: Positive = 900
    login_refusal_seconds: Positive = 3600

    # Streams.
    stream_header_max_bytes: StanzaSize = 10_000  # each element before authentication
    preauth_max_elements: Positive = 32
    sasl_tries_per_stream: Annotated[int, Field(ge=1, le=5)] = 3  # RFC 6120 §6.4.5: 2 to 5 retries
    sessions_per_account: Positive = 10
    s2s_streams_in_per_domain: Positive = 4

    # XML and stanzas.
    c2s_stanza_max_bytes: StanzaSize = 262_144
    s2s_stanza_max_bytes: StanzaSize = 524_288
    xml_max_depth: Annotated[int, Field(ge=16)] = 64
    xml_max_attributes: Annotated[int, Field(ge=16)] = 64
    xml_max_elements: Annotated[int, Field(ge=64)] = 4096

    # Deadlines.
    tls_handshake_seconds: Positive = 20
    c2s_auth_seconds: Positive = 60
    s2s_auth_seconds: Positive = 90
    idle_ping_seconds: Positive = 300
    c2s_idle_seconds: Positive = 900
    s2s_idle_seconds: Positive = 3600
    connect_seconds: Positive = 10  # each address
    dns_seconds: Positive = 10  # each try, of two
    iq_seconds: Positive = 90

    # Readers that do not read.
    send_buffer_max_bytes: Positive = 1_048_576
    send_stalled_seconds: Positive = 60

    # Posts and pages.
    payload_max_bytes: Positive = 65_536
    post_max_characters: Positive = 5000
    rsm_page_items: Positive = 50
    rsm_page_max_items: Positive = 100

    # What an account or a remote domain may own.
    nodes_per_account: Positive = 200
    follows_total: Positive = 7500
    subscriptions_per_remote_domain: Positive = 10_000
    remote_storage_bytes: Positive = 268_435_456
    remote_storage_items: Positive = 100_000
    remote_copies_days: Positive = 90
    strangers_per_day: Positive = 200  # items of one domain that nobody here follows, to people here
    strangers_first_day: Positive = 20  # and on the day on which it is first heard of
    clock_ahead_accepted_seconds: Positive = 300
    clock_ahead_clamped_seconds: Positive = 86_400

    # Queues and storage.
    write_queue_max: Positive = 10_000
    s2s_queue_max_stanzas: Positive = 1000  # stanzas of people, in memory
    outbox_retry_first_seconds: Positive = 30
    outbox_retry_max_seconds: Positive = 3600  # on the first day
    outbox_retry_week_seconds: Positive = 21_600  # until day 7
    outbox_retry_month_seconds: Positive = 86_400  # after that
    outbox_retry_days: Positive = 30
    outbox_retry_jitter_percent: Annotated[int, Field(ge=0, le=100)] = 25
    fan_out_domains: Positive = 100  # owed a post in one transaction; others behind it
    backlog_max_rows: Positive = 10_000  # of a domain; then marks stand for them
    backlog_max_seconds: Positive = 86_400  # likewise
    backlog_items_per_feed: Positive = 5000  # the newest; what a domain that was away is told of a feed
    free_disk_min_bytes: Annotated[int, Field(ge=0)] = 268_435_456

    def rate(self, number: int) -> int | None:
        """The number, or None when rates are off: `limits.rate(limits.posts_per_3_hours)`."""
        return number if self.rates else None

    @model_validator(mode="after")
    def _in_order(self) -> "Limits":
        for small, large in (
            ("rsm_page_items", "rsm_page_max_items"),
            ("outbox_retry_first_seconds", "outbox_retry_max_seconds"),
            ("idle_ping_seconds", "c2s_idle_seconds"),
            ("idle_ping_seconds", "s2s_idle_seconds"),
            ("clock_ahead_accepted_seconds", "clock_ahead_clamped_seconds"),
        ):
            if getattr(self, small) > getattr(self, large):
                raise ValueError(f"has {small} greater than {large}")
        return self


class Config(Section):
    """The whole file."""

    node: NodeSection = Field(default_factory=NodeSection)
    c2s: C2SConfig = Field(default_factory=C2SConfig)
    s2s: S2SConfig = Field(default_factory=S2SConfig)
    tls: TLSConfig = Field(default_factory=TLSConfig)
    database: DatabaseConfig = Field(default_factory=DatabaseConfig)
    accounts: AccountsConfig = Field(default_factory=AccountsConfig)
    border: BorderConfig = Field(default_factory=BorderConfig)
    programs: ProgramsConfig = Field(default_factory=ProgramsConfig)
    limits: Limits = Field(default_factory=Limits)

    @property
    def database_url(self) -> str:
        """Where the database is, as SQLAlchemy wants it."""
        return self.database.url or f"sqlite:///{self.node.data / 'microblog.db'}"

    @property
    def certificate_path(self) -> Path:
        """The configured certificate, or the place of the one we make."""
        return self.tls.certificate or self.node.data / "certificate.pem"

    @property
    def key_path(self) -> Path:
        """The configured key, or the place of the one we make."""
        return self.tls.key or self.node.data / "key.pem"

    @property
    def own_certificate(self) -> bool:
        """No certificate was configured: a self-signed one is made when there is none yet."""
        return self.tls.certificate is None


def find_config(explicit: Path | None = None) -> Path | None:
    """The file to load: the one asked for, the local one, the system's; None means the defaults."""
    if explicit is not None:
        return explicit
    return next((path for path in (LOCAL_FILE, SYSTEM_FILE) if path.is_file()), None)


def load(path: Path | None) -> Config:
    """Read the file; None gives the defaults with paths from the current folder.

    Raises: ConfigError: with every fault that could be found.
    """
    if path is None:
        return parse({}, Path.cwd())
    path = path.expanduser().absolute()
    try:
        text = path.read_text(encoding="utf-8")
        mapping = tomllib.loads(text)
    except OSError as error:
        raise ConfigError([Fault("", f"cannot be read: {error.strerror}")], path) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Fault("", "is not UTF-8 text")], path) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_fault(str(error), text)], path) from error
    try:
        return parse(mapping, path.parent)
    except ConfigError as error:
        lines = _key_lines(text)
        raise ConfigError([fault._replace(line=_line_of(fault.key, lines)) for fault in error.faults], path) from error


def parse(mapping: Mapping[str, Any], base: Path) -> Config:
    """Make a Config of plain values, as tests do; relative paths count from `base`.

    Raises: ConfigError: with every fault.
    """
    # A section left out must still see the base folder, hence the empty ones.
    whole = {name: {} for name in Config.model_fields} | dict(mapping)
    try:
        return Config.model_validate(whole, context={"base": base})
    except ValidationError as error:
        raise ConfigError([_fault(dict(detail)) for detail in error.errors()]) from error


def _fault(detail: dict[str, Any]) -> Fault:
    location: tuple[str | int, ...] = detail["loc"]
    # A fault in the name of a route is located at that name, followed by this word.
    if location and location[-1] == "[key]":
        location = location[:-1]
    return Fault(_dotted(location), _sentence(detail, location))


def _dotted(location: Sequence[str | int]) -> str:
    dotted = ""
    for part in location:
        if isinstance(part, int):
            dotted += f"[{part}]"
        else:
            name = part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else f'"{part}"'
            dotted += f".{name}" if dotted else name
    return dotted


def _sentence(detail: dict[str, Any], location: Sequence[str | int]) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown(location)
        case "value_error":
            return str(context["error"])
        case "bool_type":
            return "must be true or false"
        case "int_type":
            return "must be a whole number"
        case "string_type" | "is_instance_of" | "dataclass_type" | "dataclass_exact_type":
            return "must be text in quotes"
        case "tuple_type":
            return "must be a list in [ ]"
        case "model_type" | "mapping_type" | "dict_type":
            return "must be a table"
        case "literal_error":
            return f"must be one of {context['expected'].replace(chr(39), chr(34))}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case _:
            return str(detail["msg"])


def _unknown(location: Sequence[str | int]) -> str:
    known: Mapping[str, Any] = Config.model_fields
    if len(location) > 1:
        section = known[str(location[0])].annotation
        known = section.model_fields
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f'is not a known key; did you mean "{near[0]}"?' if near else "is not a known key"


def _syntax_fault(message: str, text: str) -> Fault:
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    if not found:
        return Fault("", f"is not TOML: {message}")
    line = int(found[1]) if found[1] else len(text.splitlines())
    return Fault("", f"is not TOML: {message[: found.start()]}", line)


def _key_lines(text: str) -> dict[str, int]:
    """Where each dotted key stands, as far as a look at each line can tell."""
    lines: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[([A-Za-z0-9_.-]+)\]", line):
            table = header[1]
            lines.setdefault(table, number)
        elif key := re.match(r"""\s*("[^"]*"|[A-Za-z0-9_-]+)\s*=""", line):
            lines.setdefault(f"{table}.{key[1]}" if table else key[1], number)
    return lines


def _line_of(key: str, lines: Mapping[str, int]) -> int | None:
    while key:
        if key in lines:
            return lines[key]
        key = re.sub(r'(\[\d+\]|\.?"[^"]*"|\.?[^."\[\]]+)$', "", key)
    return None
