"""What happens while it happens: tracks, what waits, quiet, places and rules, programs."""

import xml.etree.ElementTree as ET

from tests.interop.day import CAPULET, JULIET, ROMEO, Day, number
from tests.interop.tour import Visitor, shown

EVENTS = "urn:x-microblog:events:0"


def searched(day: Day) -> None:
    day.tour.scene("To look back", "Words, phrases, tags, authors: what one may see of what was written.")
    day.romeo.says("search light from romeo", "light wings")
    day.romeo.says('search "speak to her"', "Peace, I will speak to her.")
    day.prince.says("search glove", "Nothing fits")


def tracked(day: Day) -> None:
    day.tour.scene(
        "As it is written",
        "The prince looks for something that nobody he follows has written yet. What is written at his node meets it by"
        " itself, and Juliet's node looks as well, since he asks it to: he hears of it as she writes.",
    )
    prince, juliet, romeo = day.prince, day.juliet, day.romeo
    prince.says(f"track lark @{CAPULET}", f"{CAPULET} looks for it, too.")
    juliet.says("It is the nightingale, and not the lark.", "sent to 1 person")
    romeo.hears("not the lark")
    prince.hears("[~lark] ")
    prince.says("tracks", "1 so far")
    prince.says("untrack ~1", "You do not track any more")


def held(day: Day) -> None:
    day.tour.scene(
        "Not now",
        "Lines come when one has time for them. Romeo's client says that he does not want to be disturbed: what is for"
        " him alone still comes, the rest when he is there again.",
    )
    romeo, juliet = day.romeo, day.juliet
    romeo.says("when", "New posts come at once while you are there")
    presence(romeo, "<presence><show>dnd</show></presence>")
    juliet.says("O, now be gone; more light and light it grows.", "sent to 1 person")
    juliet.says(f"d {ROMEO} The day is broke; be wary, look about.", f"Sent to {ROMEO}")
    romeo.hears("be wary, look about", from_=JULIET)
    presence(romeo, "<presence/>")
    romeo.hears("now be gone")
    day.tour.tell("Whoever was away altogether hears in one line how much there was, and reads it when they like.")
    presence(romeo, "<presence type='unavailable'/>")
    for text in ("Then, window, let day in, and let life out.", "Art thou gone so, love, lord?"):
        post = number(juliet.says(text, "sent to 1 person"))
        juliet.settled(f"where #{post}", "Stored: 1")
    presence(romeo, "<presence/>")
    romeo.hears("While you were away: 2 posts.")
    romeo.says("catchup", "Art thou gone so")


def quiet(day: Day) -> None:
    day.tour.scene("Quiet", "What one does not want to read, or whom one wants nothing to do with; nobody is told.")
    romeo, juliet, prince = day.romeo, day.juliet, day.prince
    romeo.says("mute #weather for 2h", "#weather. Nobody is told.")
    post = number(juliet.says("It is too rough, too sudden. #weather", "sent to 1 person"))
    juliet.settled(f"where #{post}", "Stored: 1")
    romeo.says("mutes", "#weather")
    romeo.says("unmute #weather", "Not muted any more")
    romeo.says(f"block tybalt@{CAPULET}", "is blocked")
    romeo.says("blocks", "You have blocked 1")
    romeo.says("unblock all", "Nobody is blocked any more")
    day.tour.tell("What belongs together is read together: a list of people, and tags that one follows.")
    romeo.says(f"list {JULIET} love", 'is in "love" now')
    romeo.says("timeline love 2", "too rough, too sudden")
    prince.says("follow #banished", "#banished")
    juliet.says("Hence-banished is banished from the world. #banished", "sent to 1 person")
    romeo.hears("Hence-banished")
    prince.hears("Hence-banished")
    day.tour.tell("What should not be here is told to those who look after the node.")
    romeo.says(f"report {JULIET} She speaks ill of the sentence.", "will look at what you said")
    prince.hears("She speaks ill of the sentence.")
    prince.says("admin reports", "She speaks ill")
    prince.says("admin settle 1", "1")


def placed(day: Day) -> None:
    day.tour.scene(
        "Where it happens",
        "A post can say where it is. Others find what is near, or have something done when something happens there.",
    )
    juliet, romeo, prince = day.juliet, day.romeo, day.prince
    juliet.says("place Orchard is 45.442,10.998 300m", "Orchard is")
    juliet.says("at Orchard: The orchard walls are high and hard to climb.", "sent to 1 person")
    romeo.hears("hard to climb")
    prince.settled("near 45.44,11.00 2km", "hard to climb")
    prince.says("near 45.44,11.00 2km", "hard to climb")
    prince.says(f"rule when {JULIET} posts near 45.44,11.00 2km then tell me", "Rule 1")
    juliet.says("at Orchard: I hear some noise within.", "sent to 1 person")
    romeo.hears("some noise within")
    prince.hears("some noise within")
    prince.says("rules", "once")
    prince.says("unrule 1", "Ended")


def told_to_programs(day: Day) -> None:
    day.tour.scene(
        "Programs",
        "A program of Juliet's holds a stream of what happens. What it has not acknowledged it is told again, also"
        " after a week; here it acknowledges at once.",
    )
    juliet, romeo = day.juliet, day.romeo
    opened = juliet.asks("set", f"<open xmlns='{EVENTS}' name='lamp' from='now'><source>own</source></open>", CAPULET)
    juliet.got(without_cursor(opened[0]))
    juliet.says("Gallop apace, you fiery-footed steeds.", "sent to 1 person")
    romeo.hears("fiery-footed")
    message = juliet.client.wait(lambda s: s.find(f"{{{EVENTS}}}events") is not None, what="an event")
    event = message.find(f"{{{EVENTS}}}events/{{{EVENTS}}}event")
    assert event is not None
    juliet.tour.said(juliet.name, shown(without_cursor(event)), "<")
    cursor = event.get("cursor")
    juliet.asks("set", f"<ack xmlns='{EVENTS}' name='lamp' cursor='{cursor}'/>", CAPULET, show=False)
    juliet.says("programs", "lamp: own.")
    juliet.asks("set", f"<delete xmlns='{EVENTS}' name='lamp'/>", CAPULET)


def without_cursor(element: ET.Element) -> ET.Element:
    """As it is shown: the rest is different every day."""
    copy = ET.Element(element.tag, {k: v for k, v in element.items() if k in ("name", "kind", "source", "author")})
    copy.extend(ET.Element(child.tag) if len(child) else child for child in element)
    return copy


def presence(who: Visitor, stanza: str) -> None:
    """Their client says how they are; what comes back of it is not of interest."""
    who.idle()
    who.tour.said(who.name, stanza)
    who.client.send(stanza)
    who.client.ping()
