"""A conversation between two nodes: answers in one thread, reactions, repetitions, private words; what is deleted."""

import re
from pathlib import Path

import pytest

from microblog.model.entry import HEART
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.model.node import COMMENTS_PREFIX, MICROBLOG
from microblog.model.uri import ItemAddress
from microblog.usecases import conversing
from tests.federation.nodes import Authority
from tests.federation.twins import CAPULET, MONTAGUE, Talker, Twins

ROMEO, JULIET = JID("romeo", MONTAGUE), JID("juliet", CAPULET)


class Verona(Twins):
    """Juliet, and Romeo who follows her; on the other side Benvolio, who does not."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(authority, folder)
        self.romeo = self.montague.talker("romeo")
        self.benvolio = self.montague.talker("benvolio")
        self.juliet = self.capulet.talker("juliet")
        for somebody in (self.romeo, self.benvolio, self.juliet):
            somebody.says("stats")
        self.romeo.says("follow juliet@capulet.example")
        self.settle()
        self.romeo.hears()

    def night(self) -> tuple[ItemAddress, int]:
        """Juliet posts; where it is, and by what number Romeo knows it."""
        self.juliet.says("Good night, good night!")
        (line,) = self.romeo.hears()
        assert line.startswith("juliet@capulet.example: Good night, good night!")
        return self.capulet.newest(JULIET, MICROBLOG), number(line)


def number(line: str) -> int:
    found = re.search(r"#(\d+)$", line)
    assert found, line
    return int(found[1])


def one(lines: list[str], words: str) -> str:
    (found,) = (line for line in lines if words in line)
    return found


@pytest.fixture
def verona(authority: Authority, tmp_path: Path) -> Verona:
    return Verona(authority, tmp_path)


def comments(address: ItemAddress) -> str:
    return f"{COMMENTS_PREFIX}{address.item_id}"


def test_answers_of_both_sides_are_in_the_thread_of_the_first(verona: Verona) -> None:
    post, shown = verona.night()
    verona.romeo.says(f"r #{shown} Wilt thou leave me so unsatisfied?")
    line = one(verona.juliet.hears(), "unsatisfied")
    thread = verona.capulet.items(JULIET, comments(post))
    assert [(item.publisher, item.proof, item.answers) for item in thread] == [(ROMEO, Proof.CERTIFICATE, post.uri)]
    verona.juliet.says(f"r #{number(line)} What satisfaction?")
    assert "What satisfaction?" in one(verona.romeo.hears(), "What satisfaction?")
    thread = verona.capulet.items(JULIET, comments(post))
    assert [item.publisher for item in thread] == [ROMEO, JULIET]
    (kept,) = (item for item in verona.montague.items(JULIET, MICROBLOG) if item.answers)
    assert kept.answers == ItemAddress(ROMEO, MICROBLOG, thread[0].id).uri
    # She likes it, where it is his.
    verona.juliet.says(f"fav #{number(line)}")
    own = ItemAddress(ROMEO, MICROBLOG, thread[0].id)
    assert verona.montague.database.run(conversing.reactions, own) == {HEART: 1}
    # He deletes his answer: it is gone from the thread as well.
    verona.romeo.says("undo")
    assert [item.publisher for item in verona.capulet.items(JULIET, comments(post))] == [JULIET]


def test_an_edit_reaches_the_thread(verona: Verona) -> None:
    post, shown = verona.night()
    answer = verona.romeo.says(f"r #{shown} Wilt thou leave me so?")
    found = re.search(r"#(\d+)", answer[-1])
    assert found
    verona.romeo.says(f"edit #{found[1]} Wilt thou leave me so unsatisfied?")
    (copy,) = verona.capulet.items(JULIET, comments(post))
    assert "unsatisfied" in copy.payload


def test_what_was_said_while_they_could_not_reach_each_other_arrives(verona: Verona) -> None:
    post, shown = verona.night()
    verona.part()
    verona.romeo.says(f"r #{shown} Wilt thou leave me so unsatisfied?")
    verona.romeo.says(f"fav #{shown}")
    verona.romeo.says("d juliet@capulet.example The exchange of thy faithful vow.")
    assert verona.capulet.items(JULIET, comments(post)) == []
    verona.meet()
    assert verona.capulet.items(JULIET, comments(post))[0].publisher == ROMEO
    assert verona.capulet.database.run(conversing.reactions, post) == {HEART: 1}
    assert one(verona.juliet.hears(), "faithful vow") == "The exchange of thy faithful vow."


@pytest.mark.parametrize("gesture", ["word", "reaction"])
def test_a_heart_counts_once_on_both_sides_and_is_taken_back(verona: Verona, gesture: str) -> None:
    post, shown = verona.night()
    if gesture == "word":
        verona.romeo.says(f"fav #{shown}")
    else:
        verona.romeo.reacts(f"n{shown}", "❤️")
    for node in (verona.capulet, verona.montague):
        assert node.database.run(conversing.reactions, post) == {HEART: 1}
    # Once as an attachment, once as Movim says it.
    (heart,) = verona.capulet.items(JULIET, comments(post))
    assert heart.publisher == ROMEO
    if gesture == "word":
        verona.romeo.says(f"unfav #{shown}")
    else:
        verona.romeo.reacts(f"n{shown}")
    for node in (verona.capulet, verona.montague):
        assert node.database.run(conversing.reactions, post) == {}
    assert verona.capulet.items(JULIET, comments(post)) == []


def test_a_repetition_ends_with_what_it_repeats(verona: Verona) -> None:
    verona.benvolio.says("follow romeo")
    post, shown = verona.night()
    verona.romeo.says(f"repost #{shown}")
    line = one(verona.benvolio.hears(), "via")
    assert "juliet@capulet.example via romeo: Good night, good night!" in line
    assert [item.via for item in verona.montague.items(ROMEO, MICROBLOG)] == [post.uri]
    verona.benvolio.says(f"r #{number(line)} Who is she?")
    (answer,) = verona.montague.items(JID("benvolio", MONTAGUE), MICROBLOG)
    assert answer.answers == post.uri
    verona.juliet.says("undo")
    assert verona.montague.items(ROMEO, MICROBLOG) == []
    assert verona.capulet.items(JULIET, comments(post)) == []


def test_a_thread_is_read_by_whoever_reads_the_post_and_by_nobody_else(verona: Verona) -> None:
    verona.juliet.says("friends How camest thou hither?")
    line = one(verona.romeo.hears(), "hither")
    post = verona.capulet.newest(JULIET, MICROBLOG)
    verona.romeo.says(f"r #{number(line)} With love's light wings.")
    assert [item.publisher for item in verona.capulet.items(JULIET, comments(post))] == [ROMEO]
    assert "hither" not in " ".join(verona.benvolio.says("get juliet@capulet.example"))
    verona.benvolio.hears()


def test_a_private_word_is_heard_by_one_person(verona: Verona) -> None:
    verona.romeo.says("d juliet@capulet.example Lady, by yonder blessed moon I swear.")
    (message,) = [stanza for stanza in verona.juliet.receives() if stanza.get("from") == str(ROMEO)]
    assert (message.get("type"), message.get("to")) == ("chat", str(JULIET))
    assert verona.benvolio.hears() == []
    assert verona.montague.items(ROMEO, MICROBLOG) == []


def test_a_word_to_somebody_who_does_not_follow_reaches_them(verona: Verona) -> None:
    verona.juliet.says("@romeo@montague.example What&apos;s in a name?")
    assert any("What's in a name?" in line for line in verona.romeo.hears())


def nudged(somebody: Talker) -> bool:
    return any("nudges you" in line for line in somebody.hears())


def test_a_nudge(verona: Verona) -> None:
    verona.romeo.says("nudge juliet@capulet.example")
    assert nudged(verona.juliet)
    verona.romeo.says("nudge juliet@capulet.example")
    assert not nudged(verona.juliet)
