"""``urn:x-microblog:policy:0``: rules for domains as items of a pubsub node, so that nodes can go by each other's.

An item's id is the domain; its payload says what the list's owner does with the domain and all below it, and why::

    <domain xmlns='urn:x-microblog:policy:0' name='spam.example' grade='refused'><reason>spam</reason></domain>
"""

from collections.abc import Iterable
from typing import Final

from microblog.model import jid
from microblog.model.errors import JIDMalformed
from microblog.model.policy import Grade, Rule
from microblog.wire.notification import NoticedItem
from microblog.wire.xml import Element, to_text

POLICY: Final = "urn:x-microblog:policy:0"
REASON_MAX_CHARACTERS: Final = 500
_RESTRICTING: Final = {grade.value: grade for grade in Grade if grade is not Grade.ALLOWED}


def write_rule(rule: Rule) -> str:
    """The payload of an item."""
    assert rule.grade is not None
    reason = Element(POLICY, "reason", None, rule.reason) if rule.reason else None
    return to_text(Element(POLICY, "domain", {"name": rule.domain, "grade": rule.grade.value}, reason))


def read_rules(items: Iterable[NoticedItem], source: str) -> list[Rule]:
    """What items say; those that say nothing that restricts, or not what their id says, are passed over."""
    found = (_read_rule(item, source) for item in items)
    return [rule for rule in found if rule is not None]


def _read_rule(item: NoticedItem, source: str) -> Rule | None:
    payload = item.payload
    if payload is None or not payload.is_(POLICY, "domain"):
        return None
    grade = _RESTRICTING.get(payload.get("grade") or "")
    try:
        domain = jid.domain(payload.get("name") or "")
    except JIDMalformed:
        return None
    if grade is None or domain != item.id:
        return None
    reason = " ".join((payload.child_text(POLICY, "reason") or "").split())[:REASON_MAX_CHARACTERS]
    return Rule(domain=domain, grade=grade, reason=reason, source=source)
