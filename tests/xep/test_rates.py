"""How much one account may do in a time."""

import pytest
from twisted.internet.task import Clock as ReactorClock

from microblog.config import Limits
from microblog.model.errors import ResourceConstraint
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.xep.rates import COUNTED_MAX, LINKS_PER_HOUR, PersonalRates, Rate

ROMEO = JID.parse("romeo@montague.example")
BENVOLIO = JID.parse("benvolio@montague.example")
JULIET = JID.parse("juliet@capulet.example")


def test_posts_have_a_rate_for_the_minute_and_one_for_three_hours() -> None:
    time = ReactorClock()
    rates = PersonalRates(Clock(time), Limits(posts_burst_per_minute=2, posts_per_3_hours=3))
    rates.post(ROMEO)
    rates.post(ROMEO)
    with pytest.raises(ResourceConstraint):
        rates.post(ROMEO)
    rates.post(JULIET)
    time.advance(60)
    rates.post(ROMEO)
    with pytest.raises(ResourceConstraint):
        rates.post(ROMEO)
    time.advance(3 * 3600)
    rates.post(ROMEO)


def test_follows_have_a_rate_for_the_day() -> None:
    time = ReactorClock()
    rates = PersonalRates(Clock(time), Limits(follows_per_day=1))
    rates.follow(ROMEO)
    with pytest.raises(ResourceConstraint):
        rates.follow(ROMEO)
    time.advance(86_400)
    rates.follow(ROMEO)


def test_without_rates_nothing_is_counted() -> None:
    rates = PersonalRates(Clock(ReactorClock()), Limits(rates=False, posts_burst_per_minute=1, follows_per_day=1))
    for _ in range(3):
        rates.post(ROMEO)
        rates.follow(ROMEO)


def test_what_is_remembered_is_bounded() -> None:
    rate = Rate(Clock(ReactorClock()), 1, 60)
    for number in range(2 * COUNTED_MAX):
        rate.allow(number)
    assert len(rate) <= COUNTED_MAX + 1


def test_guests_have_the_same_rates_and_their_domain_one_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microblog.xep.rates.GUESTS_PER_HOUR", 4)
    time = ReactorClock()
    rates = PersonalRates(Clock(time), Limits(posts_burst_per_minute=3, posts_per_3_hours=1))
    rates.visit(JULIET)
    with pytest.raises(ResourceConstraint):
        rates.visit(JULIET)
    rates.visit(JULIET, post=False)
    with pytest.raises(ResourceConstraint):
        rates.visit(JULIET, post=False)
    for name in ("nurse", "tybalt"):
        rates.visit(JID(name, "capulet.example"), post=False)
    with pytest.raises(ResourceConstraint):
        rates.visit(JID("capulet", "capulet.example"), post=False)
    rates.post(ROMEO)


def test_addresses_are_asked_a_few_times_an_hour() -> None:
    """Those whom an account names, and an account by whoever it is."""
    time = ReactorClock()
    rates = PersonalRates(Clock(time), Limits())
    for _ in range(LINKS_PER_HOUR):
        rates.link(ROMEO)
        assert rates.asked(ROMEO)
    with pytest.raises(ResourceConstraint):
        rates.link(ROMEO)
    assert not rates.asked(ROMEO)
    rates.link(BENVOLIO)
    assert rates.asked(BENVOLIO)
    time.advance(3600)
    rates.link(ROMEO)
    assert rates.asked(ROMEO)
