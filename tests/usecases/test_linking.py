from datetime import timedelta

import pytest

from microblog.model.account import Account, derive_keys
from microblog.model.errors import Conflict, ItemNotFound, JIDMalformed, NotAcceptable, NotAllowed, Refusal
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.subscription import Affiliation, SubscriptionState
from microblog.store.database import Database, Transaction
from microblog.usecases import browsing, forgetting, linking, owning, registering, subscribing
from microblog.usecases.linking import Join, LinkAccount, LinkAddress, Linked, Unlink
from microblog.wire import notification
from tests.conftest import DOMAIN, Time

ROMEO = JID("romeo", DOMAIN)
HOME = JID.parse("romeo@capulet.example")
JULIET = JID.parse("juliet@capulet.example")
KEYS = derive_keys("pencil")


def ask(to: JID, language: str) -> str:
    return f"ask {to} {language}"


def tell(to: JID, language: str) -> str:
    return f"tell {to} {language}"


def romeo(tx: Transaction, name: str = "romeo") -> Account:
    return tx.accounts.get(name) or registering.create_account(tx, name, KEYS)


def from_account(tx: Transaction, jid: JID = HOME, name: str = "romeo") -> Linked:
    return linking.link_address(tx, LinkAddress(account=romeo(tx, name), jid=jid, ask=ask, tell=tell))


def from_address(tx: Transaction, name: str = "romeo", jid: JID = HOME) -> Linked:
    return linking.link_account(tx, LinkAccount(jid=jid, name=name, ask=ask, tell=tell))


def unlink(tx: Transaction, jid: JID = HOME) -> Linked:
    return linking.unlink(tx, Unlink(account=romeo(tx), jid=jid, notice=notification.decision))


def owed(tx: Transaction) -> list[tuple[str, str]]:
    rows = tx.connection.exec_driver_sql("SELECT domain, stanza FROM outbox WHERE stanza IS NOT NULL ORDER BY id")
    return [(domain, stanza) for domain, stanza in rows]


def join(tx: Transaction, jid: JID = HOME, name: str | None = None, token: str | None = None) -> Account:
    token = registering.create_invite(tx) if token is None else token
    return linking.join(tx, Join(jid=jid, token=token, name=name))


# Joining


def test_whoever_joins_has_an_account_a_feed_and_this_address(tx: Transaction) -> None:
    account = join(tx)
    assert account.localpart == "romeo" and not account.admin
    assert tx.linked.account_of(HOME) == account == tx.linked.account_of(HOME.with_resource("orchard"))
    assert tx.nodes.find(ROMEO, MICROBLOG) is not None
    assert tx.linked.any()


def test_nobody_logs_in_to_an_account_without_password(tx: Transaction) -> None:
    join(tx)
    keys = registering.keys_for_login(tx, "romeo", "SHA-256")
    assert not keys.verify("") and not keys.verify("pencil")
    registering.change_password(tx, "romeo", KEYS)
    assert registering.keys_for_login(tx, "romeo", "SHA-256").verify("pencil")


def test_one_joins_by_another_name(tx: Transaction) -> None:
    assert join(tx, name="Montague").localpart == "montague"


def test_an_invitation_is_for_one(tx: Transaction) -> None:
    token = registering.create_invite(tx)
    assert linking.is_invitation(tx, token)
    join(tx, token=token)
    assert not linking.is_invitation(tx, token)
    with pytest.raises(NotAllowed):
        join(tx, JULIET, token=token)
    assert tx.accounts.count() == 1


@pytest.mark.parametrize(
    ("name", "refusal"),
    [("benvolio", Conflict), ("admin", NotAcceptable), ("a b", JIDMalformed), ("r\u043emeo", NotAcceptable)],
)
def test_names_that_cannot_be_had_leave_the_invitation(tx: Transaction, name: str, refusal: type[Refusal]) -> None:
    romeo(tx, "benvolio")
    token = registering.create_invite(tx)
    with pytest.raises(refusal):
        join(tx, name=name, token=token)
    assert linking.is_invitation(tx, token) and not tx.linked.any()


def test_an_address_has_one_account(tx: Transaction) -> None:
    join(tx)
    with pytest.raises(Conflict):
        join(tx, name="other")


def test_whoever_is_enrolled_needs_no_invitation_and_nobody_else(tx: Transaction) -> None:
    with pytest.raises(NotAllowed):
        linking.join(tx, Join(jid=HOME))
    assert linking.join(tx, Join(jid=HOME, enrolled=True)).localpart == "romeo"


# Linking


def test_the_account_asks_and_the_address_confirms(tx: Transaction) -> None:
    assert from_account(tx) == Linked(confirmed=False, domains=("capulet.example",))
    assert owed(tx) == [("capulet.example", "ask romeo@capulet.example en")]
    assert tx.linked.account_of(HOME) is None and not tx.linked.any()
    done = from_address(tx)
    assert done == Linked(confirmed=True, here=(ROMEO, "tell romeo@montague.example en"), domains=("capulet.example",))
    assert tx.linked.account_of(HOME) == romeo(tx)


def test_the_address_asks_and_the_account_confirms(tx: Transaction) -> None:
    account = romeo(tx)
    tx.preferences.set(account.key, "lang", "it")
    assert from_address(tx) == Linked(confirmed=False, here=(ROMEO, "ask romeo@montague.example it"))
    assert tx.linked.account_of(HOME) is None
    assert from_account(tx) == Linked(confirmed=True, domains=("capulet.example",))
    assert owed(tx) == [("capulet.example", "tell romeo@capulet.example it")]
    assert tx.linked.account_of(HOME) == account


def test_neither_side_confirms_for_the_other(tx: Transaction, time: Time) -> None:
    for say in (from_account, from_address):
        romeo(tx)
        for _ in range(3):
            assert not say(tx).confirmed
        assert tx.linked.account_of(HOME) is None
        tx.linked.remove(HOME, romeo(tx).key)


def test_the_other_side_is_not_asked_again_at_once(database: Database, time: Time) -> None:
    database.run(romeo)
    for say, asked in ((from_account, lambda done: done.domains), (from_address, lambda done: done.here)):
        assert asked(database.run(say))
        assert not asked(database.run(say))
        time.advance(linking.ASK_AGAIN.total_seconds())
        assert asked(database.run(say))
        database.run(lambda tx: tx.linked.remove(HOME, romeo(tx).key))


def test_an_account_that_was_asked_often_hears_no_more_and_its_own_word_counts(tx: Transaction) -> None:
    romeo(tx)
    quiet = LinkAccount(jid=HOME, name="romeo", ask=ask, tell=tell, quiet=True)
    assert linking.link_account(tx, quiet) == Linked(confirmed=False)
    assert not from_account(tx).confirmed, "what was not heard is not asked"
    assert linking.link_account(tx, quiet).confirmed


def test_other_addresses_of_the_account_hear_of_a_new_one(tx: Transaction) -> None:
    join(tx)
    done = from_address(tx, jid=JULIET)
    assert done.domains == ("capulet.example",) and done.here is not None
    assert owed(tx) == [("capulet.example", "ask romeo@capulet.example en")]


def test_an_address_that_asks_is_told_nothing(tx: Transaction) -> None:
    """Not that there is no such account, that it is disabled, nor that too many ask it."""
    silent = Linked(confirmed=False)
    assert from_address(tx, "nobody") == silent
    romeo(tx)
    registering.create_account(tx, "tybalt", KEYS)
    tx.accounts.set_disabled(romeo(tx, "tybalt"), True)
    assert from_address(tx, "tybalt") == silent
    for number in range(linking.ASKING_MAX):
        assert from_address(tx, jid=JID(f"capulet{number}", "capulet.example")).here is not None
    assert from_address(tx) == silent and len(tx.linked.of(romeo(tx).key)) == linking.ASKING_MAX
    # The account's own word is as good as before.
    from_account(tx)
    assert from_address(tx).confirmed


def test_an_address_asks_for_few_accounts(tx: Transaction) -> None:
    for number in range(linking.ASKING_MAX):
        romeo(tx, f"name{number}")
        assert from_address(tx, f"name{number}").here is not None
    romeo(tx, "more")
    assert from_address(tx, "more") == Linked(confirmed=False)


def test_an_account_has_a_number_of_addresses(tx: Transaction) -> None:
    for number in range(linking.ADDRESSES_MAX):
        from_account(tx, JID(f"romeo{number}", "capulet.example"))
    with pytest.raises(Conflict):
        from_account(tx)


@pytest.mark.parametrize("jid", ["benvolio@montague.example", "montague.example", "capulet.example"])
def test_only_somebody_elsewhere_is_linked(tx: Transaction, jid: str) -> None:
    with pytest.raises(NotAcceptable):
        from_account(tx, JID.parse(jid))


def test_an_address_that_is_somebodys_is_nobody_elses(tx: Transaction) -> None:
    join(tx)
    romeo(tx, "benvolio")
    with pytest.raises(Conflict):
        from_address(tx, "benvolio")
    # That it is somebody's is not told; it would have to confirm, and cannot.
    assert not from_account(tx, name="benvolio").confirmed
    with pytest.raises(Conflict):
        from_address(tx, "benvolio")
    with pytest.raises(Conflict):
        from_account(tx)
    assert tx.linked.account_of(HOME) == romeo(tx)


def test_who_asked_first_and_lost_has_nothing_left(tx: Transaction) -> None:
    romeo(tx)
    romeo(tx, "benvolio")
    from_account(tx, name="benvolio")
    from_account(tx)
    assert from_address(tx).confirmed
    assert linking.addresses(tx, romeo(tx, "benvolio")) == ()


def test_what_is_not_confirmed_in_time_counts_no_more(database: Database, time: Time) -> None:
    database.run(from_account)
    time.advance(timedelta(days=linking.PENDING_DAYS).total_seconds())
    assert not database.run(from_address).confirmed
    time.advance(timedelta(days=linking.PENDING_DAYS).total_seconds() + 1)
    database.run(forgetting.forget)
    assert database.run(lambda tx: tx.linked.of(romeo(tx).key)) == ()


# Unlinking


def linked(tx: Transaction, jid: JID = HOME) -> None:
    from_account(tx, jid)
    assert from_address(tx, jid=jid).confirmed


def test_an_address_is_unlinked(tx: Transaction) -> None:
    linked(tx)
    unlink(tx)
    assert tx.linked.account_of(HOME) is None
    with pytest.raises(ItemNotFound):
        unlink(tx)


def test_what_was_only_asked_for_is_withdrawn_or_refused(tx: Transaction) -> None:
    romeo(tx)
    from_address(tx)
    unlink(tx)
    from_account(tx)
    linking.refuse(tx, HOME, "romeo")
    linking.refuse(tx, HOME, "nobody")
    assert not from_address(tx).confirmed


def test_refusing_does_not_unlink(tx: Transaction) -> None:
    linked(tx)
    linking.refuse(tx, HOME, "romeo")
    assert tx.linked.account_of(HOME) is not None


def test_the_only_way_into_an_account_stays(tx: Transaction) -> None:
    join(tx)
    with pytest.raises(NotAllowed):
        unlink(tx)
    linked(tx, JULIET)
    unlink(tx)
    with pytest.raises(NotAllowed):
        unlink(tx, JULIET)
    registering.change_password(tx, "romeo", KEYS)
    unlink(tx, JULIET)


def test_the_address_goes_with_the_account(tx: Transaction) -> None:
    join(tx)
    registering.remove_account(tx, "romeo", notification)
    assert tx.linked.account_of(HOME) is None and not tx.linked.any()


# Acting


def test_a_linked_address_acts_as_its_account(tx: Transaction) -> None:
    account = registering.create_account(tx, "romeo", KEYS, audience=Audience.FOLLOWERS)
    request = browsing.Nodes(service=ROMEO, asker=HOME)
    assert browsing.nodes(tx, request) == ()
    wanted = owning.Configuration(service=ROMEO, node=MICROBLOG, actor=HOME.with_resource("orchard"))
    with pytest.raises(ItemNotFound):
        linking.acting(tx, owning.configuration, wanted)
    linked(tx)
    assert linking.acting(tx, owning.configuration, wanted).name == MICROBLOG
    tx.accounts.set_disabled(account, True)
    with pytest.raises(ItemNotFound):
        linking.acting(tx, owning.configuration, wanted)


def subscribe(tx: Transaction, service: JID = ROMEO) -> SubscriptionState:
    wanted = subscribing.Subscribe(service=service, node=MICROBLOG, actor=HOME, jid=HOME)
    return linking.subscribe(tx, wanted).subscription.state


def test_it_subscribes_in_its_own_name_and_is_a_member_at_its_accounts_nodes(tx: Transaction) -> None:
    registering.create_account(tx, "romeo", KEYS, audience=Audience.FOLLOWERS)
    assert subscribe(tx) is SubscriptionState.PENDING
    linked(tx)
    assert subscribe(tx) is SubscriptionState.SUBSCRIBED
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    assert tx.affiliations.facts(node, HOME).affiliation is Affiliation.MEMBER
    unlink(tx)
    assert tx.affiliations.facts(node, HOME).affiliation is Affiliation.NONE
    assert tx.subscriptions.find(node, HOME) is None
    assert "subscription='none'" in owed(tx)[-1][1]


def test_it_subscribes_to_others_like_anybody_from_elsewhere(tx: Transaction) -> None:
    registering.create_account(tx, "benvolio", KEYS, audience=Audience.FOLLOWERS)
    registering.create_account(tx, "mercutio", KEYS)
    linked(tx)
    assert subscribe(tx, JID("benvolio", DOMAIN)) is SubscriptionState.PENDING
    assert subscribe(tx, JID("mercutio", DOMAIN)) is SubscriptionState.SUBSCRIBED
    unlink(tx)
    node = tx.nodes.find(JID("mercutio", DOMAIN), MICROBLOG)
    assert node is not None and tx.subscriptions.find(node, HOME) is not None


def test_what_is_for_this_domain_only_has_no_reader_elsewhere(tx: Transaction) -> None:
    registering.create_account(tx, "romeo", KEYS, audience=Audience.LOCAL)
    linked(tx)
    with pytest.raises(ItemNotFound):
        subscribe(tx)
