"""People talk to each other: threads, hearts, repetitions, words in private."""

import re

from tests.interop.client import Refused
from tests.interop.day import BALTHASAR, JULIET, ROMEO, Day, entry, number, shown_number
from tests.interop.microblogging import EVENT, MICROBLOG
from tests.interop.tour import Visitor, becomes, shown_fragment

ATTACHMENTS = "urn:xmpp:pubsub-attachments:1"


def thread(day: Day) -> None:
    day.tour.scene(
        "A conversation across nodes",
        "Romeo posts. Juliet answers by the number of the line. Romeo answers her with the reply of his client"
        " (XEP-0461). Balthasar's client writes a comment to the post's own comments node (XEP-0277 §3).",
    )
    romeo, juliet, balthasar = day.romeo, day.juliet, day.balthasar
    root = number(romeo.says("With love's light wings did I o'erperch these walls.", "sent to"))
    line = juliet.hears("light wings")
    event = balthasar.client.wait(lambda s: "light wings" in "".join(s.itertext()), what="the post")
    item = event.find(f"{EVENT}event/{EVENT}items/{EVENT}item")
    assert item is not None
    day.root, day.root_number = item.get("id") or "", root
    juliet.says(f"#{shown_number(line)} If they do see thee, they will murder thee.", "sent to")
    answer = romeo.hears("they will murder thee.")
    # Her comment comes by a stanza of its own, which the line may be ahead of, and comments are in the order they came.
    comments = f"{MICROBLOG}:comments/{day.root}"
    becomes(lambda: _count(romeo, comments), 1)
    reply = f"<reply xmlns='urn:xmpp:reply:0' id='{answer.get('id')}'/>"
    romeo.says("Look thou but sweet, and I am proof against their enmity.", "sent to", inside=reply)
    juliet.hears("proof against their enmity.")
    text = "I would not for the world they saw thee here."
    balthasar.publishes("c1", entry(text), to=ROMEO, node=comments)
    romeo.hears("I would not for the world")
    day.tour.tell("Whoever asks for the thread gets all of it: at Romeo's node, at Juliet's, and at any other.")
    romeo.says(f"thread #{root}", "The thread has 4")
    juliet.says(f"thread #{shown_number(line)}", "The thread has 4")
    balthasar.reads(comments, ROMEO)


def _count(romeo: Visitor, node: str) -> int:
    """How many items a node of Romeo's has; it is made with the first."""
    try:
        return len(romeo.reads(node, ROMEO, show=False))
    except Refused:
        return 0


def hearts(day: Day) -> None:
    day.tour.scene(
        "Hearts and faces",
        "Juliet likes the post. Mercutio reacts to it. Juliet's client sends a reaction as clients do (XEP-0444), and"
        " Balthasar's client a comment that is a heart, as Movim does.",
    )
    romeo, juliet, balthasar, mercutio = day.romeo, day.juliet, day.balthasar, day.mercutio
    found = re.search(r"light wings .*#(\d+)", juliet.says(f"get {ROMEO} 3", "light wings"))
    assert found is not None
    juliet.says(f"fav #{found[1]}", "You like what")
    romeo.hears(f"{JULIET} likes #{day.root_number}.")
    mercutio.says("get romeo 3", "light wings")
    mercutio.says("react romeo 👏", "👏 for romeo.")
    romeo.hears("mercutio: 👏 for")
    faces = "<reaction>♥</reaction><reaction>🌹</reaction>"
    reactions = f"<reactions xmlns='urn:xmpp:reactions:0' id='n{found[1]}'>{faces}</reactions>"
    juliet.tour.said(juliet.name, shown_fragment(reactions))
    juliet.client.send(f"<message to='{juliet.node}' type='chat' id='react-1'>{reactions}</message>")
    romeo.hears("🌹 for")
    heart = entry("♥")
    balthasar.publishes("heart", heart, to=ROMEO, node=f"{MICROBLOG}:comments/{day.root}")
    romeo.hears(f"{BALTHASAR} likes #{day.root_number}.")
    uri = f"xmpp:{ROMEO}?;node=urn%3Axmpp%3Amicroblog%3A0;item={day.root}"
    answer = romeo.asks("get", items(f"{ATTACHMENTS}/{uri}"), ROMEO)
    romeo.got(answer[0])


def repeated(day: Day) -> None:
    day.tour.scene(
        "To repeat and to quote",
        "A public post can be repeated with its author's name, or quoted.",
    )
    romeo, juliet = day.romeo, day.juliet
    posted = number(romeo.says("A plague o' both your houses, said he.", "sent to"))
    line = juliet.hears("A plague")
    juliet.says(f"repost #{shown_number(line)}", "sent to")
    romeo.hears("via juliet")
    juliet.says(f"repost #{shown_number(line)} Who said it?", "sent to")
    romeo.hears("Who said it?")
    day.tour.tell("When it is deleted, what repeats it goes with it, whoever did.")
    romeo.says(f"delete #{posted}", "Do you mean it")
    romeo.says("yes", "Deleted")
    juliet.hears("was deleted")
    for _ in range(2):
        romeo.hears("was deleted")


def private(day: Day) -> None:
    day.tour.scene(
        "Between two",
        "What is said with `d` is read by nobody else, not even by whom it names. A nudge asks for a sign of life.",
    )
    romeo, juliet = day.romeo, day.juliet
    romeo.says(f"d {JULIET} Bid the nurse come to @benvolio's house.", f"Sent to {JULIET}, and to nobody else.")
    juliet.hears("Bid the nurse", from_=ROMEO)
    juliet.says(f"nudge {ROMEO}", "was nudged.")
    romeo.hears("nudges you", from_=JULIET)
    juliet.says(f"nudge {ROMEO}", "Once a day")


def items(node: str) -> str:
    return f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>"
