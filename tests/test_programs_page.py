"""docs/programs.md: its examples are what is said and what works."""

import json
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from microblog import plugin
from microblog.model.program import Source
from microblog.usecases import hooking, informing
from microblog.wire import events, webhook
from microblog.xep import webhooks
from tests.xmltext import read_all

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "programs.md").read_text()
SECRET = webhook.new_secret()


def code(language: str) -> list[str]:
    blocks = re.findall(r"^```(\w*)\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [text for named, text in blocks if named == language]


def is_genuine(headers: dict[str, str], body: bytes) -> bool:
    """By the function on the page."""
    (text,) = code("python")
    names: dict[str, Any] = {}
    exec(text, names)
    result: bool = names["is_genuine"](headers, body, SECRET)
    return result


def signed(body: bytes, *, now: datetime | None = None) -> dict[str, str]:
    made = webhook.headers("e1", now or datetime.now(UTC), body, webhook.read_secret(SECRET))
    return {name.lower(): value for name, value in made.items()}


def test_the_function_on_the_page_recognises_what_the_node_says() -> None:
    headers = signed(b'{"id": "e1"}')
    assert is_genuine(headers, b'{"id": "e1"}')
    assert is_genuine(headers | {"webhook-signature": f"v1,AAAA {headers['webhook-signature']}"}, b'{"id": "e1"}')


def test_and_nothing_else() -> None:
    headers = signed(b"{}")
    assert not is_genuine(headers, b"{ }")
    assert not is_genuine(headers | {"webhook-id": "e2"}, b"{}")
    assert not is_genuine(headers | {"webhook-signature": "v1,AAAA"}, b"{}")
    assert not is_genuine(signed(b"{}", now=datetime(2026, 1, 1, tzinfo=UTC)), b"{}")


def test_the_event_on_the_page_has_what_events_have() -> None:
    (text,) = code("json")
    shown = json.loads(text)
    payload = shown["item"]["payload"]
    attributes = " ".join(f"{name}='{shown[name]}'" for name in ("id", "cursor", "kind", "source", "time", "author"))
    item = " ".join(f"{name}='{shown['item'][name]}'" for name in ("id", "audience", "published", "updated"))
    content = f"<item {item}>{payload}</item>"
    (event,) = read_all(
        f"<event xmlns='urn:x-microblog:events:0' {attributes} uri='{shown['address']}'>{content}</event>"
    )
    assert events.read_json(event) == shown


def test_every_source_is_on_the_page() -> None:
    table = PAGE.partition("## Sources")[2].partition("## Events")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(Source)


def test_what_is_said_to_the_command_line_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (plugin.Tap, plugin.HookAdd, plugin.HookList, plugin.HookTest, plugin.HookResume, plugin.HookRemove):
        monkeypatch.setattr(command, "act", lambda self: 0)
    lines = [line for block in code("") for line in block.replace("\\\n", " ").splitlines()]
    unit = (ROOT / "etc" / "microblog-tap.service").read_text().replace("\\\n", " ")
    lines += [line.partition("bin/")[2] for line in unit.splitlines() if line.startswith("ExecStart=")]
    said = [line for line in lines if line.startswith("twistd microblog ")]
    assert len(said) == 7
    for line in said:
        with pytest.raises(SystemExit) as caught:
            plugin.Options().parseOptions(shlex.split(line)[2:])
        assert caught.value.code == 0, line


def test_the_numbers_on_the_page() -> None:
    assert f"A call has {webhooks.CALL_SECONDS} seconds" in PAGE
    assert f"after {hooking.PAUSE_SECONDS} seconds" in PAGE
    assert f"An account has at most {hooking.EACH_MAX} webhooks" in PAGE
    assert f"up to {informing.PROGRAMS_MAX}, by name" in PAGE
    pauses = [min(hooking.PAUSE_SECONDS * 2**n, hooking.PAUSE_MAX_SECONDS) for n in range(hooking.FAILURES_MAX - 1)]
    assert 4.8 < sum(pauses) / 86_400 < 5.2
