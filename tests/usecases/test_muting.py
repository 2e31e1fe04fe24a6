"""What somebody does not want to read is in none of their timelines."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from microblog.model.entry import Entry
from microblog.model.errors import BadRequest, ItemNotFound, NotAllowed, ResourceConstraint
from microblog.model.item import PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.quiet import Mute, MuteKind
from microblog.model.uri import ItemAddress
from microblog.store.transaction import Transaction
from microblog.usecases import muting, publishing, reading
from microblog.usecases.muting import MuteThis
from tests.usecases.pubsub import BENVOLIO, JULIET, NURSE, PARIS, ROMEO, an_account, subscribe
from tests.usecases.timelines import arrives, payload_of, writes

MERCUTIO = JID.parse("mercutio@montague.example")


@pytest.fixture
def people(tx: Transaction) -> Transaction:
    """Benvolio reads Romeo, Mercutio, and Juliet and Paris elsewhere."""
    for jid in (ROMEO, MERCUTIO, BENVOLIO):
        an_account(tx, jid)
    for jid in (ROMEO, MERCUTIO):
        subscribe(tx, BENVOLIO, service=jid)
    return tx


def key(tx: Transaction, jid: JID = BENVOLIO) -> int:
    account = tx.accounts.get(jid.localpart)
    assert account is not None
    return account.key


def mutes(tx: Transaction, what: Any, minutes: float | None = None, by: JID = BENVOLIO) -> Mute:
    until = None if minutes is None else tx.now + timedelta(minutes=minutes)
    return muting.mute(tx, MuteThis(account=key(tx, by), actor=by, what=what, until=until))


def passes(tx: Transaction, minutes: float) -> None:
    """A later transaction."""
    tx.now += timedelta(minutes=minutes)
    tx.__dict__.pop("mutes", None)


def ids(page: reading.TimelinePage) -> list[str]:
    return [one.item.id for one in page.posts]


def home(tx: Transaction, reader: JID = BENVOLIO, **more: Any) -> list[str]:
    return ids(reading.home(tx, reading.Reading(actor=reader, page=PageRequest(**more))))


def test_a_person(people: Transaction) -> None:
    tx = people
    writes(tx, ROMEO, "r1", 3)
    writes(tx, MERCUTIO, "m1", 2)
    arrives(tx, JULIET, "j1", 1)
    assert home(tx) == ["j1", "m1", "r1"]
    assert mutes(tx, ROMEO) == Mute(kind=MuteKind.PERSON, value=str(ROMEO))
    mutes(tx, JULIET)
    assert home(tx) == ["m1"]
    assert ids(reading.local(tx, reading.Reading(actor=BENVOLIO))) == ["m1"]
    # Whoever asks for them gets them; and nobody else is deprived.
    assert ids(reading.author(tx, ROMEO, reading.Reading(actor=BENVOLIO))) == ["r1"]
    assert ids(reading.local(tx, reading.Reading(actor=MERCUTIO))) == ["m1", "r1"]
    muting.unmute(tx, MuteThis(account=key(tx), actor=BENVOLIO, what=ROMEO))
    assert home(tx) == ["m1", "r1"]
    with pytest.raises(ItemNotFound):
        muting.unmute(tx, MuteThis(account=key(tx), actor=BENVOLIO, what=ROMEO))


def test_a_domain(people: Transaction) -> None:
    tx = people
    arrives(tx, JULIET, "j1", 3)
    arrives(tx, NURSE, "n1", 2)
    arrives(tx, PARIS, "p1", 1)
    mutes(tx, JID("", "capulet.example"))
    assert home(tx) == ["p1"]


def test_what_a_post_says(people: Transaction) -> None:
    tx = people
    writes(tx, ROMEO, "1", 6, title="A Feast tonight")
    writes(tx, ROMEO, "2", 5, title="beasts and feasts")
    writes(tx, ROMEO, "3", 4, title="tonight, a plague")
    writes(tx, MERCUTIO, "4", 3, title="A PLAGUE on both houses")
    writes(tx, BENVOLIO, "5", 2, title="what plague on both?")
    mutes(tx, "feast")
    mutes(tx, "plague on both")
    # One's own words are never muted.
    assert home(tx) == ["5", "3", "2"]


def test_a_tag(people: Transaction) -> None:
    tx = people
    for item_id, ago, tags in (("1", 3, ("verona",)), ("2", 2, ("mantua",)), ("3", 1, ())):
        title = " ".join((item_id, *(f"#{tag}" for tag in tags)))
        category = "".join(f"<category term='{tag}'/>" for tag in tags)
        payload = f"<entry xmlns='http://www.w3.org/2005/Atom'><title>{title}</title>{category}</entry>"
        item = writes(tx, ROMEO, item_id, ago, tags=tags)
        tx.items.put(node_key(tx, ROMEO), replace(item, payload=payload), replaces=True)
    mutes(tx, "#Verona")
    assert home(tx) == ["3", "2"]
    assert ids(reading.tag(tx, "verona", reading.Reading(actor=BENVOLIO))) == []
    assert ids(reading.tag(tx, "verona", reading.Reading(actor=MERCUTIO))) == ["1"]


def node_key(tx: Transaction, jid: JID) -> int:
    node = tx.nodes.find(jid, MICROBLOG)
    assert node is not None
    return node.key


def test_a_thread(people: Transaction) -> None:
    tx = people
    root = ItemAddress(ROMEO, MICROBLOG, "root")
    thread = f"xmpp:{ROMEO}?;node=urn%3Axmpp%3Amicroblog%3A0%3Acomments%2Froot"
    writes(tx, ROMEO, "root", 3, thread=thread)
    writes(tx, MERCUTIO, "answer", 2, thread=thread, answers=root.uri, mentions=(BENVOLIO,))
    writes(tx, MERCUTIO, "other", 1)
    answer = ItemAddress(MERCUTIO, MICROBLOG, "answer")
    assert mutes(tx, answer).value == thread
    assert home(tx) == ["other"]
    assert ids(reading.mentions(tx, reading.Reading(actor=BENVOLIO))) == []
    # It can be read where it is asked for.
    found = reading.thread(tx, reading.Thread(address=root, actor=BENVOLIO))
    assert [one.item.id for one in found.posts] == ["root", "answer"]


def test_what_repeats_somebody(people: Transaction) -> None:
    tx = people
    arrives(tx, JULIET, "j1", 3)
    entry = Entry(title="again", via=ItemAddress(JULIET, MICROBLOG, "j1").uri)
    request = publishing.Publish(
        service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="again", payload=payload_of("again"), entry=entry
    )
    publishing.publish(tx, request)
    assert home(tx) == ["again", "j1"]
    mutes(tx, JULIET)
    assert home(tx) == []


def test_for_a_time(people: Transaction) -> None:
    tx = people
    writes(tx, ROMEO, "r1", 3)
    mutes(tx, ROMEO, minutes=120)
    assert home(tx) == []
    passes(tx, 119)
    assert home(tx) == [] and muting.forget(tx) == 0
    passes(tx, 1)
    assert home(tx) == ["r1"]
    assert muting.mutes(tx, key(tx)) == ()
    assert muting.forget(tx) == 1


def test_again_changes_how_long(people: Transaction) -> None:
    tx = people
    mutes(tx, ROMEO, minutes=5)
    mutes(tx, ROMEO)
    assert [one.until for one in muting.mutes(tx, key(tx))] == [None]


def test_pages_are_filled(people: Transaction) -> None:
    tx = people
    for n in range(60):
        writes(tx, ROMEO, f"noise{n}", n, title="noise")
    for n in range(5):
        writes(tx, ROMEO, f"signal{n}", 100 + n, title="signal")
    mutes(tx, "noise")
    assert home(tx, max=3) == ["signal0", "signal1", "signal2"]
    first = reading.home(tx, reading.Reading(actor=BENVOLIO, page=PageRequest(max=3)))
    assert first.more and first.count is None
    assert home(tx, max=3, after=first.posts[-1].anchor) == ["signal3", "signal4"]
    assert home(tx, max=2, last_page=True) == ["signal3", "signal4"]
    assert home(tx, max=2, before=first.posts[2].anchor) == ["signal0", "signal1"]
    account = tx.accounts.get("benvolio")
    assert account is not None and reading.unread(tx, account) == 5
    assert reading.home(tx, reading.Reading(actor=BENVOLIO, page=PageRequest(max=0))).count == 5


@pytest.mark.parametrize(
    "what",
    [
        "",
        "  ",
        "!!",
        "one two three four five six seven eight nine ten eleven twelve thirteen",
        "w" * 3000,
        "#",
        "# ",
        "#" + "t" * 101,
        "\x00",
    ],
)
def test_what_cannot_be_muted(people: Transaction, what: str) -> None:
    if what == "w" * 3000:
        # A word is as long as words are compared.
        assert len(mutes(people, what).value) == 64
        return
    with pytest.raises(BadRequest):
        mutes(people, what)


def test_oneself_is_not_muted(people: Transaction) -> None:
    for what in (BENVOLIO, BENVOLIO.with_resource("x"), JID("", people.domain)):
        with pytest.raises(NotAllowed):
            mutes(people, what)


def test_there_is_an_end(people: Transaction, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muting, "MUTES_MAX", 3)
    for n in range(3):
        mutes(people, f"word{n}", minutes=1 if n == 0 else None)
    with pytest.raises(ResourceConstraint):
        mutes(people, "more")
    passes(people, 2)
    mutes(people, "more")


def test_mutes_go_with_their_account(people: Transaction) -> None:
    mutes(people, ROMEO)
    account = people.accounts.get("benvolio")
    assert account is not None
    people.accounts.remove(account)
    assert people.mutes.all() == []
