"""Rules: when something happens, then something is done. ``rule when juliet enters the stage then tell me``.

What happens is a post that a query is true of, of anybody or only of those whom its owner follows; or somebody comes to
a place or leaves it; or the owner comes on line, perhaps only at a place. What is done is a line of chat to the owner,
a post of theirs, or a call to a program of theirs.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from microblog.model.jid import JID
from microblog.model.place import HERE, fold_place
from microblog.model.query import Circle, Query, distance, parse, point

RULE_MAX_CHARACTERS: Final = 2000
POST_MAX_CHARACTERS: Final = 1000
POINT_METRES: Final = 500
HOW: Final = (
    'A rule is written "rule when … then tell me", or "then post …", or "then call PROGRAM"; when is, for example, '
    '"juliet posts near PLACE", "anyone posts near here", "#lift appears", "juliet enters PLACE" or "I come online".'
)
_RULE: Final = re.compile(
    r"(?:when\s+)?(?P<when>(?!when\s+then\b)\S.*?)[\s,]+then\s+(?:(?P<tell>tell\s+me)|post\s+(?P<post>\S.*)|call\s+(?P<call>\S+?))[.!]?",
    re.IGNORECASE | re.DOTALL,
)
_ONLINE: Final = re.compile(r"I\s+(?:come|am|go|get)\s+on-?\s?line(?:\s+(?:at|in|near)\s+(?P<place>\S.*))?", re.I)
_CROSSES: Final = re.compile(
    r"(?P<who>\S+)\s+(?P<what>enters?|leaves?|arrives?\s+at|comes?\s+to)\s+(?P<place>\S.*)", re.I | re.S
)
_POSTS: Final = re.compile(r"(?P<who>\S+)\s+posts?(?:\s+(?P<query>\S.*))?", re.I | re.S)
_APPEARS: Final = re.compile(r"(?P<tag>#\S+)\s+appears?(?:\s+(?P<rest>\S.*))?", re.I | re.S)
_NEAR: Final = re.compile(
    r'(?P<before>.*?\s)??(?:near|in|at)\s+"?(?P<place>[^"]+?)"?(?:\s+(?P<far>[0-9.]+\s?k?m))?', re.I
)
_ANYONE: Final = frozenset(("anyone", "anybody", "someone", "somebody"))
_I: Final = frozenset(("i", "me"))


class What(StrEnum):
    """What has to happen."""

    POST = "post"
    ENTERS = "enters"
    LEAVES = "leaves"
    ONLINE = "online"


class Then(StrEnum):
    """What is done."""

    TELL = "tell"
    POST = "post"
    CALL = "call"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``when``: as it was written. ``query``: what a post has to be like, ``followed``: of somebody whom the owner
    follows. ``who``: is to come or go; ``circle``: where. ``text``: what is posted, or the program that is called.

    ``here``: the query's place is where its owner is, at any time.
    """

    what: What
    then: Then
    when: str
    text: str = ""
    query: Query | None = None
    followed: bool = False
    here: bool = False
    who: JID | None = None
    circle: Circle | None = None

    @property
    def subject(self) -> JID | None:
        """Whom it is about: who comes and goes, or whose posts are looked at."""
        if self.query is not None and len(self.query.authors) == 1:
            return self.query.authors[0]
        return self.who

    @property
    def needs_consent(self) -> bool:
        """Does it go by where somebody is?"""
        return self.what in (What.ENTERS, What.LEAVES)

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        kept: dict[str, Any] = {"then": self.then.value, "when": self.when, "text": self.text}
        if self.query is not None:
            kept["query"] = self.query.to_json()
        if self.who is not None:
            kept["who"] = str(self.who)
        if self.circle is not None:
            kept["circle"] = [self.circle.latitude, self.circle.longitude, self.circle.metres, self.circle.name]
        for name in ("followed", "here"):
            if getattr(self, name):
                kept[name] = True
        return kept

    @classmethod
    def from_json(cls, what: str, kept: Mapping[str, Any]) -> "Rule":
        """As it was kept."""
        circle = kept.get("circle")
        return cls(
            what=What(what),
            then=Then(kept["then"]),
            when=kept["when"],
            text=kept.get("text", ""),
            query=Query.from_json(kept["query"]) if "query" in kept else None,
            followed=kept.get("followed", False),
            here=kept.get("here", False),
            who=JID.parse(kept["who"]) if "who" in kept else None,
            circle=None
            if circle is None
            else Circle(latitude=circle[0], longitude=circle[1], metres=circle[2], name=circle[3]),
        )

    def __str__(self) -> str:
        """As somebody could write it."""
        done = {Then.TELL: "tell me", Then.POST: f"post {self.text}", Then.CALL: f"call {self.text}"}
        return f"when {self.when} then {done[self.then]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRule:
    """A rule with its owner and the number by which they know it. ``key``: the database's."""

    key: int
    account: int
    owner: JID
    number: int
    rule: Rule
    created: datetime
    fired: int = 0
    skipped: int = 0
    last_fired: datetime | None = None

    @property
    def tells_of_another(self) -> bool:
        """Does it say where somebody else is? That is told to nobody beyond this node."""
        return self.rule.needs_consent and self.rule.who != self.owner


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Whom and what the words of a rule may mean: who says it, and what finds people and places."""

    me: JID
    person: Callable[[str], JID | None]
    place: Callable[[str], Circle | None]


def read(text: str, names: Named) -> Rule:
    """A rule as somebody wrote it. Raises ValueError with a sentence for them."""
    if len(text) > RULE_MAX_CHARACTERS:
        raise ValueError(f"That is too long for a rule: at most {RULE_MAX_CHARACTERS} characters.")
    written = _RULE.fullmatch(text.strip())
    if written is None:
        raise ValueError(HOW)
    when = " ".join(written["when"].split())
    then, said = Then.TELL, ""
    if written["post"]:
        then, said = Then.POST, written["post"].strip()
        if len(said) > POST_MAX_CHARACTERS:
            raise ValueError(f"That is too long for a rule to post: at most {POST_MAX_CHARACTERS} characters.")
    elif written["call"]:
        then, said = Then.CALL, written["call"]
    return replace(_when(when, names), then=then, text=said, when=when)


def _when(when: str, names: Named) -> Rule:
    online = _ONLINE.fullmatch(when)
    if online is not None:
        circle = _fixed(online["place"], names) if online["place"] else None
        return _rule(What.ONLINE, circle=circle)
    crosses = _CROSSES.fullmatch(when)
    if crosses is not None and not crosses["who"].startswith(('"', "#")):
        what = What.LEAVES if crosses["what"].lower().startswith("leave") else What.ENTERS
        return _rule(what, who=_who(crosses["who"], names), circle=_fixed(crosses["place"], names))
    posts = _POSTS.fullmatch(when)
    if posts is not None and not posts["who"].startswith(('"', "#")):
        anyone = posts["who"].lower() in _ANYONE
        if anyone and not posts["query"]:
            raise ValueError('"anyone posts" is your home timeline: say near which place, or what they post.')
        query = _query(posts["query"] or "", names)
        if anyone:
            return _posts(query, followed=True)
        return _posts(replace(query, authors=(_who(posts["who"], names),)))
    appears = _APPEARS.fullmatch(when)
    if appears is not None:
        return _posts(_query(f"{appears['tag']} {appears['rest'] or ''}", names))
    return _posts(_query(when, names))


def _posts(query: Query, *, followed: bool = False) -> Rule:
    if len(query.authors) > 1:
        raise ValueError("A rule is about the posts of one person, or of anyone.")
    here = query.circle is not None and query.circle.name == HERE
    return replace(_rule(What.POST), query=query, followed=followed, here=here)


def _rule(what: What, *, who: JID | None = None, circle: Circle | None = None) -> Rule:
    return Rule(what=what, then=Then.TELL, when="", who=who, circle=circle)


def _query(text: str, names: Named) -> Query:
    """What a post is to be like. Names of places may have several words here, as they come last."""
    circle = None
    near = _NEAR.fullmatch(text.strip())
    if near is not None:
        circle = _place(near["place"].strip(), names)
        metres = distance(near["far"].replace(" ", "")) if near["far"] else None
        if circle is not None and metres is not None:
            circle = replace(circle, metres=metres)
        if circle is not None:
            text = near["before"] or ""
    if not text.strip():
        return Query(circle=circle)
    query = parse(text, person=names.person, place=names.place)
    return query if circle is None else replace(query, circle=circle)


def _who(name: str, names: Named) -> JID:
    if name.lower() in _I:
        return names.me
    person = names.person(name.removeprefix("@"))
    if person is None:
        raise ValueError(f"There is nobody called {name[:80]}.")
    return person.bare


def _place(name: str, names: Named) -> Circle | None:
    circle = names.place(name)
    if circle is None and fold_place(name) == HERE:
        raise ValueError('I do not know where you are: say it with "place NAME".')
    return circle


def _fixed(text: str, names: Named) -> Circle:
    """A place as it is now: that it is called ``here`` does not matter any more."""
    name, _, last = text.strip().strip('"').rpartition(" ")
    metres = distance(last) if name else None
    name = name.strip().strip('"') if metres is not None else text.strip().strip('"')
    circle = _place(name, names)
    if circle is None:
        raise ValueError(f"No place is called {name[:80]}.")
    if metres is not None:
        circle = replace(circle, metres=metres)
    elif point(name) is not None:
        circle = replace(circle, metres=POINT_METRES)
    return replace(circle, name="") if circle.name == HERE else circle
