"""A day of six people: at two nodes, at a Prosody, and at a Prosody with an address that is linked to an account here.

They do everything that a microblog is for, by chat, by feeds and by forms; what they said and were answered is
docs/tour.md. The page is part of the test: if the day goes otherwise than the page tells, the page is wrong. To write
it anew: `TOUR=write python -m pytest tests/interop/test_tour.py`.
"""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.interop import real_clients
from tests.interop.client import register
from tests.interop.microblogging import EVENT, MICROBLOG, OPEN, PUBSUB
from tests.interop.screen import Screen
from tests.interop.servers import CHECKOUT, MicroblogNode, Prosody
from tests.interop.tour import Tour, Visitor, becomes

pytestmark = pytest.mark.interop

PAGE = CHECKOUT / "docs" / "tour.md"
MONTAGUE, CAPULET, MANTUA = "montague.example", "capulet.example", "mantua.example"
ROMEO, BENVOLIO = f"romeo@{MONTAGUE}", f"benvolio@{MONTAGUE}"
JULIET, NURSE = f"juliet@{CAPULET}", f"nurse@{CAPULET}"
BALTHASAR, MERCUTIO = f"balthasar@{MANTUA}", f"mercutio@{MANTUA}"
ATOM = "http://www.w3.org/2005/Atom"


class Day:
    """The servers, and who is at them."""

    def __init__(self, montague: MicroblogNode, capulet: MicroblogNode, mantua: Prosody, folder: Path) -> None:
        self.montague, self.capulet, self.mantua, self.folder = montague, capulet, mantua, folder
        people = [(montague, "romeo"), (montague, "benvolio"), (capulet, "juliet"), (capulet, "nurse")]
        people += [(mantua, "balthasar"), (mantua, "mercutio")]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda server: server.start(), (montague, capulet, mantua)))
            list(pool.map(lambda one: register(*one), people))
        self.tour = Tour(
            "A day in Verona",
            "Two organisations run a node each: montague.example, where Romeo and Benvolio have accounts, and"
            " capulet.example, where Juliet and her nurse have theirs. mantua.example is an ordinary Prosody server;"
            " Balthasar and Mercutio have their addresses there. Each of them uses whatever client they like: most only"
            " chat with their node, some have clients that know feeds, Benvolio sits at a terminal.",
            "What they write stands behind `>`, what they get behind `<`. Everything below was said on a real day:"
            " only what is different every day is replaced by words in capitals.",
        )
        self.romeo = self.visitor(montague, "romeo", MONTAGUE)
        self.juliet = self.visitor(capulet, "juliet", CAPULET)
        self.nurse = self.visitor(capulet, "nurse", CAPULET)
        self.balthasar = self.visitor(mantua, "balthasar", MONTAGUE, [MICROBLOG])
        self.mercutio = self.visitor(mantua, "mercutio", MONTAGUE)

    def visitor(
        self, server: MicroblogNode | Prosody, name: str, node: str, notify: list[str] | None = None
    ) -> Visitor:
        return Visitor(self.tour, server.login(name, notify=notify or ()), name, node)


def entry(text: str, *, published: str = "", inside: str = "") -> str:
    dated = f"<published>{published}</published>" if published else ""
    return f"<entry xmlns='{ATOM}'><title>{text}</title>{dated}{inside}</entry>"


def first_words(day: Day) -> None:
    day.tour.scene(
        "The first words",
        "Romeo has an account and a chat client. He writes to his node as he would write to anybody, and what he"
        " writes is posted. A few words are commands, and `help` teaches them.",
    )
    day.romeo.says("help", "Whatever you write here is posted")
    day.romeo.says("But soft! What light through yonder window breaks? #light", "#1 sent to nobody")
    day.romeo.says("help follow", "read what somebody posts")


def old_posts(day: Day) -> None:
    day.tour.scene(
        "Following, and what was before",
        "Juliet's client knows feeds and publishes to hers (XEP-0472). These are entries of last summer that she"
        " brings with her.",
    )
    juliet, romeo = day.juliet, day.romeo
    juliet.publishes("summer-1", entry("I'll look to like, if looking liking move.", published="2025-07-12T20:00:00Z"))
    juliet.publishes("summer-2", entry("My only love sprung from my only hate!", published="2025-07-12T23:30:00Z"))
    day.tour.tell(
        "Romeo follows her, at another node, by her address. What she wrote before comes too, and stands at the time"
        " when it was written, below his own post."
    )
    romeo.says(f"follow {JULIET}", f"You follow {JULIET} now.")
    becomes(lambda: len(romeo.reads("urn:x-microblog:home:0", show=False)), 3)
    romeo.says("timeline", "#3")
    day.tour.tell("His node gives the same as a feed to clients that know feeds, page by page (XEP-0059).")
    romeo.reads("urn:x-microblog:home:0", rsm="<max>2</max>")
    day.tour.tell("Juliet follows him back. She writes to her own node, and what he posts comes to her as it happens.")
    juliet.says(f"follow {ROMEO}", f"You follow {ROMEO} now.")
    romeo.says("It is the east, and Juliet is the sun.", "sent to 1 person, 1 domain.")
    juliet.hears("Juliet is the sun.")


def ordinary_server(day: Day) -> None:
    day.tour.scene(
        "Somebody at an ordinary server",
        "Balthasar's server is a Prosody. His client publishes to it, and follows Romeo with the same request as it"
        " would follow anybody (XEP-0060).",
    )
    balthasar, romeo = day.balthasar, day.romeo
    balthasar.publishes("b1", entry("I do remember an apothecary hereabouts."), options=OPEN)
    subscribe = f"<pubsub xmlns='{PUBSUB}'><subscribe node='{MICROBLOG}' jid='{BALTHASAR}'/></pubsub>"
    balthasar.got(balthasar.asks("set", subscribe, ROMEO)[0])
    romeo.says(f"follow {BALTHASAR}", f"You follow {BALTHASAR} now.")
    romeo.hears("an apothecary hereabouts.")
    romeo.says("He jests at scars that never felt a wound.", "sent to 2 people, 2 domains.")
    day.juliet.hears("He jests at scars")
    post = balthasar.client.wait(lambda s: "jests" in "".join(s.itertext()), what="the post")
    event = post.find(f"{EVENT}event")
    balthasar.got(event)
    balthasar.publishes("b2", entry("News from Verona!"))
    romeo.hears("News from Verona!")


def linked(day: Day) -> None:
    day.tour.scene(
        "An address elsewhere that is an account here",
        "Romeo invites Mercutio, who wants to keep his address at mantua.example. With the invitation it becomes an"
        " account of montague.example: what he writes to the node from there is posted as his.",
    )
    romeo, mercutio = day.romeo, day.mercutio
    invitation = re.search(r'"(join [^"]+)"', romeo.says("invite mercutio", "An invitation for mercutio"))
    assert invitation is not None
    mercutio.says("hello", "You have no account here")
    mercutio.says(invitation[1], f"Welcome. You are mercutio@{MONTAGUE} now")
    mercutio.says("follow romeo", "You follow romeo now.")
    romeo.says("follow mercutio", "You follow mercutio now.")
    mercutio.says("O, then, I see Queen Mab hath been with you.", "sent to 1 person.")
    romeo.hears("Queen Mab")
    romeo.says("I dreamt a dream tonight.", "sent to 3 people, 2 domains.")
    mercutio.hears("dreamt")
    day.juliet.hears("dreamt")
    mercutio.says("home", "I dreamt a dream tonight.")


def terminal(day: Day) -> None:
    day.tour.scene(
        "At a terminal",
        "Benvolio uses profanity, in a terminal. He posts, follows Romeo, gets what Romeo posts, answers it, and asks"
        " for the timeline. This is what his screen shows.",
    )
    screen = Screen(90, 30)
    with real_clients.profanity(day.folder, day.montague, "benvolio", screen) as typed:
        typed.sees("logged in")
        typed.type(f"/msg {MONTAGUE} A right fair mark, fair coz, is soonest hit.")
        typed.sees("#1 sent to nobody who follows you.")
        typed.type("follow romeo")
        typed.sees("You follow romeo now.")
        day.romeo.says("Parting is such sweet sorrow.", "sent to 4 people, 2 domains.")
        for other in (day.mercutio, day.juliet):
            other.hears("sweet sorrow")
        typed.sees("romeo: Parting is such sweet sorrow.  #2")
        typed.type("#2 Groan! why, no.")
        typed.sees("#3 sent to")
        day.romeo.hears("Groan! why, no.")
        typed.type("timeline home 3")
        typed.sees("benvolio > romeo #2: Groan! why, no.  #3")
    day.tour.screen([line for line in screen.lines()[:-3] if line])


SCENES = (first_words, old_posts, ordinary_server, linked, terminal)


def test_a_day_goes_as_the_page_tells(
    microblog_node: Callable[..., MicroblogNode], prosody: Callable[..., Prosody], tmp_path: Path
) -> None:
    if missing := real_clients.profanity_missing():
        pytest.skip(missing)
    settings = {"accounts": {"registration": "open"}}
    day = Day(
        microblog_node(MONTAGUE, peers=[CAPULET, MANTUA], settings=settings, started=False),
        microblog_node(CAPULET, peers=[MONTAGUE, MANTUA], settings=settings, started=False),
        prosody(MANTUA, started=False),
        folder=tmp_path,
    )
    try:
        for scene in SCENES:
            scene(day)
    finally:
        page = day.tour.page()
        if os.environ.get("TOUR"):
            PAGE.write_text(page)
    assert page == PAGE.read_text()
