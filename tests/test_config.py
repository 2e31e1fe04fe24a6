"""The configuration file: its defaults, its faults, its sample."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from microblog import config
from microblog.config import Config, ConfigError, Endpoint

SAMPLE = Path(__file__).parent.parent / "etc" / "microblog.toml"


def faults(mapping, base=Path("/srv")):
    """The dotted keys and sentences that reading these values gives."""
    with pytest.raises(ConfigError) as caught:
        config.parse(mapping, base)
    return {fault.key: fault.sentence for fault in caught.value.faults}


def test_the_sample_is_the_defaults():
    mapping = tomllib.loads(SAMPLE.read_text())
    assert config.parse(mapping, Path("/srv")) == config.parse({}, Path("/srv"))


def test_the_sample_has_every_key_and_explains_each_section():
    mapping = tomllib.loads(SAMPLE.read_text())
    sections = Config.model_fields
    assert list(mapping) == list(sections)
    for name, field in sections.items():
        assert set(mapping[name]) == set(field.annotation.model_fields)


def test_a_missing_file_section_and_key_take_the_default(tmp_path):
    file = tmp_path / "microblog.toml"
    file.write_text('[c2s]\nlisten = ["[::1]:0"]\n')
    loaded = config.load(file)
    assert loaded.c2s.listen == (Endpoint("::1", 0),)
    assert loaded.c2s.direct_tls == (Endpoint("127.0.0.1", 5223),)
    assert loaded.node.domain == "localhost"


def test_relative_paths_count_from_the_folder_of_the_file(tmp_path, monkeypatch):
    node = tmp_path / "node"
    node.mkdir()
    (node / "my.toml").write_text(
        '[node]\ndata = "data"\n[tls]\ncertificate = "c.pem"\nkey = "/etc/k.pem"\n[database]\nurl = "sqlite:///m.db"\n'
    )
    monkeypatch.chdir(tmp_path)
    loaded = config.load(Path("node/my.toml"))
    assert loaded.node.data == node / "data"
    assert loaded.certificate_path == node / "c.pem"
    assert loaded.key_path == Path("/etc/k.pem")
    assert loaded.database_url == f"sqlite:///{node}/m.db"
    assert not loaded.own_certificate


def test_without_a_file_paths_count_from_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    loaded = config.load(None)
    assert loaded.node.data == tmp_path / "microblog-data"
    assert loaded.database_url == f"sqlite:///{tmp_path}/microblog-data/microblog.db"
    assert loaded.certificate_path.parent == loaded.key_path.parent == loaded.node.data
    assert loaded.own_certificate
    assert loaded.tls.trust_roots is None


def test_the_file_asked_for_comes_before_the_local_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "system.toml")
    assert config.find_config() is None
    (tmp_path / "system.toml").touch()
    assert config.find_config() == tmp_path / "system.toml"
    (tmp_path / "microblog.toml").touch()
    assert config.find_config() == Path("microblog.toml")
    assert config.find_config(Path("absent.toml")) == Path("absent.toml")


def test_all_faults_are_told_at_once_with_file_and_line(tmp_path):
    file = tmp_path / "microblog.toml"
    file.write_text('[node]\ndomain = "two..dots"\n\n[c2s]\nlisen = []\n\n[limits]\nrates = "no"\niq_seconds = 0\n')
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    lines = caught.value.lines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{file}:2: node.domain ")
    assert f'{file}:5: c2s.lisen is not a known key; did you mean "listen"?' in lines
    assert f"{file}:8: limits.rates must be true or false" in lines
    assert f"{file}:9: limits.iq_seconds must be at least 1" in lines
    assert str(caught.value) == "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[node]\ndomain = \n", 2, "is not TOML: Invalid value"),
        ('[node]\ndomain = "a"\ndomain = "b"\n', 3, "is not TOML"),
        ('[node]\ndomain = """', 2, "is not TOML"),
    ],
)
def test_a_syntax_error_is_told_with_its_line(tmp_path, text, line, said):
    file = tmp_path / "microblog.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    (fault,) = caught.value.faults
    assert fault.line == line
    assert fault.sentence.startswith(said)


def test_a_file_that_cannot_be_read_is_a_fault(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        config.load(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        config.load(tmp_path)
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config.load(latin)


@pytest.mark.parametrize(
    ("mapping", "key", "said"),
    [
        ({"node": {"domain": 5}}, "node.domain", "must be text in quotes"),
        ({"node": {"domain": ""}}, "node.domain", ""),
        ({"node": {"data": ""}}, "node.data", "must not be empty"),
        ({"node": []}, "node", "must be a table"),
        ({"nod": {}}, "nod", 'is not a known key; did you mean "node"?'),
        ({"c2s": {"listen": "127.0.0.1:5222"}}, "c2s.listen", "must be a list in [ ]"),
        ({"c2s": {"listen": [5222]}}, "c2s.listen[0]", "must be text in quotes"),
        ({"c2s": {"listen": ["127.0.0.1:1", "here:2"]}}, "c2s.listen[1]", "must begin with an IP address"),
        ({"s2s": {"dialback": "maybe"}}, "s2s.dialback", 'must be one of "never", "public" or "always"'),
        ({"s2s": {"routes": {"a b": "h:1"}}}, 's2s.routes."a b"', ""),
        (
            {"s2s": {"routes": {"south.example": "h:0"}}},
            's2s.routes."south.example"',
            "needs a port other than 0",
        ),
        ({"tls": {"certificate": "c.pem"}}, "tls", "needs certificate and key together, or neither"),
        ({"database": {"url": "mysql://h/db"}}, "database.url", "must begin with"),
        ({"database": {"url": "sqlite://"}}, "database.url", "must begin with"),
        ({"accounts": {"audience": "direct"}}, "accounts.audience", "must be one of"),
        ({"limits": {"rates": 0}}, "limits.rates", "must be true or false"),
        ({"limits": {"iq_seconds": True}}, "limits.iq_seconds", "must be a whole number"),
        ({"limits": {"iq_seconds": 1.5}}, "limits.iq_seconds", "must be a whole number"),
        ({"limits": {"c2s_stanza_max_bytes": 9999}}, "limits.c2s_stanza_max_bytes", "must be at least 10000"),
        ({"limits": {"sasl_tries_per_stream": 6}}, "limits.sasl_tries_per_stream", "must be at most 5"),
        ({"limits": {"rsm_page_items": 101}}, "limits", "has rsm_page_items greater than rsm_page_max_items"),
    ],
)
def test_a_wrong_value_is_named_in_words(mapping, key, said):
    found = faults(mapping)
    assert list(found) == [key]
    assert found[key].startswith(said)


def test_domains_take_their_one_canonical_form():
    parsed = config.parse(
        {
            "node": {"domain": "Bücher.Example"},
            "s2s": {"routes": {"SOUTH.example": "127.0.0.3:5269", "a.example": "xmpps://[::1]:5270"}},
        },
        Path("/srv"),
    )
    assert parsed.node.domain == "xn--bcher-kva.example"
    assert parsed.s2s.routes == {
        "south.example": Endpoint("127.0.0.3", 5269),
        "a.example": Endpoint("::1", 5270, direct_tls=True),
    }


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_gets_the_driver_we_ship_with(scheme):
    parsed = config.parse({"database": {"url": f"{scheme}://romeo@localhost/microblog"}}, Path("/srv"))
    assert parsed.database_url == "postgresql+psycopg://romeo@localhost/microblog"


def test_rates_can_be_turned_off_but_sizes_stay():
    on, off = config.Limits(), config.Limits(rates=False)
    assert on.rate(on.posts_per_3_hours) == 300
    assert off.rate(off.posts_per_3_hours) is None
    assert off.payload_max_bytes == on.payload_max_bytes


def test_nothing_can_be_changed_afterwards():
    with pytest.raises(ValidationError):
        config.Config().node.domain = "montague.example"


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("127.0.0.1:5222", Endpoint("127.0.0.1", 5222)),
        ("[::1]:0", Endpoint("::1", 0)),
        ("[2001:DB8:0::1]:65535", Endpoint("2001:db8::1", 65535)),
        ("xmpp.south.example:5269", Endpoint("xmpp.south.example", 5269)),
    ],
)
def test_endpoint_reads_and_writes(text, endpoint):
    assert Endpoint.parse(text) == endpoint
    assert Endpoint.parse(str(endpoint)) == endpoint


@pytest.mark.parametrize(
    "text", ["", "5222", ":5222", "h:", "h:65536", "h:-1", "h:1x", "::1:5222", "[::1]", "[h]:1", "h:\u0665"]
)
def test_endpoint_refuses(text):
    with pytest.raises(ValueError, match=r"must be|no IPv6"):
        Endpoint.parse(text)


@given(st.text())
def test_endpoint_reads_or_raises_value_error(text):
    try:
        endpoint = Endpoint.parse(text)
    except ValueError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Config.model_fields, "other"]), VALUES))
def test_any_values_give_a_config_or_a_config_error(mapping):
    try:
        config.parse(mapping, Path("/srv"))
    except ConfigError as error:
        assert error.faults
        assert all(line.isprintable() for line in error.lines())
