"""A day of six people: at two nodes, at a Prosody, and at a Prosody with an address that is linked to an account here.

They do everything that a microblog is for, by chat, by feeds and by forms; what they said and were answered is
docs/tour.md. The page is part of the test: if the day goes otherwise than the page tells, the page is wrong. To write
it anew: `TOUR=write python -m pytest tests/interop/test_tour.py`.
"""

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop import (
    real_clients,
    scenes_beginning,
    scenes_conversation,
    scenes_following,
    scenes_house,
    scenes_posting,
    scenes_privacy,
    scenes_realtime,
)
from tests.interop.day import CAPULET, MANTUA, MONTAGUE, Day
from tests.interop.servers import CHECKOUT, MicroblogNode, Prosody

pytestmark = pytest.mark.interop

PAGE = CHECKOUT / "docs" / "tour.md"

SCENES = (
    scenes_beginning.first_words,
    scenes_beginning.old_posts,
    scenes_beginning.ordinary_server,
    scenes_beginning.linked,
    scenes_beginning.terminal,
    scenes_following.asked_first,
    scenes_posting.rich,
    scenes_posting.mentioned,
    scenes_posting.forms,
    scenes_posting.once,
    scenes_posting.edited,
    scenes_conversation.thread,
    scenes_conversation.hearts,
    scenes_conversation.repeated,
    scenes_conversation.private,
    scenes_posting.deleted,
    scenes_privacy.audiences,
    scenes_privacy.border,
    scenes_privacy.exile,
    scenes_privacy.careful,
    scenes_house.profiles,
    scenes_house.administrator,
    scenes_house.evening,
    scenes_posting.passing,
    scenes_realtime.searched,
    scenes_realtime.tracked,
    scenes_realtime.held,
    scenes_realtime.quiet,
    scenes_realtime.placed,
    scenes_realtime.told_to_programs,
)
SETTINGS: dict[str, dict[str, dict[str, object]]] = {
    MONTAGUE: {"accounts": {"registration": "open"}, "border": {"words": ["poison"]}},
    CAPULET: {"accounts": {"registration": "open"}, "limits": {"post_max_characters": 280}},
}


def test_a_day_goes_as_the_page_tells(
    microblog_node: Callable[..., MicroblogNode], prosody: Callable[..., Prosody], tmp_path: Path
) -> None:
    if missing := real_clients.profanity_missing():
        pytest.skip(missing)
    day = Day(
        microblog_node(MONTAGUE, peers=[CAPULET, MANTUA], settings=SETTINGS[MONTAGUE], started=False),
        microblog_node(CAPULET, peers=[MONTAGUE, MANTUA], settings=SETTINGS[CAPULET], started=False),
        prosody(MANTUA, started=False),
        folder=tmp_path,
    )
    try:
        for scene in SCENES:
            scene(day)
        day.ends()
    finally:
        page = day.tour.page()
        if os.environ.get("TOUR"):
            PAGE.write_text(page)
    told = PAGE.read_text()
    different = "\n".join(difflib.unified_diff(told.splitlines(), page.splitlines(), "told", "happened", lineterm=""))
    assert not different, different
