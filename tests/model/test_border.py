"""What never leaves, by its words and labels."""

import pytest

from microblog.model.border import NO_BORDER, Border
from microblog.model.entry import Entry, Link, Location
from microblog.model.item import Audience

BORDER = Border(words=("Falcon", "project  X", "straße", "c++"), labels=("SECRET",))


@pytest.mark.parametrize(
    "entry",
    [
        Entry(title="the falcon flies"),
        Entry(title="a", content="FALCON."),
        Entry(summary="(Falcon)"),
        Entry(title="about Project\nX, again"),
        Entry(title="in der STRASSE"),
        Entry(title="we write C++ here"),
        Entry(title="a", warning="falcon"),
        Entry(categories=("Falcon",)),
        Entry(title="a", links=(Link(href="https://x.example/falcon/1"),)),
        Entry(title="a", links=(Link(href="https://x.example/1", title="Falcon"),)),
        Entry(title="a", location=Location(text="Falcon House")),
        Entry(title="fal\u00adcon and fal\u200bcon"),
        Entry(title="\uff26\uff41\uff4c\uff43\uff4f\uff4e"),
        Entry(title="a", labels=("secret",)),
        Entry(title="a", labels=("PUBLIC", " Secret ")),
        Entry(title="a", labels=("",)),
    ],
    ids=repr,
)
def test_what_is_said_keeps_it_in_the_house(entry: Entry) -> None:
    assert BORDER.ceiling(entry) is Audience.LOCAL


@pytest.mark.parametrize(
    "entry",
    [
        Entry(title="falcons, falconry, a_falcon_x and gyrfalcon"),
        Entry(title="project Y"),
        Entry(title="c+"),
        Entry(title="secret"),
        Entry(title="a", labels=("PUBLIC",)),
        Entry(),
    ],
    ids=repr,
)
def test_only_whole_words_do(entry: Entry) -> None:
    assert BORDER.ceiling(entry) is None


def test_what_is_said_besides_counts() -> None:
    assert BORDER.ceiling(Entry(title="a"), "the falcon") is Audience.LOCAL


def test_without_a_border_nothing_is_kept() -> None:
    assert not NO_BORDER
    assert BORDER
    assert NO_BORDER.ceiling(Entry(title="falcon", labels=("SECRET", ""))) is None
    assert Border(words=(" ", "")).ceiling(Entry(title="falcon")) is None
