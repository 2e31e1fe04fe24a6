from microblog.store.database import Database, Transaction


def test_a_value_is_remembered_and_replaced(tx: Transaction) -> None:
    assert tx.settings.get("epoch") is None
    tx.settings.set("epoch", "1")
    tx.settings.set("epoch", "2")
    assert tx.settings.get("epoch") == "2"


def test_a_secret_is_256_bits_and_stays_the_same(database: Database) -> None:
    first = database.run(lambda tx: tx.settings.secret("scram"))
    assert len(first) == 32
    assert database.run(lambda tx: tx.settings.secret("scram")) == first
    assert database.run(lambda tx: tx.settings.secret("dialback")) != first
