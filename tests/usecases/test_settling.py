import pytest

from microblog.model.account import Account, derive_keys
from microblog.model.errors import ItemNotFound, NotAcceptable, Refusal
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.store.database import Transaction
from microblog.usecases import registering, settling
from microblog.usecases.settling import Set
from tests.conftest import DOMAIN

KEYS = derive_keys("pencil")


def romeo(tx: Transaction, audience: Audience = Audience.PUBLIC) -> Account:
    return tx.accounts.get("romeo") or registering.create_account(tx, "romeo", KEYS, audience=audience)


def change(tx: Transaction, name: str, value: str) -> str:
    return settling.change(tx, Set(account=romeo(tx), name=name, value=value, languages=("en", "it")))


def test_what_nobody_has_set(tx: Transaction) -> None:
    assert settling.settings(tx, romeo(tx)) == {
        "audience": "public",
        "commands": "plain",
        "digest": "on",
        "lang": "auto",
        "limit": "10",
        "public-lists": "off",
    }


@pytest.mark.parametrize(
    ("name", "value", "now"),
    [
        ("audience", "followers", "followers"),
        ("audience", "Friends", "followers"),
        ("audience", "local", "local"),
        ("commands", "slash", "slash"),
        ("digest", "no", "off"),
        ("lang", " IT ", "it"),
        ("limit", "007", "7"),
        ("limit", "50", "50"),
        ("public-lists", "yes", "on"),
    ],
)
def test_settings_are_set_seen_and_unset(tx: Transaction, name: str, value: str, now: str) -> None:
    before = settling.settings(tx, romeo(tx))
    assert change(tx, name, value) == now
    assert settling.settings(tx, romeo(tx)) == before | {name: now}
    assert change(tx, name, "default") == before[name]
    assert settling.settings(tx, romeo(tx)) == before
    assert tx.preferences.of(romeo(tx).key) == {}


@pytest.mark.parametrize(
    ("name", "value", "refusal"),
    [
        ("colour", "red", ItemNotFound),
        ("audience", "direct", NotAcceptable),
        ("audience", "everybody", NotAcceptable),
        ("commands", "dot", NotAcceptable),
        ("lang", "de", NotAcceptable),
        ("limit", "0", NotAcceptable),
        ("limit", "51", NotAcceptable),
        ("limit", "-1", NotAcceptable),
        ("limit", "1e1", NotAcceptable),
        ("limit", "9" * 400, NotAcceptable),
        ("limit", "٣", NotAcceptable),
        ("public-lists", "x" * 10_000, NotAcceptable),
    ],
)
def test_what_cannot_be_set(tx: Transaction, name: str, value: str, refusal: type[Refusal]) -> None:
    before = settling.settings(tx, romeo(tx))
    with pytest.raises(refusal):
        change(tx, name, value)
    assert settling.settings(tx, romeo(tx)) == before


def test_no_post_is_for_more_than_the_feed(tx: Transaction) -> None:
    romeo(tx, Audience.FOLLOWERS)
    assert settling.settings(tx, romeo(tx))["audience"] == "followers"
    with pytest.raises(NotAcceptable):
        change(tx, "audience", "public")
    change(tx, "audience", "local")
    assert change(tx, "audience", "default") == "followers"
    node = tx.nodes.find(JID("romeo", DOMAIN), MICROBLOG)
    assert node is not None and node.config.default_audience is Audience.FOLLOWERS


def test_settings_go_with_the_account(tx: Transaction) -> None:
    change(tx, "commands", "slash")
    key = romeo(tx).key
    tx.accounts.remove(romeo(tx))
    assert tx.preferences.get(key, "commands") is None
