"""One profile, and every form of it says the same."""

import pytest

from microblog.config import Limits
from microblog.model.errors import ItemNotFound, PayloadTooBig, ResourceConstraint
from microblog.model.event import ItemPublished
from microblog.model.item import Audience
from microblog.model.jid import JID
from microblog.model.node import AVATAR_DATA, AVATAR_METADATA, MICROBLOG, NICK, VCARD4
from microblog.model.profile import Avatar, Profile, Property
from microblog.model.subscription import SubscriptionState
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import owning, profiling, registering, subscribing
from microblog.usecases.profiling import Change
from microblog.usecases.publishing import Publish
from microblog.wire import vcard
from microblog.wire.vcard import Nodes
from microblog.wire.xml import to_text
from tests.conftest import DOMAIN

ROMEO, JULIET = JID("romeo", DOMAIN), JID("juliet", DOMAIN)
ROSALINE = JID("rosaline", "capulet.example")
AVATAR = Avatar(b"\x89PNG\r\n\x1a\nromeo", "image/png")
PROFILE = Profile(nickname="Romeo", bio="Too rash.", properties=(Property("fn", ("Romeo Montague",)),), avatar=AVATAR)


@pytest.fixture
def here(tx: Transaction) -> Transaction:
    registering.create_account(tx, "romeo", "secret")
    registering.create_account(tx, "juliet", "secret", audience=Audience.LOCAL)
    tx.emitted.clear()
    return tx


def become(tx: Transaction, profile: Profile, account: JID = ROMEO) -> None:
    profiling.change(tx, Change(account=account, become=lambda before: profile, codec=Nodes()))


def stands(tx: Transaction, node: str, account: JID = ROMEO) -> str | None:
    """The payload of the last item of a node."""
    found = tx.nodes.find(account, node)
    items = [] if found is None else tx.items.newest(found.key, 2)
    assert len(items) < 2
    return items[0].payload if items else None


def published(tx: Transaction) -> list[str]:
    told = [event.node.name for event in tx.emitted if isinstance(event, ItemPublished)]
    tx.emitted.clear()
    return told


def test_a_change_is_published_in_every_form(here: Transaction) -> None:
    assert profiling.own(here, ROMEO) == Profile()
    become(here, PROFILE)
    assert profiling.own(here, ROMEO) == PROFILE
    assert published(here) == [NICK, VCARD4, AVATAR_DATA, AVATAR_METADATA]
    written = Nodes().write(PROFILE)
    assert {node: stands(here, node) for node in written} == {node: payload for node, (_, payload) in written.items()}


def test_only_what_says_something_else_is_published(here: Transaction) -> None:
    become(here, PROFILE)
    published(here)
    become(here, PROFILE)
    assert published(here) == []
    become(here, Profile(nickname="Romeo", bio="Love is my sin.", avatar=AVATAR))
    assert published(here) == [VCARD4]


def test_what_is_taken_back_is_taken_back_everywhere(here: Transaction) -> None:
    become(here, PROFILE)
    become(here, Profile())
    assert stands(here, NICK) == "<nick xmlns='http://jabber.org/protocol/nick'/>"
    assert stands(here, VCARD4) == "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'/>"
    assert stands(here, AVATAR_METADATA) == "<metadata xmlns='urn:xmpp:avatar:metadata'/>"
    assert profiling.own(here, ROMEO) == Profile() and profiling.avatar_hash(here, ROMEO) == ""


def test_who_says_little_has_few_nodes(here: Transaction) -> None:
    become(here, Profile(nickname="Romeo"))
    assert published(here) == [NICK, VCARD4]
    assert here.nodes.find(ROMEO, AVATAR_METADATA) is None


def publish(tx: Transaction, node: str, item_id: str, payload: str, account: JID = ROMEO) -> None:
    request = Publish(service=account, node=node, actor=account.with_resource("a"), item_id=item_id, payload=payload)
    profiling.publish(tx, request, Nodes())


def test_a_client_publishes_its_nickname(here: Transaction) -> None:
    become(here, PROFILE)
    published(here)
    publish(here, NICK, "x", "<nick xmlns='http://jabber.org/protocol/nick'>Rosaline's</nick>")
    assert profiling.own(here, ROMEO).nickname == "Rosaline's"
    assert published(here) == [NICK, VCARD4]
    assert "Rosaline's" in (stands(here, VCARD4) or "")


def test_a_client_publishes_its_picture(here: Transaction) -> None:
    data, metadata = to_text(vcard.write_data(AVATAR)), to_text(vcard.write_metadata(AVATAR))
    publish(here, AVATAR_DATA, AVATAR.hash, data)
    assert profiling.own(here, ROMEO).avatar is None
    publish(here, AVATAR_METADATA, AVATAR.hash, metadata)
    assert profiling.own(here, ROMEO).avatar == AVATAR and profiling.avatar_hash(here, ROMEO) == AVATAR.hash
    assert published(here) == [AVATAR_DATA, AVATAR_METADATA]
    publish(here, AVATAR_METADATA, "x", "<metadata xmlns='urn:xmpp:avatar:metadata'/>")
    assert profiling.own(here, ROMEO).avatar is None
    assert published(here) == [AVATAR_METADATA]


def test_a_client_publishes_its_card(here: Transaction) -> None:
    become(here, Profile(avatar=AVATAR))
    published(here)
    publish(here, VCARD4, "current", to_text(vcard.write_card(PROFILE)))
    assert profiling.own(here, ROMEO) == PROFILE
    assert published(here) == [VCARD4, NICK]
    assert stands(here, NICK) == "<nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick>"


def test_other_nodes_are_as_ever(here: Transaction) -> None:
    publish(here, "urn:tune", "1", "<tune xmlns='urn:tune'/>")
    assert profiling.own(here, ROMEO) == Profile() and published(here) == ["urn:tune"]


def test_what_does_not_fit_is_refused_whole(here: Transaction) -> None:
    big = Profile(nickname="Romeo", avatar=Avatar(AVATAR.data + b"x" * 65_536, "image/png"))
    with pytest.raises(PayloadTooBig, match="picture"):
        become(here, big)
    with pytest.raises(PayloadTooBig, match="profile"):
        become(here, Profile(others=(("vcard4", f"<x xmlns='a'>{'x' * 65_536}</x>"),)))
    assert profiling.own(here, ROMEO) == Profile() and published(here) == []
    for number in range(Limits().nodes_per_account - here.nodes.count(ROMEO) - 3):
        owning.create(here, owning.Create(service=ROMEO, actor=ROMEO, node=f"n{number}"))
    with pytest.raises(ResourceConstraint, match="nodes"):
        become(here, PROFILE)
    assert profiling.own(here, ROMEO) == Profile() and stands(here, NICK) is None


def test_strangers_see_it(here: Transaction) -> None:
    become(here, PROFILE)
    assert profiling.seen(here, ROMEO, ROSALINE) == PROFILE
    assert profiling.seen(here, JID("nobody", DOMAIN), ROSALINE) is None
    assert profiling.seen(here, ROSALINE, ROMEO) is None
    with pytest.raises(ItemNotFound):
        profiling.own(here, JID("nobody", DOMAIN))


def test_what_is_for_this_domain_only_is_not_told_elsewhere(here: Transaction) -> None:
    assert profiling.seen(here, JULIET, ROSALINE) == Profile()
    become(here, PROFILE, JULIET)
    assert profiling.seen(here, JULIET, ROSALINE) == Profile()
    assert profiling.seen(here, JULIET, ROMEO) == profiling.seen(here, JULIET, JULIET) == PROFILE
    assert profiling.avatar_hash(here, JULIET) == ""
    items = [item for node in here.nodes.of(JULIET) for item in here.items.newest(node.key, 5)]
    assert {item.audience for item in items} == {Audience.LOCAL} and len(items) == 4


@pytest.mark.parametrize(
    ("node", "left"),
    [
        (VCARD4, Profile(nickname="Romeo", avatar=AVATAR)),
        (NICK, Profile(bio=PROFILE.bio, properties=PROFILE.properties, avatar=AVATAR)),
        (AVATAR_DATA, Profile(nickname="Romeo", bio=PROFILE.bio, properties=PROFILE.properties)),
        (AVATAR_METADATA, Profile(nickname="Romeo", bio=PROFILE.bio, properties=PROFILE.properties)),
    ],
)
def test_what_one_may_not_read_one_is_not_told_otherwise(here: Transaction, node: str, left: Profile) -> None:
    become(here, PROFILE)
    options = {"access_model": ("presence",)}
    owning.configure(here, owning.Configure(service=ROMEO, node=node, actor=ROMEO, options=options))
    assert profiling.seen(here, ROMEO, ROSALINE) == left
    assert profiling.seen(here, ROMEO, ROMEO) == PROFILE


def test_how_two_stand(database: Database) -> None:
    for name in ("romeo", "juliet"):
        database.run(registering.create_account, name, "secret")
    wanted = subscribing.Subscribe(service=JULIET, node=MICROBLOG, actor=ROMEO, jid=ROMEO)
    database.run(subscribing.subscribe, wanted)
    there = database.run(profiling.relation, ROMEO, JULIET)
    assert (there.follows, there.followed, there.here) == (SubscriptionState.SUBSCRIBED, SubscriptionState.NONE, True)
    back = database.run(profiling.relation, JULIET, ROMEO)
    assert (back.follows, back.followed) == (SubscriptionState.NONE, SubscriptionState.SUBSCRIBED)
    assert not database.run(profiling.relation, ROMEO, ROSALINE).here
