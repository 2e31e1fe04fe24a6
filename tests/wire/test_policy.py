"""Lists of domains as nodes write them to each other."""

import pytest

from microblog.model.policy import Grade, Rule
from microblog.wire.notification import NoticedItem
from microblog.wire.policy import POLICY, read_rules, write_rule
from microblog.wire.xml import parse


def read(payload: str, item_id: str = "spam.example") -> list[Rule]:
    return read_rules([NoticedItem(id=item_id, publisher=None, payload=parse(payload) if payload else None)], "a list")


def test_what_is_written_is_read() -> None:
    rule = Rule(domain="spam.example", grade=Grade.REFUSED, reason="spam & <lies>")
    assert write_rule(rule) == (
        f"<domain xmlns='{POLICY}' name='spam.example' grade='refused'>"
        "<reason>spam &amp; &lt;lies&gt;</reason></domain>"
    )
    assert read(write_rule(rule)) == [
        Rule(domain="spam.example", grade=Grade.REFUSED, reason=rule.reason, source="a list")
    ]


@pytest.mark.parametrize("grade", ["silenced", "no-media", "refused"])
def test_grades(grade: str) -> None:
    (rule,) = read(f"<domain xmlns='{POLICY}' name='Spam.Example.' grade='{grade}'/>")
    assert (rule.domain, rule.grade) == ("spam.example", grade)


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "<domain xmlns='urn:x-microblog:policy:1' name='spam.example' grade='refused'/>",
        f"<domain xmlns='{POLICY}' name='spam.example'/>",
        f"<domain xmlns='{POLICY}' name='spam.example' grade='allowed'/>",
        f"<domain xmlns='{POLICY}' name='spam.example' grade='hanged'/>",
        f"<domain xmlns='{POLICY}' grade='refused'/>",
        f"<domain xmlns='{POLICY}' name='two..dots' grade='refused'/>",
        f"<domain xmlns='{POLICY}' name='other.example' grade='refused'/>",
        f"<entry xmlns='{POLICY}' name='spam.example' grade='refused'/>",
    ],
)
def test_what_says_nothing_is_passed_over(payload: str) -> None:
    assert read(payload) == []


def test_a_reason_is_short_and_in_one_line() -> None:
    (rule,) = read(
        f"<domain xmlns='{POLICY}' name='spam.example' grade='refused'><reason>a\n  b{'c' * 1000}</reason></domain>"
    )
    assert rule.reason.startswith("a bc") and len(rule.reason) == 500
