"""XEP-0133: what administrators ask about accounts."""

import pytest

from microblog.model.errors import ItemNotFound, NotAcceptable
from microblog.model.jid import JID
from microblog.store.transaction import Transaction
from microblog.usecases import administering, registering
from tests.conftest import DOMAIN

NAMES = ("benvolio", "juliet", "mercutio", "romeo", "tybalt")


@pytest.fixture
def verona(tx: Transaction) -> Transaction:
    for name in reversed(NAMES):
        registering.create_account(tx, name, ())
    registering.disable(tx, "mercutio")
    registering.disable(tx, "tybalt")
    return tx


def test_they_are_counted(verona: Transaction) -> None:
    counted = [administering.count(verona, disabled=disabled) for disabled in (None, True, False)]
    assert counted == [5, 2, 3]


def test_they_are_listed_page_by_page(verona: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administering, "PAGE", 2)
    assert administering.page(verona, "") == NAMES[:2]
    assert administering.page(verona, "juliet") == NAMES[2:4]
    assert administering.page(verona, "romeo") == NAMES[4:]
    assert administering.page(verona, "", disabled=True) == ("mercutio", "tybalt")


def test_addresses_are_of_accounts_here(verona: Transaction) -> None:
    romeo = JID("romeo", DOMAIN)
    (found,) = administering.accounts(verona, [romeo, romeo.with_resource("a")])
    assert found.localpart == "romeo"
    with pytest.raises(ItemNotFound, match="paris"):
        administering.accounts(verona, [romeo, JID("paris", DOMAIN)])
    for wrong in (JID("romeo", "capulet.example"), JID("", DOMAIN)):
        with pytest.raises(NotAcceptable):
            administering.accounts(verona, [wrong])
