"""Who reads what, and where it goes."""

from tests.interop.day import JULIET, MONTAGUE, ROMEO, Day, entry, number, shown_number
from tests.interop.microblogging import PUBSUB


def audiences(day: Day) -> None:
    day.tour.scene(
        "Whom a post is for",
        "`where` tells where something would go before it is posted, and where it went after.",
    )
    romeo, juliet, mercutio, balthasar = day.romeo, day.juliet, day.mercutio, day.balthasar
    romeo.says("where It is my lady", "It would go to")
    romeo.says("where local: hush", "it does not leave this node. Nothing was posted.")
    public = number(romeo.says("It is my lady, O, it is my love!", "sent to"))
    juliet.hears("it is my love!")
    romeo.settled(f"where #{public}", "pending: 0")
    romeo.says(f"where #{public}", "Stored")
    friends = number(romeo.says("friends: O that I were a glove upon that hand", "sent to"))
    glove = juliet.hears("a glove")
    romeo.settled(f"where #{friends}", "pending: 0")
    romeo.says(f"where #{friends}", "For followers.")
    day.tour.tell("An answer is for no more people than what it answers.")
    answer = number(juliet.says(f"#{shown_number(glove)} Ay me!", "sent to"))
    romeo.hears("Ay me!")
    juliet.settled(f"where #{answer}", "pending: 0")
    juliet.says(f"where #{answer}", "For followers.")
    local = number(romeo.says("local: Peace, Montagues! The watch is coming.", "it does not leave this node."))
    romeo.says(f"where #{local}", "It was not sent to any other domain.")
    day.tour.tell(
        "What is local is read by the people of the node only. At the other node, at the Prosody, and at Mercutio's"
        " address elsewhere there is no trace of it; what is for followers is not shown to others."
    )
    assert "Montagues" not in juliet.says(f"get {ROMEO} 3", "it is my love!")
    assert not any(
        "Montagues" in "".join(item.itertext()) for item in balthasar.reads(to=ROMEO, rsm="<max>2</max><before/>")
    )
    assert "Montagues" not in mercutio.says("timeline local 3", "it is my love!")
    shown = day.nurse.says(f"get {ROMEO} 3", "it is my love!")
    assert "glove" not in shown
    for other in (juliet, balthasar, mercutio):
        assert "Montagues" not in "".join(text for _, text in other.client.transcript)
    romeo.says("timeline local 2", "Montagues")
    romeo.reads("urn:x-microblog:local:0", MONTAGUE, "<max>1</max>")
    day.tour.tell("Whom posts are for that do not say, everybody says for themselves.")
    romeo.says("set audience followers", "audience is followers now.")
    quiet = number(romeo.says("Peace, I will speak to her.", "sent to"))
    juliet.hears("I will speak to her.")
    romeo.settled(f"where #{quiet}", "pending: 0")
    romeo.says(f"where #{quiet}", "For followers.")
    romeo.says("set audience public", "audience is public now.")
    day.tour.tell("By feed an entry can be for some people only: others do not know of it.")
    options = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{PUBSUB}#publish-options</value></field>"
        "<field var='microblog#audience'><value>direct</value></field>"
        f"<field var='microblog#reader'><value>{ROMEO}</value></field></x></publish-options>"
    )
    juliet.publishes("tomorrow", entry("What o'clock tomorrow shall I send to thee?"), options=options)
    romeo.hears("(private) juliet@capulet.example: What o'clock")
    assert not any(item.get("id") == "tomorrow" for item in balthasar.reads(to=JULIET, show=False))


def border(day: Day) -> None:
    day.tour.scene(
        "What never leaves the house",
        "The administrator of montague.example has named a word that stays inside, whoever writes it.",
    )
    day.romeo.says("public: I have bought a dram of poison.", "it does not leave this node")


def exile(day: Day) -> None:
    day.tour.scene(
        "In exile",
        "Romeo is banished to Mantua. He has an address there, and joins it to his account; both sides have to say so.",
    )
    romeo, exiled, juliet = day.romeo, day.exiled, day.juliet
    romeo.says(f"link {exiled.bare}", "was asked.")
    exiled.hears("wants to post from this address")
    exiled.says(f"link {ROMEO}", "belong together now.")
    exiled.hears("what is written from there")
    romeo.hears("belong together now")
    exiled.says("There is no world without Verona walls.", "sent to")
    juliet.hears("Verona walls.")
    exiled.reads("urn:x-microblog:home:0", ROMEO, "<max>2</max>")
    exiled.says("link", exiled.bare)
    romeo.says(f"unlink {exiled.bare}", "nothing to do with each other any more.")


def careful(day: Day) -> None:
    day.tour.scene(
        "What is not posted",
        "What begins like a command and is none, is never posted by mistake; and what is private never turns public.",
    )
    romeo = day.romeo
    romeo.says("get well soon, Mercutio", "Nothing was posted")
    romeo.says("no", "Good.")
    romeo.says("d tybalt I do protest I never injured thee", "Nothing was posted.")
    romeo.says("tell: hush", "Nothing was posted.")
    romeo.says("Follow me not", "Nothing was posted.")
    encrypted = "<encrypted xmlns='urn:xmpp:omemo:2'><payload>aGlzdA==</payload></encrypted>"
    day.tour.tell("Nor is what comes with a message that is encrypted.")
    romeo.says("I sent you an OMEMO encrypted message", "Nothing was posted.", inside=encrypted)
