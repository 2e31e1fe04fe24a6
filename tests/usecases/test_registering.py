from collections.abc import Callable

import pytest

from microblog.model.account import HASHES, ITERATIONS, SHA_1, SHA_256, ScramKeys, derive_keys
from microblog.model.contact import Contact, Subscription
from microblog.model.errors import Conflict, ItemNotFound, JIDMalformed, NotAcceptable, NotAllowed, Refusal
from microblog.model.event import NodeDeleted
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel
from microblog.store import tables
from microblog.store.database import Database, Transaction, open_database
from microblog.usecases import noticing, owning, registering, rostering, subscribing
from microblog.wire import notification
from tests.conftest import DOMAIN, Time

ROMEO = JID("romeo", DOMAIN)
BENVOLIO = JID("benvolio", DOMAIN)
JULIET = JID.parse("juliet@capulet.example")
# Derived once: it takes its time.
KEYS = derive_keys("pencil")


def create(tx: Transaction, name: str = "romeo", **more: object) -> None:
    registering.create_account(tx, name, KEYS, **more)  # type: ignore[arg-type]


# Beginning


def test_a_new_account_has_its_microblog_node(tx: Transaction) -> None:
    account = registering.create_account(tx, "romeo", KEYS)
    assert (account.localpart, account.admin, account.disabled) == ("romeo", False, False)
    assert account.audience is Audience.PUBLIC and account.created == tx.now
    assert tx.accounts.get("romeo") == account
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None and node.config.access_model is AccessModel.OPEN


def test_the_audience_is_the_nodes_unless_said(time: Time) -> None:
    database = open_database("sqlite://", domain=DOMAIN, now=time.now, audience="followers")
    database.run(registering.create_account, "romeo", KEYS)
    database.run(registering.create_account, "benvolio", KEYS, audience=Audience.LOCAL)
    romeo, benvolio = (database.run(registering.get_account, name) for name in ("romeo", "benvolio"))
    assert (romeo.audience, benvolio.audience) == (Audience.FOLLOWERS, Audience.LOCAL)
    node = database.run(lambda tx: tx.nodes.find(ROMEO, MICROBLOG))
    assert node is not None and node.config.access_model is AccessModel.AUTHORIZE
    database.close()


def test_a_password_is_kept_as_keys_of_both_hashes(tx: Transaction) -> None:
    registering.create_account(tx, "romeo", "pencil")
    for hash_name in HASHES:
        keys = registering.keys_for_login(tx, "romeo", hash_name)
        assert keys.iterations == ITERATIONS and keys.verify("pencil") and not keys.verify("Pencil")


@pytest.mark.parametrize("password", ["", "x" * 1024, "é" * 512, "tab\there", "\ud800", "ﬁ", "\u0627a", "\x00"])
def test_passwords_that_cannot_be(tx: Transaction, password: str) -> None:
    with pytest.raises(NotAcceptable):
        registering.create_account(tx, "romeo", password)
    assert tx.accounts.count() == 0


@pytest.mark.parametrize("password", [" ", "x" * 1023, "correct horse battery staple", "пароль", "密码", "naïve", "😀"])
def test_passwords_that_can_be(password: str) -> None:
    keys = derive_keys(password)
    assert all(each.verify(password) for each in keys)


def test_the_same_password_in_another_normal_form() -> None:
    assert derive_keys("nai\u0308ve")[0].verify("na\u00efve")


def test_iterations_have_bounds() -> None:
    for iterations in (1, 4095, 10**9):
        with pytest.raises(ValueError):
            ScramKeys.derive("pencil", SHA_256, b"salt", iterations)


def test_keys_do_not_show_themselves() -> None:
    assert repr(KEYS[0]) == f"ScramKeys({KEYS[0].hash_name})"


@pytest.mark.parametrize(
    "name", ["romeo", "r", "romeo.montague-1_x", "ромео", "李白", "はな子", "日本カナ", "björn", "ρωμαίοι"]
)
def test_names_that_can_be(tx: Transaction, name: str) -> None:
    assert registering.check_name(tx, name) == name


def test_a_name_is_folded(tx: Transaction) -> None:
    assert registering.check_name(tx, "Romeo") == "romeo"
    with pytest.raises(Conflict):
        create(tx)
        create(tx, "ROMEO")


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("", JIDMalformed),
        ("ro meo", JIDMalformed),
        ("romeo@montague", JIDMalformed),
        ("romeo/x", JIDMalformed),
        ("a&b", JIDMalformed),
        ("x" * 1024, JIDMalformed),
        ("straße", NotAcceptable),  # stringprep makes it strasse
        ("ρωμαίος", NotAcceptable),  # and the last letter another
        ("ⅳ", JIDMalformed),
        ("r\u043emeo", NotAcceptable),  # a Cyrillic o
        ("\u03b1dmin", NotAcceptable),  # a Greek alpha
        ("admin", NotAcceptable),
        ("Root", NotAcceptable),
        ("postmaster", NotAcceptable),
        ("abuse", NotAcceptable),
        ("post", NotAcceptable),
    ],
)
def test_names_that_cannot_be(tx: Transaction, name: str, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        registering.check_name(tx, name)


def test_an_administrator_may_be_called_admin(tx: Transaction) -> None:
    create(tx, "admin", admin=True)
    create(tx, "postmaster", reserved=True)
    assert [account.localpart for account in registering.list_accounts(tx)] == ["admin", "postmaster"]


def test_a_name_is_given_once(tx: Transaction) -> None:
    create(tx)
    with pytest.raises(Conflict):
        create(tx)


def test_the_name_of_a_removed_account_is_not_given_out_again(tx: Transaction) -> None:
    create(tx)
    registering.remove_account(tx, "romeo", notification)
    with pytest.raises(Conflict, match="taken"):
        create(tx)


# Invitations


def test_an_invitation_makes_one_account(tx: Transaction) -> None:
    token = registering.create_invite(tx)
    assert registering.register(tx, "romeo", KEYS, token).admin is False
    with pytest.raises(NotAllowed):
        registering.register(tx, "benvolio", KEYS, token)
    assert tx.accounts.count() == 1


def test_an_administrators_invitation(tx: Transaction) -> None:
    assert registering.register(tx, "romeo", KEYS, registering.create_invite(tx, admin=True)).admin


def test_an_invitation_is_burnt_only_by_success(database: Database) -> None:
    token = database.run(registering.create_invite)
    for name in ("admin", "ro meo"):
        with pytest.raises(Refusal):
            database.run(registering.register, name, KEYS, token)
    assert database.run(registering.register, "romeo", KEYS, token).localpart == "romeo"


def test_an_invitation_expires(database: Database, time: Time) -> None:
    token = database.run(registering.create_invite, days=1)
    time.advance(86_399)
    assert database.run(registering.check_invite, token).used_by is None
    time.advance(1)
    with pytest.raises(NotAllowed):
        database.run(registering.check_invite, token)


def test_a_token_has_160_bits_and_is_not_kept(tx: Transaction) -> None:
    token = registering.create_invite(tx)
    assert len(token) >= 27
    assert len({registering.create_invite(tx) for _ in range(20)}) == 20
    kept = tx.connection.execute(tables.invites.select()).all()
    assert token not in repr(kept) and len(kept) == 21


@pytest.mark.parametrize("token", ["", "x", "\ud800", "é" * 10_000])
def test_invitations_that_are_none(tx: Transaction, token: str) -> None:
    registering.create_invite(tx)
    with pytest.raises(NotAllowed):
        registering.register(tx, "romeo", KEYS, token)


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_an_invitation_has_some_days(tx: Transaction, days: int) -> None:
    with pytest.raises(NotAcceptable):
        registering.create_invite(tx, days=days)


def test_unused_invitations_are_bounded(tx: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registering, "OPEN_INVITES_MAX", 1)
    token = registering.create_invite(tx)
    with pytest.raises(NotAllowed):
        registering.create_invite(tx)
    registering.register(tx, "romeo", KEYS, token)
    registering.create_invite(tx)


def test_open_registration_needs_no_invitation(tx: Transaction) -> None:
    assert registering.register(tx, "romeo", KEYS).localpart == "romeo"


# Changing


def test_change_password(tx: Transaction) -> None:
    create(tx)
    registering.change_password(tx, "Romeo", "eraser")
    for hash_name in HASHES:
        keys = registering.keys_for_login(tx, "romeo", hash_name)
        assert keys.verify("eraser") and not keys.verify("pencil")


NOBODY: list[Callable[[Transaction], object]] = [
    lambda tx: registering.change_password(tx, "tybalt", KEYS),
    lambda tx: registering.disable(tx, "tybalt"),
    lambda tx: registering.remove_account(tx, "tybalt", notification),
    lambda tx: registering.get_account(tx, "tybalt"),
]


@pytest.mark.parametrize("use_case", NOBODY)
def test_nobodys_account(tx: Transaction, use_case: Callable[[Transaction], object]) -> None:
    with pytest.raises(ItemNotFound):
        use_case(tx)


def test_a_disabled_account_keeps_everything_and_fits_no_password(tx: Transaction) -> None:
    create(tx)
    real = registering.keys_for_login(tx, "romeo", SHA_1)
    assert registering.disable(tx, "romeo").disabled
    keys = registering.keys_for_login(tx, "romeo", SHA_1)
    assert (keys.salt, keys.iterations) == (real.salt, real.iterations)
    assert len(keys.stored_key) == len(real.stored_key) and not keys.verify("pencil")
    assert not registering.disable(tx, "romeo", disabled=False).disabled
    assert registering.keys_for_login(tx, "romeo", SHA_1) == real


def test_nobodys_keys_stay_the_same(tx: Transaction) -> None:
    create(tx)
    one, other = (registering.keys_for_login(tx, name, SHA_256) for name in ("tybalt", "paris"))
    assert one == registering.keys_for_login(tx, "Tybalt", SHA_256)
    assert one.salt != other.salt and len(one.salt) == len(KEYS[0].salt)
    assert {len(one.stored_key), len(one.server_key)} == {32}
    sha_1 = registering.keys_for_login(tx, "tybalt", SHA_1)
    assert sha_1.salt != one.salt and len(sha_1.stored_key) == 20


def test_keys_are_asked_for_in_a_read(database: Database) -> None:
    """Also in a database without any account."""
    found: list[ScramKeys] = []
    database.read(registering.keys_for_login, "tybalt", SHA_256).addCallback(found.append)
    assert found[0].iterations == ITERATIONS


# The end


def test_remove_leaves_nothing_but_the_name(database: Database) -> None:
    database.run(registering.create_account, "benvolio", KEYS)
    database.run(registering.create_account, "romeo", KEYS)
    database.run(rostering.set_contact, ROMEO, JULIET, "Juliet", ("Friends",))
    database.run(owning.create, owning.Create(service=ROMEO, actor=ROMEO, node="notes"))
    at_benvolio = subscribing.Subscribe(service=BENVOLIO, node=MICROBLOG, actor=ROMEO, jid=ROMEO)
    database.run(subscribing.subscribe, at_benvolio)
    heard: list[object] = []
    database.listeners.append(heard.append)
    database.run(registering.remove_account, "romeo", notification)
    assert {event.node.name for event in heard if isinstance(event, NodeDeleted)} == {MICROBLOG, "notes"}

    def rest(tx: Transaction) -> dict[str, int]:
        names = ("accounts", "credentials", "contacts", "nodes", "subscriptions", "removed_accounts")
        return {name: len(tx.connection.execute(tables.metadata.tables[name].select()).all()) for name in names}

    assert database.run(rest) == {
        "accounts": 1,
        "credentials": 2,
        "contacts": 0,
        "nodes": 1,
        "subscriptions": 0,
        "removed_accounts": 1,
    }


def test_contacts_here_and_elsewhere_are_told(tx: Transaction) -> None:
    """RFC 6121 §2.5.2, for a server that is not running."""
    create(tx)
    create(tx, "benvolio")
    for account, contact in ((ROMEO, BENVOLIO), (BENVOLIO, ROMEO), (ROMEO, JULIET)):
        tx.contacts.put(account, Contact(jid=contact, subscription=Subscription.BOTH))
    registering.remove_account(tx, "romeo", notification)
    assert tx.contacts.get(BENVOLIO, ROMEO) == Contact(jid=ROMEO)
    told = tx.connection.execute(tables.outbox.select().order_by("id")).all()
    assert [row.domain for row in told] == ["capulet.example"] * 2
    assert [type_ in row.stanza for row, type_ in zip(told, ("unsubscribed", "unsubscribe"), strict=True)] == [True] * 2


def test_the_server_tells_contacts_itself(tx: Transaction) -> None:
    create(tx)
    tx.contacts.put(ROMEO, Contact(jid=JULIET, subscription=Subscription.BOTH))
    registering.remove_account(tx, "romeo", notification, tell_contacts=False)
    assert tx.connection.execute(tables.outbox.select()).all() == []


def test_remote_subscribers_are_told_that_the_nodes_are_gone(tx: Transaction) -> None:
    create(tx)
    subscribing.subscribe(tx, subscribing.Subscribe(service=ROMEO, node=MICROBLOG, actor=JULIET, jid=JULIET))
    registering.remove_account(tx, "romeo", notification)
    (told,) = tx.connection.execute(tables.outbox.select()).all()
    assert told.domain == "capulet.example" and "<delete" in told.stanza and "juliet@capulet.example" in told.stanza


def test_the_last_administrator_stays(tx: Transaction) -> None:
    create(tx, "benvolio")
    create(tx, admin=True)
    with pytest.raises(NotAllowed):
        registering.disable(tx, "romeo")
    with pytest.raises(NotAllowed):
        registering.remove_account(tx, "romeo", notification)
    create(tx, "mercutio", admin=True)
    registering.disable(tx, "romeo")
    registering.remove_account(tx, "romeo", notification)
    with pytest.raises(NotAllowed):
        registering.remove_account(tx, "mercutio", notification)


def test_the_only_account_may_go(tx: Transaction) -> None:
    create(tx, admin=True)
    registering.remove_account(tx, "romeo", notification)
    assert tx.accounts.count() == 0


# Beside a running server


def test_a_server_does_not_tell_itself(tx: Transaction) -> None:
    create(tx)
    registering.change_password(tx, "romeo", KEYS)
    registering.disable(tx, "romeo")
    registering.remove_account(tx, "romeo", notification)
    assert not noticing.anything(tx)
    assert noticing.take(tx) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda tx: registering.change_password(tx, "Romeo", KEYS, outside=True),
        lambda tx: registering.disable(tx, "romeo", outside=True),
    ],
)
def test_a_running_server_learns_who_has_other_keys(tx: Transaction, change: Callable[[Transaction], object]) -> None:
    create(tx)
    change(tx)
    assert noticing.anything(tx)
    assert noticing.take(tx) == noticing.Taken(keys=frozenset({ROMEO}))
    assert not noticing.anything(tx)


def test_what_is_refused_is_not_told(database: Database) -> None:
    database.run(registering.create_account, "romeo", KEYS, admin=True)
    database.run(registering.create_account, "benvolio", KEYS)
    with pytest.raises(NotAllowed):
        database.run(registering.disable, "romeo", outside=True)
    with pytest.raises(NotAllowed):
        database.run(registering.remove_account, "romeo", notification, outside=True)
    assert not database.run(noticing.anything)


def test_a_running_server_learns_what_a_removal_has_changed(tx: Transaction) -> None:
    create(tx)
    create(tx, "benvolio")
    for account, contact in ((ROMEO, BENVOLIO), (BENVOLIO, ROMEO), (ROMEO, JULIET)):
        tx.contacts.put(account, Contact(jid=contact, subscription=Subscription.BOTH))
    abroad = JID.parse("rosaline@verona.example")
    subscribing.subscribe(tx, subscribing.Subscribe(service=ROMEO, node=MICROBLOG, actor=abroad, jid=abroad))
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    registering.remove_account(tx, "romeo", notification, outside=True)
    taken = noticing.take(tx)
    assert taken is not None
    assert taken.keys == {ROMEO}
    assert taken.owed == {"capulet.example"}
    (deleted,) = taken.nodes
    assert (deleted.node.key, deleted.node.service, deleted.node.name) == (node.key, ROMEO, MICROBLOG)
    assert deleted.domains == ("verona.example",)
    assert [moved.type for moved in taken.contacts] == ["unsubscribed", "unsubscribe"]
    for moved in taken.contacts:
        change = moved.change
        assert (change.owner, change.jid, change.push) == (BENVOLIO, ROMEO, True)
        assert change.after == Contact(jid=ROMEO) and change.version == tx.contacts.version(BENVOLIO)


def test_a_nodes_number_is_not_given_out_again(database: Database) -> None:
    """A server that has not yet heard of the end of a node would take the next one for it."""
    database.run(registering.create_account, "romeo", KEYS)
    first = database.run(lambda tx: tx.nodes.find(ROMEO, MICROBLOG))
    database.run(registering.remove_account, "romeo", notification)
    database.run(registering.create_account, "benvolio", KEYS)
    second = database.run(lambda tx: tx.nodes.find(BENVOLIO, MICROBLOG))
    assert first is not None and second is not None and first.key != second.key


def test_much_is_taken_in_parts_and_a_new_server_forgets_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noticing, "TAKEN_AT_ONCE", 2)
    for name in ("romeo", "benvolio", "mercutio"):
        database.run(registering.create_account, name, KEYS)
        database.run(registering.change_password, name, KEYS, outside=True)
    first = database.run(noticing.take)
    assert first is not None and first.keys == {ROMEO, BENVOLIO}
    database.run(noticing.forget)
    assert database.run(noticing.take) is None
