"""Which of several rules counts for a domain."""

import pytest

from microblog.model.policy import Grade, Rule, Rules, covering


def rules(*said: tuple[str, Grade | None, str], mode: str = "open") -> Rules:
    return Rules.of(mode, [Rule(domain=domain, grade=grade, source=source) for domain, grade, source in said])  # type: ignore[arg-type]  # words for their types


def test_a_domain_and_all_above_it() -> None:
    assert list(covering("a.b.example")) == ["a.b.example", "b.example", "example"]


@pytest.mark.parametrize(
    ("domain", "grade"),
    [
        ("capulet.example", Grade.REFUSED),
        ("chat.capulet.example", Grade.REFUSED),
        ("a.chat.capulet.example", Grade.REFUSED),
        ("nurse.capulet.example", Grade.SILENCED),
        ("a.nurse.capulet.example", Grade.SILENCED),
        ("notcapulet.example", Grade.ALLOWED),
        ("verona.example", Grade.ALLOWED),
        ("example", Grade.ALLOWED),
    ],
)
def test_the_nearest_rule_counts_for_all_below_it(domain: str, grade: Grade) -> None:
    said = rules(("capulet.example", Grade.REFUSED, ""), ("nurse.capulet.example", Grade.SILENCED, ""))
    assert said.grade(domain) is grade
    assert said.refuses(domain) is (grade is Grade.REFUSED)


def test_the_strictest_of_several_lists_counts() -> None:
    said = rules(
        ("capulet.example", Grade.SILENCED, "one"),
        ("capulet.example", Grade.NO_MEDIA, "two"),
        ("chat.capulet.example", Grade.NO_MEDIA, "two"),
        ("chat.capulet.example", Grade.ALLOWED, "one"),
    )
    assert said.grade("capulet.example") is Grade.SILENCED
    assert said.grade("chat.capulet.example") is Grade.SILENCED


def test_what_the_administrator_says_counts_whatever_lists_say() -> None:
    said = rules(
        ("capulet.example", Grade.ALLOWED, ""),
        ("chat.capulet.example", Grade.REFUSED, "a list"),
        ("verona.example", Grade.REFUSED, ""),
        ("verona.example", Grade.SILENCED, "a list"),
    )
    assert said.grade("chat.capulet.example") is Grade.ALLOWED
    assert said.grade("verona.example") is Grade.REFUSED


def test_a_list_cannot_speak_of_a_whole_top_level_domain() -> None:
    of_list = rules(("example", Grade.REFUSED, "a list"), ("localhost", Grade.REFUSED, "a list"))
    assert of_list.grade("capulet.example") is Grade.ALLOWED
    assert of_list.grade("localhost") is Grade.REFUSED
    assert rules(("example", Grade.REFUSED, "")).grade("capulet.example") is Grade.REFUSED


def test_where_only_some_are_allowed_lists_let_nobody_in() -> None:
    said = rules(
        ("capulet.example", Grade.SILENCED, ""),
        ("verona.example", Grade.ALLOWED, "a list"),
        mode="allowlist",
    )
    assert said.grade("nurse.capulet.example") is Grade.SILENCED
    assert said.grade("verona.example") is Grade.REFUSED
    assert said.grade("mantua.example") is Grade.REFUSED


def test_whether_any_domain_is_refused() -> None:
    assert not rules(("capulet.example", Grade.SILENCED, "")).refuses_any
    assert rules(("capulet.example", Grade.REFUSED, "")).refuses_any
    assert rules(("capulet.example", Grade.REFUSED, "a list")).refuses_any
    assert rules(mode="allowlist").refuses_any


def test_a_permission_for_dialback_says_nothing_else() -> None:
    said = Rules.of(
        "open",
        [Rule(domain="capulet.example", dialback=True), Rule(domain="verona.example", source="a list", dialback=True)],
    )
    assert said.dialback_suffices("chat.capulet.example")
    assert not said.dialback_suffices("verona.example")
    assert said.grade("capulet.example") is Grade.ALLOWED
    assert Rules.of("allowlist", [Rule(domain="capulet.example", dialback=True)]).refuses("capulet.example")
