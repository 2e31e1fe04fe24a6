"""Who is where on the day of the tour: people, nodes, an ordinary server."""

import re
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.interop.client import register
from tests.interop.microblogging import MICROBLOG
from tests.interop.servers import MicroblogNode, Prosody
from tests.interop.tour import Tour, Visitor

MONTAGUE, CAPULET, MANTUA = "montague.example", "capulet.example", "mantua.example"
ROMEO, BENVOLIO = f"romeo@{MONTAGUE}", f"benvolio@{MONTAGUE}"
JULIET, NURSE = f"juliet@{CAPULET}", f"nurse@{CAPULET}"
BALTHASAR, MERCUTIO = f"balthasar@{MANTUA}", f"mercutio@{MANTUA}"
ATOM_NS = "http://www.w3.org/2005/Atom"


class Day:
    """The servers, and who is at them."""

    def __init__(self, montague: MicroblogNode, capulet: MicroblogNode, mantua: Prosody, folder: Path) -> None:
        self.montague, self.capulet, self.mantua, self.folder = montague, capulet, mantua, folder
        people = [(montague, "romeo"), (montague, "benvolio"), (capulet, "juliet"), (capulet, "nurse")]
        people += [(mantua, "balthasar"), (mantua, "mercutio"), (mantua, "romeo")]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda server: server.start(), (montague, capulet, mantua)))
            made = pool.submit(
                montague.administer, "account", "add", "escalus", "--admin", "--password-file", "-", input="secret"
            )
            list(pool.map(lambda one: register(*one), people))
            assert made.result().returncode == 0
        self.tour = Tour(
            "A day in Verona",
            "Two organisations run a node each: montague.example, where Romeo and Benvolio have accounts, and"
            " capulet.example, where Juliet and her nurse have theirs. mantua.example is an ordinary Prosody server;"
            " Balthasar and Mercutio have their addresses there. Each of them uses whatever client they like: most only"
            " chat with their node, some have clients that know feeds, Benvolio sits at a terminal.",
            "What they write stands behind `>`, what they get behind `<`. Nothing below is made up: a test plays this"
            " day on real servers and fails when anything is said that is not on this page;"
            " only what is different every day is replaced by words in capitals.",
        )
        self.romeo = self.visitor(montague, "romeo", MONTAGUE)
        self.juliet = self.visitor(capulet, "juliet", CAPULET)
        self.nurse = self.visitor(capulet, "nurse", CAPULET)
        self.balthasar = self.visitor(mantua, "balthasar", MONTAGUE, [MICROBLOG])
        self.mercutio = self.visitor(mantua, "mercutio", MONTAGUE)
        self.exiled = self.visitor(mantua, "romeo", MONTAGUE)
        self.exiled.name = "exile"
        self.prince = self.visitor(montague, "escalus", MONTAGUE)
        self.root = self.root_number = ""

    def visitor(
        self, server: MicroblogNode | Prosody, name: str, node: str, notify: list[str] | None = None
    ) -> Visitor:
        return Visitor(self.tour, server.login(name, notify=notify or ()), name, node)

    def ends(self) -> None:
        """Nobody has heard anything that the page does not tell."""
        for one in (self.romeo, self.juliet, self.nurse, self.balthasar, self.mercutio, self.exiled, self.prince):
            one.client.ping()
            one.idle()


def entry(text: str, *, published: str = "", inside: str = "") -> str:
    """An entry as a client makes it; of now, if it does not say of when."""
    stamp = published or now()
    return f"<entry xmlns='{ATOM_NS}'><title>{text}</title><published>{stamp}</published>{inside}</entry>"


def now(later: float = 0) -> str:
    """An instant in the form of XEP-0082."""
    return (datetime.now(UTC) + timedelta(seconds=later)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def number(answer: str) -> str:
    """Of the post that was made."""
    found = re.match(r"#(\d+) sent", answer)
    assert found is not None, answer
    return found[1]


def shown_number(line: ET.Element) -> str:
    """Of the post that a line shows."""
    return (line.get("id") or "").removeprefix("n")
