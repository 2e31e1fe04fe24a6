"""People make rules, look at them and end them; so do those whom others' rules are about.

A rule that goes by where somebody is waits until they allow it, by the name of whose rule it is; they are asked once.
Whoever a rule is about sees it, and can end it.
"""

from dataclasses import dataclass
from typing import Final

from microblog.model import rule as rules
from microblog.model.account import Account
from microblog.model.errors import Forbidden, ItemNotFound, JIDMalformed, NotAcceptable, ResourceConstraint
from microblog.model.jid import JID
from microblog.model.rule import KeptRule, Named, Rule, Then
from microblog.store.places import Consent
from microblog.store.transaction import Transaction
from microblog.usecases import calling, chatting, locating
from microblog.usecases.settling import LANGUAGE

RULES_MAX: Final = 50
ABOUT_SHOWN: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """Somebody makes a rule, as they wrote it."""

    account: Account
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """``asks``: who is to be asked, in which language; ``waits``: who has been and has not answered yet."""

    number: int
    rule: Rule
    asks: JID | None = None
    language: str = "en"
    waits: JID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A rule as it is shown. ``waits``: whoever it goes by has not allowed it."""

    kept: KeptRule
    waits: bool = False


def make(tx: Transaction, request: Make) -> Made:
    """Make a rule.

    Raises: NotAcceptable for what is no rule, ItemNotFound for a program or a person that there is not, Forbidden for
    whom the rule is about and who does not want it, ResourceConstraint.
    """
    account, me = request.account, request.account.jid(tx.domain)
    names = Named(
        me=me,
        person=lambda name: _person(tx, name),
        place=lambda name: locating.find(tx, account.key, name),
    )
    try:
        rule = rules.read(request.text, names)
    except ValueError as error:
        raise NotAcceptable(str(error)) from error
    if tx.rules.count(account.key) >= RULES_MAX:
        raise ResourceConstraint(f"You have {RULES_MAX} rules, and nobody may have more.")
    if rule.then is Then.CALL and not calling.exists(tx, account.key, rule.text):
        raise ItemNotFound(f"You have no program called {rule.text[:80]}.")
    subject = rule.subject
    if not rule.needs_consent or subject is None or subject == me:
        return Made(number=tx.rules.add(account.key, rule, subject), rule=rule)
    other = tx.accounts.get(subject.localpart) if subject.domainpart == tx.domain else None
    if other is None or other.disabled:
        raise ItemNotFound(f"Where {subject} is is not known here: it is told to nobody but one's own node.")
    try:
        if tx.blocks.between(subject, me):
            raise Forbidden("they do not want that")
        asks = locating.check_ask(tx, other, me)
    except Forbidden as error:
        raise Forbidden(f"{subject.localpart} does not allow your rules to go by where they are.") from error
    except ResourceConstraint as error:
        raise ResourceConstraint("You have asked many people where they are: wait until some have answered.") from error
    number = tx.rules.add(account.key, rule, subject)
    if asks:
        tx.locations.set_consent(other.key, me, Consent.ASKED)
        language = tx.preferences.get(other.key, LANGUAGE) or "en"
        return Made(number=number, rule=rule, asks=subject, language=language)
    waits = locating.consented(tx, other, me) is not Consent.ALLOWED
    return Made(number=number, rule=rule, waits=subject if waits else None)


def own(tx: Transaction, account: Account) -> tuple[Listed, ...]:
    """All of somebody's."""
    me = account.jid(tx.domain)
    return tuple(Listed(kept=kept, waits=_waits(tx, kept, me)) for kept in tx.rules.of(account.key))


def about(tx: Transaction, account: Account) -> tuple[Listed, ...]:
    """Others' that are about somebody."""
    me = account.jid(tx.domain)
    found = tx.rules.about(account.key, me, ABOUT_SHOWN)
    return tuple(
        Listed(
            kept=kept,
            waits=kept.rule.needs_consent and locating.consented(tx, account, kept.owner) is not Consent.ALLOWED,
        )
        for kept in found
    )


def end(tx: Transaction, account: Account, number: int, owner: JID | None = None) -> KeptRule:
    """End a rule of one's own, or somebody else's that is about oneself. Raises ItemNotFound."""
    me = account.jid(tx.domain)
    if owner is None or owner == me:
        found = tx.rules.get(account.key, number)
    else:
        other = tx.accounts.get(owner.localpart) if owner.domainpart == tx.domain else None
        found = None if other is None else tx.rules.get(other.key, number)
        if found is not None and found.rule.subject != me:
            found = None
    if found is None:
        raise ItemNotFound("no such rule")
    tx.rules.remove(found.key)
    return found


def end_all(tx: Transaction, account: Account) -> tuple[KeptRule, ...]:
    """End all of one's own."""
    found = tuple(tx.rules.of(account.key))
    for kept in found:
        tx.rules.remove(kept.key)
    return found


def _waits(tx: Transaction, kept: KeptRule, me: JID) -> bool:
    subject = kept.rule.subject
    if not kept.rule.needs_consent or subject is None or subject == me:
        return False
    other = tx.accounts.get(subject.localpart)
    return other is None or locating.consented(tx, other, me) is not Consent.ALLOWED


def _person(tx: Transaction, name: str) -> JID | None:
    """Somebody here by name, or anybody by address."""
    name = name.removeprefix("xmpp:").removeprefix("@")
    if "@" not in name:
        return chatting.account_named(tx, name)
    try:
        jid = JID.parse(name).bare
    except JIDMalformed:
        return None
    return chatting.account_named(tx, jid.localpart) if jid.domainpart == tx.domain else jid
