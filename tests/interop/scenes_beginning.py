"""The day begins: first words, following, an ordinary server, an address elsewhere, a terminal."""

import re

from tests.interop import real_clients
from tests.interop.day import BALTHASAR, JULIET, MONTAGUE, ROMEO, Day, entry
from tests.interop.microblogging import EVENT, MICROBLOG, OPEN, PUBSUB
from tests.interop.screen import Screen
from tests.interop.tour import becomes


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
    mercutio.says("hello", "no account here")
    mercutio.says(invitation[1], f"Welcome. You are mercutio@{MONTAGUE} now")
    mercutio.says("follow romeo", "You follow romeo now.")
    romeo.says("follow mercutio", "You follow mercutio now.")
    mercutio.says("O, then, I see Queen Mab hath been with you.", "sent to 1 person.")
    romeo.hears("Queen Mab")
    romeo.says("I dreamt a dream tonight.", "sent to 3 people, 2 domains.")
    mercutio.hears("dreamt")
    day.juliet.hears("dreamt")
    mercutio.says("home", "I dreamt a dream tonight.")
    day.tour.tell("He will ask for what is new himself, and turns off that it comes by itself.")
    mercutio.says("off", "No new posts come here")


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
        day.juliet.hears("sweet sorrow")
        typed.sees("romeo: Parting is such sweet sorrow.  #2")
        typed.type("#2 Groan! why, no.")
        typed.sees("#3 sent to")
        day.romeo.hears("Groan! why, no.")
        typed.type("timeline home 3")
        typed.sees("benvolio > romeo #2: Groan! why, no.  #3")
    day.tour.screen([line for line in screen.lines()[:-3] if line])
