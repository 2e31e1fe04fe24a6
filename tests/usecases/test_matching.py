"""Which tracks a post meets, from the log; what is tracked, and from where."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from microblog.model.entry import Entry
from microblog.model.errors import InvalidSubID, NotAcceptable, NotSubscribed, SubIDRequired, TooManySubscriptions
from microblog.model.item import Audience, Item, PageRequest
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG, AccessModel, Node
from microblog.model.query import content
from microblog.model.track import Index
from microblog.model.uri import ItemAddress
from microblog.store.tracks import Track
from microblog.store.transaction import Transaction
from microblog.usecases import leasing, matching, muting, publishing, registering, retracting, subscribing, tracking
from microblog.usecases.leasing import Arrived, Found
from microblog.usecases.matching import Matcher
from microblog.usecases.tracking import Begin
from microblog.wire import atom
from tests.conftest import Time
from tests.usecases.pubsub import BENVOLIO, JULIET, ROMEO
from tests.usecases.timelines import arrives, payload_of, writes

PARIS = JID.parse("paris@capulet.example")


def write(to: JID, subids: Sequence[str], node: Node, item: Item) -> str:
    return f"<to>{to} {' '.join(subids)} {item.id}</to>"


def withdraw(to: JID, subids: Sequence[str], node: Node, item: Item) -> str:
    return f"<gone>{to} {' '.join(subids)} {item.id}</gone>"


def ending(track: Track) -> str:
    return f"<end>{track.lease}</end>"


class Watch:
    """Looks on as the server does, in one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.restart()

    def restart(self) -> None:
        """As after a crash: what is in memory is read again."""
        self.matcher = Matcher(Index(), atom.read_text, write, withdraw)
        after: int | None = 0
        while after is not None:
            after = self.matcher.load(self.tx, after)
        self.matcher.begin(self.tx)

    def tracks(self, owner: JID, text: str, **more: Any) -> Track:
        account = self.tx.accounts.get(owner.localpart) if owner.domainpart == self.tx.domain else None
        key = None if account is None else account.key
        query = tracking.read_query(self.tx, key, text)
        begun = tracking.begin(self.tx, Begin(owner=owner, account=key, query=query, **more))
        for track in begun.tracks:
            self.matcher.index.add(track.key, track.query)
        return begun.tracks[0]

    def looks(self) -> None:
        """All there is, step by step."""
        more = True
        while more:
            more = self.matcher.step(self.tx)
            self.matcher.committed()

    def found(self, owner: JID = BENVOLIO) -> list[str]:
        """What somebody can read of it, newest first."""
        page = tracking.retrieve(self.tx, tracking.Retrieve(owner=owner, page=PageRequest()))
        return [post.item.id for post in page.posts]

    def hits(self, owner: JID = BENVOLIO) -> dict[int, int]:
        return {track.number: track.hits for track in tracking.tracks_of(self.tx, owner)}


@pytest.fixture
def watch(tx: Transaction) -> Watch:
    for name in ("romeo", "benvolio", "mercutio"):
        if not tx.accounts.exists(name):
            registering.create_account(tx, name, "secret")
    return Watch(tx)


def test_what_fits_is_found_once(tx: Transaction, watch: Watch) -> None:
    watch.tracks(BENVOLIO, "lift")
    watch.tracks(BENVOLIO, 'from romeo "is back"')
    watch.tracks(BENVOLIO, "stairs")
    writes(tx, ROMEO, "p1", title="The LIFT is back")
    writes(tx, ROMEO, "p2", title="Nothing of that")
    watch.looks()
    assert watch.found() == ["p1"] and watch.hits() == {1: 1, 2: 1, 3: 0}
    writes(tx, ROMEO, "p1", title="The lift is really back")
    watch.looks()
    assert watch.hits() == {1: 1, 2: 1, 3: 0}
    writes(tx, ROMEO, "p2", title="No: the stairs")
    watch.looks()
    assert watch.hits() == {1: 1, 2: 1, 3: 1} and watch.found() == ["p2", "p1"]


def test_what_was_there_before_is_not_looked_at(tx: Transaction, watch: Watch) -> None:
    writes(tx, ROMEO, "old", title="lift")
    watch.tracks(BENVOLIO, "lift")
    watch.looks()
    assert watch.found() == []
    writes(tx, ROMEO, "backdated", ago=8 * 24 * 60, title="lift")
    writes(tx, ROMEO, "new", title="lift")
    watch.looks()
    assert watch.found() == ["new"]


def test_nothing_is_lost_or_found_twice_by_a_crash(tx: Transaction, watch: Watch) -> None:
    watch.tracks(BENVOLIO, "lift")
    writes(tx, ROMEO, "p1", title="lift 1")
    watch.restart()
    writes(tx, ROMEO, "p2", title="lift 2")
    watch.looks()
    watch.restart()
    watch.looks()
    assert watch.found() == ["p2", "p1"] and watch.hits() == {1: 2}


def test_a_step_takes_so_much_and_goes_on_with_the_same_post(
    tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "HITS_AT_ONCE", 2)
    owners = [ROMEO, BENVOLIO, JID("mercutio", tx.domain)]
    for owner in owners[1:]:
        for word in ("lift", "back", "again"):
            watch.tracks(owner, word)
    writes(tx, ROMEO, "p1", title="The lift is back again")
    writes(tx, ROMEO, "p2", title="again")
    steps = 0
    while watch.matcher.step(tx):
        watch.matcher.committed()
        steps += 1
    assert steps >= 3
    for owner in owners[1:]:
        assert watch.hits(owner) == {1: 1, 2: 1, 3: 2} and watch.found(owner) == ["p2", "p1"]
    assert not watch.matcher.step(tx)


def test_ones_own_posts_and_what_one_may_not_see_are_not_found(tx: Transaction, watch: Watch) -> None:
    watch.tracks(BENVOLIO, "lift")
    watch.tracks(ROMEO, "lift")
    writes(tx, ROMEO, "followers", title="lift", audience=Audience.FOLLOWERS)
    writes(tx, ROMEO, "direct", title="lift", audience=Audience.DIRECT, readers=(JID("mercutio", tx.domain),))
    writes(tx, ROMEO, "local", title="lift", audience=Audience.LOCAL)
    watch.looks()
    assert watch.found() == ["local"] and watch.found(ROMEO) == []
    subscribing.subscribe(tx, subscribing.Subscribe(service=ROMEO, node=MICROBLOG, actor=BENVOLIO, jid=BENVOLIO))
    writes(tx, ROMEO, "followers2", title="lift", audience=Audience.FOLLOWERS)
    writes(tx, ROMEO, "to-me", title="lift", audience=Audience.DIRECT, readers=(BENVOLIO,))
    watch.looks()
    assert watch.found() == ["to-me", "followers2", "local"]


def test_what_is_not_to_be_read_any_more_is_not_shown_any_more(tx: Transaction, watch: Watch) -> None:
    wanted = subscribing.Subscribe(service=ROMEO, node=MICROBLOG, actor=BENVOLIO, jid=BENVOLIO)
    subscribing.subscribe(tx, wanted)
    watch.tracks(BENVOLIO, "lift")
    writes(tx, ROMEO, "p1", title="lift", audience=Audience.FOLLOWERS)
    watch.looks()
    assert watch.found() == ["p1"]
    subscribing.unsubscribe(tx, subscribing.Unsubscribe(service=ROMEO, node=MICROBLOG, actor=BENVOLIO, jid=BENVOLIO))
    assert watch.found() == []
    assert [seen for _, _, seen in matching.untold(tx, 0, 10)] == [None]


def test_copies_of_feeds_elsewhere_are_looked_at(tx: Transaction, watch: Watch) -> None:
    watch.tracks(ROMEO, "night")
    arrives(tx, JULIET, "night")
    watch.looks()
    assert watch.found(ROMEO) == ["night"]


def test_who_does_not_want_to_hear_of_it_does_not(tx: Transaction, watch: Watch) -> None:
    watch.tracks(BENVOLIO, "lift")
    watch.tracks(JID("mercutio", tx.domain), "lift")
    mercutio = JID("mercutio", tx.domain)
    watch.tracks(mercutio, "stairs")
    account = tx.accounts.get("benvolio")
    assert account is not None
    muting.mute(tx, muting.MuteThis(account=account.key, actor=BENVOLIO, what="stairs"))
    writes(tx, ROMEO, "p1", title="lift and stairs")
    writes(tx, ROMEO, "p2", title="lift")
    watch.looks()
    assert watch.found() == ["p2"] and watch.found(mercutio) == ["p2", "p1"]
    muting.mute(tx, muting.MuteThis(account=account.key, actor=BENVOLIO, what=ROMEO))
    assert watch.found() == []
    romeo = tx.accounts.get("romeo")
    assert romeo is not None
    tx.blocks.add(romeo.key, mercutio)
    writes(tx, ROMEO, "p3", title="lift")
    watch.looks()
    assert watch.hits(mercutio) == {1: 2, 2: 1} and watch.hits() == {1: 1}
    tx.tracks.change(there(tx, watch).key, hits=0)
    assert not watch.matcher.take(tx, arrived(found("Good night by the stairs")))


def test_a_repetition_is_no_news(tx: Transaction, watch: Watch) -> None:
    watch.tracks(BENVOLIO, "lift")
    original = writes(tx, ROMEO, "p1", title="lift")
    uri = ItemAddress(ROMEO, MICROBLOG, "p1").uri
    mercutio = JID("mercutio", tx.domain)
    entry = Entry(title="lift", via=uri, thread=original.thread)
    publishing.publish(
        tx,
        publishing.Publish(
            service=mercutio, node=MICROBLOG, actor=mercutio, item_id="r1", payload=payload_of("lift"), entry=entry
        ),
    )
    watch.looks()
    assert watch.found() == ["p1"]


def test_a_retracted_post_is_found_no_more(tx: Transaction, watch: Watch) -> None:
    watch.tracks(BENVOLIO, "lift")
    guest = watch.tracks(PARIS, "lift")
    writes(tx, ROMEO, "p1", title="lift")
    watch.looks()
    retracting.retract(tx, retracting.Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="p1", notify=True))
    watch.looks()
    assert watch.found() == [] and watch.found(PARIS) == []
    owed = [row.stanza for row in tx.outbox.owed("capulet.example", frozenset(Audience), limit=9) if row.stanza]
    assert owed == [f"<to>{PARIS} {guest.subid} p1</to>", f"<gone>{PARIS} {guest.subid} p1</gone>"]


# people elsewhere


def owed(tx: Transaction, domain: str = "capulet.example") -> list[str]:
    return [row.stanza for row in tx.outbox.owed(domain, frozenset(Audience), limit=999) if row.stanza]


def test_somebody_elsewhere_is_told_of_what_is_written_here_for_all(tx: Transaction, watch: Watch) -> None:
    one, two = watch.tracks(PARIS, "lift"), watch.tracks(PARIS, "back")
    writes(tx, ROMEO, "local", title="lift", audience=Audience.LOCAL)
    writes(tx, ROMEO, "followers", title="lift", audience=Audience.FOLLOWERS)
    arrives(tx, JULIET, "lift")
    writes(tx, ROMEO, "public", title="The lift is back")
    watch.looks()
    assert owed(tx) == [f"<to>{PARIS} {one.subid} {two.subid} public</to>"]
    assert watch.found(PARIS) == ["public"] and watch.matcher.last and watch.matcher.last.domains == {"capulet.example"}


def test_a_lease_ends_unless_it_is_asked_for_again(tx: Transaction, watch: Watch, time: Time) -> None:
    track = watch.tracks(PARIS, "lift")
    assert track.expires == tx.now + timedelta(days=7)
    tx.tracks.change(track.key, expires=tx.now - timedelta(seconds=1))
    writes(tx, ROMEO, "p1", title="lift")
    watch.looks()
    assert owed(tx) == []
    assert watch.tracks(PARIS, "lift").key == track.key
    writes(tx, ROMEO, "p2", title="lift")
    watch.looks()
    assert owed(tx) == [f"<to>{PARIS} {track.subid} p2</to>"]
    tx.tracks.change(track.key, expires=tx.now - timedelta(seconds=1))
    ended, more = tracking.forget(tx, 100, ending)
    assert [one.key for one in ended.tracks] == [track.key] and not more and tracking.tracks_of(tx, PARIS) == ()


def test_too_much_is_counted_and_not_told(tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "GUEST_HITS_PER_HOUR", 2)
    monkeypatch.setattr(matching, "HITS_PER_HOUR", 3)
    watch.tracks(PARIS, "lift")
    watch.tracks(BENVOLIO, "lift")
    for number in range(5):
        writes(tx, ROMEO, f"p{number}", title="lift")
    watch.looks()
    assert len(owed(tx)) == 2 and watch.hits(PARIS) == {1: 5}
    assert watch.found() == ["p2", "p1", "p0"] and watch.hits() == {1: 5}


def test_a_domain_has_a_limit_of_its_own(tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "DOMAIN_HITS_PER_HOUR", 3)
    for number in range(5):
        watch.tracks(JID(f"p{number}", "capulet.example"), "lift")
    watch.tracks(JID("count", "verona.example"), "lift")
    writes(tx, ROMEO, "p", title="lift")
    watch.looks()
    assert len(owed(tx)) == 3 and len(owed(tx, "verona.example")) == 1


def test_nobody_tracks_without_end(tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "TRACKS_MAX", 2)
    monkeypatch.setattr(tracking, "GUEST_TRACKS_MAX", 2)
    monkeypatch.setattr(tracking, "DOMAIN_TRACKS_MAX", 3)
    for owner in (BENVOLIO, PARIS):
        watch.tracks(owner, "one")
        watch.tracks(owner, "two")
        watch.tracks(owner, "two")
        with pytest.raises(TooManySubscriptions):
            watch.tracks(owner, "three")
    watch.tracks(JID("nurse", "capulet.example"), "one")
    with pytest.raises(TooManySubscriptions):
        watch.tracks(JID("peter", "capulet.example"), "one")
    # A domain whose name begins the same is another.
    watch.tracks(JID("peter", "x.capulet.example"), "one")
    assert tx.tracks.remove_of_guests("capulet.example") and tx.tracks.count_of_guests() == 1
    assert tracking.tracks_of(tx, BENVOLIO)


def test_an_edit_that_is_known_already_does_not_count(
    tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "GUEST_HITS_PER_HOUR", 2)
    monkeypatch.setattr(matching, "HITS_PER_HOUR", 2)
    watch.tracks(PARIS, "lift")
    watch.tracks(BENVOLIO, "lift")
    for number in range(5):
        writes(tx, ROMEO, "p1", title=f"lift {number}")
        watch.looks()
    writes(tx, ROMEO, "p2", title="lift")
    watch.looks()
    assert watch.hits() == watch.hits(PARIS) == {1: 2} and watch.found() == ["p2", "p1"]
    assert len(owed(tx)) == 2


def test_who_is_blocked_elsewhere_is_not_told(tx: Transaction, watch: Watch) -> None:
    nurse = JID("nurse", "capulet.example")
    subid = watch.tracks(nurse, "lift").subid
    watch.tracks(PARIS, "lift")
    romeo = tx.accounts.get("romeo")
    assert romeo is not None
    tx.blocks.add(romeo.key, PARIS)
    writes(tx, ROMEO, "p1", title="lift")
    watch.looks()
    assert owed(tx) == [f"<to>{nurse} {subid} p1</to>"] and watch.hits(PARIS) == {1: 0}


def test_what_is_to_be_read_by_few_only_is_not_told_elsewhere(tx: Transaction, watch: Watch) -> None:
    watch.tracks(PARIS, "lift")
    watch.tracks(BENVOLIO, "lift")
    writes(tx, ROMEO, "first", title="stairs")
    node = tx.nodes.find(ROMEO, MICROBLOG)
    assert node is not None
    tx.nodes.configure(node, replace(node.config, access_model=AccessModel.WHITELIST))
    writes(tx, ROMEO, "p1", title="lift")
    watch.looks()
    assert owed(tx) == [] and watch.hits(PARIS) == watch.hits() == {1: 0}


def test_somebody_elsewhere_is_told_only_of_what_is_to_be_delivered(tx: Transaction, watch: Watch) -> None:
    watch.tracks(PARIS, "lift", deliver=False)
    nurse = JID("nurse", "capulet.example")
    back = watch.tracks(nurse, "back")
    watch.tracks(nurse, "lift", deliver=False)
    writes(tx, ROMEO, "p1", title="The lift is back")
    watch.looks()
    assert owed(tx) == [f"<to>{nurse} {back.subid} p1</to>"]
    assert watch.found(PARIS) == watch.found(nurse) == ["p1"]
    retracting.retract(tx, retracting.Retract(service=ROMEO, node=MICROBLOG, actor=ROMEO, item_id="p1", notify=True))
    watch.looks()
    assert owed(tx)[1:] == [f"<gone>{nurse} {back.subid} p1</gone>"]


def test_a_domain_that_takes_nothing_is_not_owed_without_end(
    tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "OWED_MAX", 2)
    watch.tracks(PARIS, "lift")
    for number in range(6):
        writes(tx, ROMEO, f"p{number}", title="lift")
        watch.looks()
    assert len(owed(tx)) == 3 and watch.found(PARIS) == [f"p{number}" for number in (5, 4, 3, 2, 1, 0)]
    tx.outbox.done([row.id for row in tx.outbox.owed("capulet.example", frozenset(Audience), limit=9)])
    writes(tx, ROMEO, "p6", title="lift")
    watch.looks()
    assert len(owed(tx)) == 1


def test_what_is_asked_for_while_tracks_are_read_is_not_put_back(tx: Transaction, watch: Watch) -> None:
    track = watch.tracks(BENVOLIO, "lift")
    matcher = Matcher(Index(), atom.read_text, write, withdraw)
    changed = tracking.read_query(tx, None, "stairs")
    matcher.index.add(track.key, changed)
    assert matcher.load(tx, 0) is None
    post = content(Entry(title="stairs"), ROMEO)
    assert matcher.index.matching(post) == [track.key]


def test_what_is_met_costs_the_same_however_many_have_met_it(tx: Transaction, watch: Watch) -> None:
    """Of what is known of a post only the part is read that is about those who are looked at."""
    address = ItemAddress(ROMEO, MICROBLOG, "p1")
    keys = [watch.tracks(JID(f"p{number}", f"d{number}.example"), "lift").key for number in range(30)]
    read: list[int] = []
    for key in keys:
        tx.tracks.hit((key,), address, told=True)
        read.append(len(tx.tracks.met((key,), address)))
    assert read == [1] * 30 and tx.tracks.met(keys, address) == set(keys)
    assert tx.tracks.hit(keys, address, told=True) == []


def test_who_has_yet_to_say_what_they_look_for_is_not_told_of_what_was_before(tx: Transaction, watch: Watch) -> None:
    """Nobody else tracks anything: the log was not read."""
    begun = tracking.begin(tx, Begin(owner=PARIS, account=None)).tracks[0]
    writes(tx, ROMEO, "p1", title="lift")
    watch.tracks(BENVOLIO, "lift")
    watch.looks()
    assert watch.found() == []
    tracking.end(tx, BENVOLIO, [track.key for track in tracking.tracks_of(tx, BENVOLIO)], ending)
    writes(tx, ROMEO, "p2", title="lift")
    query = tracking.read_query(tx, None, "lift")
    watch.matcher.index.add(
        begun.key, tracking.configure(tx, begun, Begin(owner=PARIS, account=None, query=query)).query
    )
    watch.looks()
    assert watch.found(PARIS) == []
    writes(tx, ROMEO, "p3", title="lift")
    watch.looks()
    assert watch.found(PARIS) == ["p3"]


def test_what_is_only_in_memory_finds_nothing(tx: Transaction, watch: Watch) -> None:
    """After the account of a track is removed, another may have its key before anything met it."""
    lift = watch.tracks(BENVOLIO, "lift")
    tx.tracks.remove(lift.key)
    begun = tracking.begin(tx, Begin(owner=PARIS, account=None)).tracks[0]
    watch.matcher.index.add(begun.key, lift.query)
    stairs = watch.tracks(BENVOLIO, "stairs")
    watch.matcher.index.add(stairs.key, lift.query)
    writes(tx, ROMEO, "p1", title="lift")
    watch.looks()
    assert watch.found(PARIS) == watch.found() == [] and owed(tx) == []


def test_what_has_ended_is_not_configured(tx: Transaction, watch: Watch) -> None:
    track = watch.tracks(PARIS, "lift")
    tracking.end(tx, PARIS, [track.key], ending)
    other = watch.tracks(JID("nurse", "capulet.example"), "stairs")
    with pytest.raises(InvalidSubID):
        tracking.configure(tx, track, Begin(owner=PARIS, account=None, query=tracking.read_query(tx, None, "back")))
    assert tracking.tracks_of(tx, other.owner) == (other,)


# words for them


def test_tracks_are_named_by_number_and_by_what_they_look_for(tx: Transaction, watch: Watch) -> None:
    account = tx.accounts.get("benvolio")
    assert account is not None

    def named(text: str) -> list[int]:
        return [track.number for track in tracking.named(tx, BENVOLIO, account.key, text)]

    watch.tracks(BENVOLIO, "lift is back")
    watch.tracks(BENVOLIO, "2")
    watch.tracks(BENVOLIO, "Café #verona")
    watch.tracks(BENVOLIO, "night @capulet.example")
    assert named("~1") == [1] and named("2") == [2] and named("~2") == [2]
    assert named("LIFT is back") == [1] and named("cafe #Verona") == [3]
    assert named("night") == [4] and named("night @capulet.example") == [4]
    assert named("all") == [1, 2, 3, 4]
    for text in ("~9", "nothing", "from nobody", "", "~", "lift"):
        with pytest.raises(NotSubscribed):
            named(text)


@pytest.mark.parametrize(
    "text",
    ["", "!?", "from nobody", "near nowhere", "lang:!", "a b c d e f g h i j k l m n o p q", "y" * 501, "from", "@"],
)
def test_what_is_no_query_is_refused(tx: Transaction, watch: Watch, text: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        watch.tracks(BENVOLIO, text)
    assert refused.value.text


def test_several_subscriptions_are_told_apart(tx: Transaction, watch: Watch) -> None:
    with pytest.raises(NotSubscribed):
        tracking.subscription(tx, PARIS, None)
    one = watch.tracks(PARIS, "one")
    assert tracking.subscription(tx, PARIS, None) == one
    two = watch.tracks(PARIS, "two")
    with pytest.raises(SubIDRequired):
        tracking.subscription(tx, PARIS, None)
    with pytest.raises(InvalidSubID):
        tracking.subscription(tx, PARIS, "other")
    assert tracking.subscription(tx, PARIS, two.subid) == two
    changed = tracking.configure(
        tx, two, Begin(owner=PARIS, account=None, query=tracking.read_query(tx, None, "three"), urgent=True)
    )
    assert str(changed.query) == "three" and tracking.subscription(tx, PARIS, two.subid).query == changed.query


def test_pages_go_both_ways(tx: Transaction, watch: Watch) -> None:
    track = watch.tracks(BENVOLIO, "lift")
    watch.tracks(BENVOLIO, "back")
    for number in range(5):
        writes(tx, ROMEO, f"p{number}", title="lift back" if number % 2 else "lift")
    watch.looks()

    def page(subid: str | None = None, **more: Any) -> tuple[list[str], list[str], bool]:
        found = tracking.retrieve(tx, tracking.Retrieve(owner=BENVOLIO, subid=subid, page=PageRequest(**more)))
        return [post.item.id for post in found.posts], [post.anchor for post in found.posts], found.more

    ids, anchors, more = page(max=2)
    assert ids == ["p4", "p3"] and more
    assert page(max=2, after=anchors[-1])[0] == ["p2", "p1"]
    assert page(max=2, last_page=True)[0] == ["p1", "p0"]
    last = page(max=2, last_page=True)[1]
    assert page(max=2, before=last[0])[0] == ["p3", "p2"]
    assert page(max=9)[2] is False and len(page(max=9)[0]) == 5
    assert page(track.subid)[0] == ["p4", "p3", "p2", "p1", "p0"]
    counted = tracking.retrieve(tx, tracking.Retrieve(owner=BENVOLIO, page=PageRequest(max=0)))
    assert counted.count == 5 and not counted.posts


def test_what_is_not_shown_any_more_does_not_hide_what_is_older(tx: Transaction, watch: Watch) -> None:
    mercutio = JID("mercutio", tx.domain)
    watch.tracks(BENVOLIO, "lift")
    writes(tx, ROMEO, "p1", title="lift")
    for number in range(40):
        writes(tx, mercutio, f"m{number}", title="lift")
    watch.looks()
    account = tx.accounts.get("benvolio")
    assert account is not None
    muting.mute(tx, muting.MuteThis(account=account.key, actor=BENVOLIO, what=mercutio))
    page = tracking.retrieve(tx, tracking.Retrieve(owner=BENVOLIO, page=PageRequest(max=1)))
    assert [post.item.id for post in page.posts] == ["p1"] and not page.more


# nodes elsewhere


def there(tx: Transaction, watch: Watch, text: str = "night @capulet.example") -> Track:
    track = watch.tracks(BENVOLIO, text)
    assert track.service == "capulet.example" and leasing.granted(tx, track, "lease")
    return replace(track, lease="lease")


def found(text: str, *, publisher: JID = JULIET, item_id: str = "n1", **more: Any) -> Found:
    return Found(id=item_id, publisher=publisher, payload=payload_of(text), entry=Entry(title=text, **more))


def arrived(*some: Found, leases: frozenset[str] = frozenset({"lease"}), **more: Any) -> Arrived:
    values: dict[str, Any] = {"owner": BENVOLIO, "domain": "capulet.example", "leases": leases, "found": some}
    return Arrived(**values | more)


def test_a_node_elsewhere_looks_too(tx: Transaction, watch: Watch) -> None:
    track = there(tx, watch)
    assert tracking.for_elsewhere(track.query) == "night" and tracking.label(track) == "night"
    assert watch.matcher.take(tx, arrived(found("Good night")))
    assert not watch.matcher.take(tx, arrived(found("Good night")))
    assert watch.found() == ["n1"] and watch.hits() == {1: 1}
    ((_, told, seen),) = matching.untold(tx, 0, 10)
    assert told.key == track.key and seen is not None and seen[1].publisher == JULIET and seen[0].key == 0
    # The same post as our own copy, when somebody follows.
    arrives(tx, JULIET, "night")
    assert watch.hits() == {1: 1}
    assert watch.matcher.take(tx, arrived(retracted=("n1",))) is False
    assert watch.found() == []


@pytest.mark.parametrize(
    "sent",
    [
        arrived(found("Good night"), leases=frozenset({"other"})),
        arrived(found("Good night"), leases=frozenset()),
        arrived(found("Good night"), leases=frozenset({""})),
        arrived(found("Good night"), domain="verona.example"),
        arrived(found("Good night"), owner=ROMEO),
        arrived(found("Good night", publisher=JID.parse("count@verona.example"))),
        arrived(found("Good night", publisher=JID.parse("mercutio@montague.example"))),
        arrived(found("Good night", publisher=JID.parse("capulet.example"))),
        arrived(found("Good day")),
        arrived(found("Good night", audience=Audience.FOLLOWERS)),
        arrived(found("Good night", item_id="x" * 1024)),
        arrived(found("Good night " + "x" * 70_000)),
        arrived(replace(found("Good night"), entry=None)),
    ],
)
def test_only_what_was_asked_for_is_taken(tx: Transaction, watch: Watch, sent: Arrived) -> None:
    there(tx, watch)
    assert watch.matcher.take(tx, sent) is False
    assert watch.found() == [] and watch.hits() == {1: 0}


def test_nodes_are_asked_again(tx: Transaction, watch: Watch, time: Time) -> None:
    track = watch.tracks(BENVOLIO, "night @capulet.example @verona.example")
    assert [one.service for one in leasing.due(tx, 10)] == ["capulet.example", "verona.example"]
    verona = tracking.tracks_of(tx, BENVOLIO)[1]
    leasing.granted(tx, track, "lease")
    leasing.troubled(tx, verona, leasing.UNREACHABLE)
    assert leasing.due(tx, 10) == ()
    tx.tracks.change(track.key, checked=tx.now - timedelta(hours=2))
    tx.tracks.change(verona.key, checked=tx.now - timedelta(hours=2))
    assert [one.service for one in leasing.due(tx, 10)] == ["verona.example"]
    tx.tracks.change(track.key, checked=tx.now - timedelta(hours=25))
    assert len(leasing.due(tx, 10)) == 2
    gone = tracking.end(tx, BENVOLIO, [track.key, verona.key], ending)
    assert gone.domains == ("capulet.example",) and owed(tx) == ["<end>lease</end>"]
    assert not leasing.granted(tx, track, "lease")


def test_who_answers_late_answers_for_nothing_else(tx: Transaction, watch: Watch) -> None:
    """It has ended meanwhile, and another has its key."""
    track = watch.tracks(BENVOLIO, "night @capulet.example")
    tracking.end(tx, BENVOLIO, [track.key], ending)
    other = watch.tracks(BENVOLIO, "day @verona.example")
    assert not leasing.granted(tx, replace(track, key=other.key), "lease")
    leasing.troubled(tx, replace(track, key=other.key), leasing.UNREACHABLE)
    assert tracking.tracks_of(tx, BENVOLIO) == (other,)


def test_what_several_have_one_lease_for_ends_with_the_last(tx: Transaction, watch: Watch) -> None:
    """Somebody calls a place by its name in one and by its point in the other: elsewhere that is the same."""
    one = watch.tracks(BENVOLIO, "near 45.442,10.998 @capulet.example")
    named = replace(one.query, circle=replace(one.query.circle, name="arena")) if one.query.circle else one.query
    account = tx.accounts.get("benvolio")
    assert account is not None
    two = tracking.begin(tx, Begin(owner=BENVOLIO, account=account.key, query=named)).tracks[0]
    assert two.key != one.key and tracking.for_elsewhere(two.query) == tracking.for_elsewhere(one.query)
    for track in (one, two):
        leasing.granted(tx, track, "lease")
    assert tracking.end(tx, BENVOLIO, [one.key], ending).domains == () and owed(tx) == []
    assert tracking.end(tx, BENVOLIO, [two.key], ending).domains == ("capulet.example",)
    assert owed(tx) == ["<end>lease</end>"]


def test_what_has_an_end_here_ends_elsewhere_too(tx: Transaction, watch: Watch, time: Time) -> None:
    account = tx.accounts.get("benvolio")
    assert account is not None
    query = tracking.read_query(tx, account.key, "night @capulet.example")
    until = tx.now + timedelta(minutes=1)
    track = tracking.begin(tx, Begin(owner=BENVOLIO, account=account.key, query=query, until=until)).tracks[0]
    leasing.granted(tx, track, "lease")
    tx.tracks.change(track.key, expires=tx.now - timedelta(seconds=1))
    ended, more = tracking.forget(tx, 100, ending)
    assert ended.domains == ("capulet.example",) and not more and owed(tx) == ["<end>lease</end>"]


def test_a_node_that_repeats_itself_or_floods_keeps_nothing_else_back(
    tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "HITS_PER_HOUR", 5)
    monkeypatch.setattr(matching, "GUEST_HITS_PER_HOUR", 3)
    there(tx, watch)
    watch.tracks(BENVOLIO, "lift")
    for _ in range(9):
        watch.matcher.take(tx, arrived(found("Good night")))
    assert watch.hits() == {1: 1, 2: 0}
    for number in range(9):
        watch.matcher.take(tx, arrived(found("Good night", item_id=f"f{number}")))
    writes(tx, ROMEO, "p1", title="lift")
    watch.looks()
    assert watch.found() == ["p1", "f1", "f0", "n1"] and watch.hits() == {1: 10, 2: 1}


def test_what_a_node_floods_with_is_forgotten_too(
    tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many it sends at once."""
    monkeypatch.setattr(tracking, "KEPT_MAX", 10)
    monkeypatch.setattr(tracking, "TRIMMED_EVERY", 5)
    there(tx, watch)
    for number in range(0, 60, 4):
        some = [found("Good night", item_id=f"f{number + more}") for more in range(4)]
        watch.matcher.take(tx, arrived(*some[: 3 if number % 8 else 4]))
        assert len(tx.tracks.hits(BENVOLIO, limit=99)) <= 10 + 5 + 4


def test_what_is_retracted_there_is_only_what_was_found_there(tx: Transaction, watch: Watch) -> None:
    there(tx, watch)
    assert watch.matcher.take(tx, arrived(*(found("Good night", item_id=f"n{number}") for number in range(4))))
    watch.tracks(BENVOLIO, "lift")
    writes(tx, ROMEO, "n1", title="lift")
    watch.looks()
    other = Arrived(owner=BENVOLIO, domain="verona.example", leases=frozenset({"lease"}), retracted=("n0",))
    assert not watch.matcher.take(tx, other)
    gone = ("n1", "n2", *(f"other{number}" for number in range(600)))
    assert not watch.matcher.take(tx, arrived(retracted=gone))
    assert watch.found() == ["n1", "n3", "n0"]


def test_what_somebody_takes_back_is_nobody_elses(tx: Transaction, watch: Watch) -> None:
    """An id is chosen by who publishes, and may be that of another's."""
    there(tx, watch)
    tybalt = JID.parse("tybalt@capulet.example")
    assert watch.matcher.take(tx, arrived(found("Good night"), found("Good night", publisher=tybalt)))
    assert len(watch.found()) == 2
    assert not watch.matcher.take(tx, arrived(retracted=("n1",), publishers={"n1": frozenset({tybalt})}))
    assert [hit.address.service for hit in tx.tracks.hits(BENVOLIO, limit=9)] == [JULIET]
    assert not watch.matcher.take(tx, arrived(retracted=("n1",), publishers={"n1": frozenset()}))
    assert watch.found() == ["n1"]
    assert not watch.matcher.take(tx, arrived(retracted=("n1",)))
    assert watch.found() == []


def test_one_node_of_which_much_is_due_keeps_no_other_from_its_turn(
    tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leasing, "DUE_OF_EACH", 3)
    for number in range(8):
        watch.tracks(BENVOLIO, f"night{number} @capulet.example")
    known, new = watch.tracks(BENVOLIO, "night @verona.example"), watch.tracks(BENVOLIO, "day @verona.example")
    tx.tracks.change(known.key, lease="lease", checked=tx.now - timedelta(hours=25))
    asked = leasing.due(tx, 5)
    assert [one.service for one in asked] == ["capulet.example", "verona.example"] * 2 + ["capulet.example"]
    assert [one.key for one in asked if one.service == "verona.example"] == [new.key, known.key]
    assert len(leasing.due(tx, 99)) == 3 + 2


def test_what_is_old_is_forgotten(tx: Transaction, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "KEPT_MAX", 3)
    monkeypatch.setattr(tracking, "TRIMMED_EVERY", 1)
    watch.tracks(BENVOLIO, "lift")
    for number in range(5):
        writes(tx, ROMEO, f"p{number}", title="lift")
        watch.looks()
    assert tracking.forget(tx, 100, ending) == (((), ()), False)
    assert watch.found() == ["p4", "p3", "p2"]
    monkeypatch.setattr(tracking, "KEPT", timedelta(seconds=-1))
    tracking.forget(tx, 100, ending)
    assert watch.found() == [] and watch.hits() == {1: 5}


def test_an_account_that_goes_takes_its_tracks_along(tx: Transaction, watch: Watch) -> None:
    track = watch.tracks(BENVOLIO, "lift")
    account = tx.accounts.get("benvolio")
    assert account is not None
    tx.accounts.remove(account)
    writes(tx, ROMEO, "p1", title="lift")
    watch.looks()
    assert track.key not in watch.matcher.index
