"""What a post can be, by chat, by feed and by form; and how it changes, and goes."""

from tests.interop.day import BALTHASAR, CAPULET, JULIET, MONTAGUE, ROMEO, Day, entry, now, number, shown_number
from tests.interop.microblogging import ATOM, EVENT, PUBSUB
from tests.interop.tour import becomes

SWEPT_SECONDS = 40
COMMANDS = "http://jabber.org/protocol/commands"
FORM_TYPE = "<field var='FORM_TYPE'><value>urn:x-microblog:command:0</value></field>"
EARTHQUAKE = (
    "Susan and she (God rest all Christian souls) were of an age. Well, Susan is with God; she was too good for me."
    " But, as I said, on Lammas Eve at night shall she be fourteen. That shall she; marry, I remember it well. 'Tis"
    " since the earthquake now eleven years, and she was weaned (I never shall forget it) of all the days of the year"
)


def rich(day: Day) -> None:
    day.tour.scene(
        "More than words",
        "Juliet's client says all there is to say in one entry: language, tag, picture, content warning and place"
        " (RFC 4287, XEP-0382, XEP-0080 as XEP-0472 puts it). Romeo's client knows nothing of entries; his node shows"
        " them as a line.",
    )
    juliet, romeo, balthasar = day.juliet, day.romeo, day.balthasar
    inside = (
        "<content type='text'>O, he doth teach the torches to burn bright!</content><category term='Feast'/>"
        "<link rel='enclosure' href='https://capulet.example/torches.jpg' type='image/jpeg'/>"
        "<spoiler xmlns='urn:xmpp:spoiler:0'>the masked ball</spoiler>"
        "<geoloc xmlns='http://jabber.org/protocol/geoloc'><lat>45.44</lat><lon>10.99</lon>"
        "<locality>Verona</locality></geoloc>"
    )
    juliet.publishes("ball", entry("The ball", inside=inside).replace("<entry ", "<entry xml:lang='en' "))
    romeo.hears("[the masked ball]")
    day.tour.tell("At his node, too, the entry stays as she made it. It stands under its tag.")
    (ball,) = romeo.reads("urn:x-microblog:tag:0:feast", MONTAGUE)
    romeo.got(ball)
    romeo.says("timeline #feast", "torches")
    day.tour.tell("In chat there is simple markup. Clients that know feeds get it as XHTML beside the plain text.")
    romeo.says("*Love* is a _smoke_ made with the fume of sighs. #love", "sent to")
    juliet.hears("smoke")
    event = balthasar.client.wait(lambda s: "smoke" in "".join(s.itertext()), what="the post")
    for content in event.iter(f"{ATOM}content"):
        balthasar.got(content)
    day.tour.tell("A content warning, and a file that a client has uploaded (XEP-0066):")
    romeo.says("cw the last act: Thus with a kiss I die.", "sent to")
    juliet.hears("[the last act]")
    url = "https://montague.example/files/rose.jpg"
    romeo.says(url, "sent to", inside=f"<x xmlns='jabber:x:oob'><url>{url}</url></x>")
    juliet.hears("rose.jpg")


def mentioned(day: Day) -> None:
    day.tour.scene(
        "To name somebody",
        "Juliet names Balthasar, who does not follow her. He hears of it all the same: as an ordinary message, with the"
        " address of the post.",
    )
    day.juliet.says(f"Whence com'st thou, @{BALTHASAR}? Ask @{ROMEO}.", "sent to")
    day.romeo.hears("Whence com'st thou")
    day.balthasar.hears("Whence com'st thou", from_=JULIET)
    day.romeo.says("mentions", "Whence com'st thou")
    day.romeo.reads("urn:x-microblog:mentions:0")


def forms(day: Day) -> None:
    day.tour.scene(
        "The same by forms",
        "Each word of the chat is a form as well (XEP-0050), for clients that have buttons.",
    )
    juliet = day.juliet
    answer = juliet.asks("set", f"<command xmlns='{COMMANDS}' node='post' action='execute'/>", CAPULET)
    juliet.got(answer[0])
    session = answer[0].get("sessionid")
    fields = {"text": "My bounty is as boundless as the sea.", "audience": "public", "warning": "love"}
    values = FORM_TYPE + "".join(
        f"<field var='{name}'><value>{value}</value></field>" for name, value in fields.items()
    )
    form = f"<x xmlns='jabber:x:data' type='submit'>{values}</x>"
    command = f"<command xmlns='{COMMANDS}' node='post' sessionid='{session}' action='complete'>{form}</command>"
    juliet.got(juliet.asks("set", command, CAPULET)[0])
    day.romeo.hears("boundless as the sea")
    day.tour.tell("Where a person has to be chosen, a form asks for that first.")
    romeo = day.romeo
    answer = romeo.asks("set", f"<command xmlns='{COMMANDS}' node='d' action='execute'/>", MONTAGUE)
    romeo.got(answer[0])
    session = answer[0].get("sessionid")
    form = f"<x xmlns='jabber:x:data' type='submit'>{FORM_TYPE}<field var='person'><value>{JULIET}</value></field></x>"
    command = f"<command xmlns='{COMMANDS}' node='d' sessionid='{session}' action='next'>{form}</command>"
    romeo.got(romeo.asks("set", command, MONTAGUE)[0])
    text = "How silver-sweet sound lovers' tongues by night!"
    form = f"<x xmlns='jabber:x:data' type='submit'>{FORM_TYPE}<field var='text'><value>{text}</value></field></x>"
    command = f"<command xmlns='{COMMANDS}' node='d' sessionid='{session}' action='complete'>{form}</command>"
    romeo.got(romeo.asks("set", command, MONTAGUE)[0])
    juliet.hears("silver-sweet", from_=ROMEO)


def once(day: Day) -> None:
    day.tour.scene(
        "Once, and not too long",
        "A client that has lost its connection sends an entry again, with the same id. It is there once.",
    )
    juliet, romeo = day.juliet, day.romeo
    sent = entry("The more I give to thee, the more I have, for both are infinite.")
    for _ in range(2):
        juliet.publishes("infinite", sent)
    romeo.hears("both are infinite.")
    found = [item for item in juliet.reads(show=False) if item.get("id") == "infinite"]
    assert len(found) == 1
    day.tour.tell("How long a post may be, the administrator says: 280 characters here.")
    day.nurse.says(EARTHQUAKE, "Nothing was posted")


def passing(day: Day) -> None:
    day.tour.scene(
        "For a while only",
        "An entry can have an end. When it has come, the node takes the entry back as its author would.",
    )
    end = now(1)
    day.tour.names[end] = "IN-A-MOMENT"
    options = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{PUBSUB}#publish-options</value></field>"
        f"<field var='microblog#expires'><value>{end}</value></field></x></publish-options>"
    )
    day.juliet.publishes("lightning", entry("Too like the lightning, which doth cease to be."), options=options)
    line = day.romeo.hears("Too like the lightning")
    day.romeo.hears(f"#{shown_number(line)} was deleted.", timeout=SWEPT_SECONDS)
    # Each node looks at its own clock.
    becomes(
        lambda: any(item.get("id") == "lightning" for item in day.romeo.reads(to=JULIET, show=False)),
        False,
        SWEPT_SECONDS,
    )


def edited(day: Day) -> None:
    day.tour.scene(
        "Second thoughts",
        "What was posted can be said otherwise, by a word or with the correction that many clients have (XEP-0308). It"
        " reaches everybody who has it; lines of chat are corrected in their place.",
    )
    romeo, juliet = day.romeo, day.juliet
    posted = number(romeo.says("O, I am fortune's foal!", "sent to"))
    juliet.hears("foal")
    romeo.says(f"edit #{posted} O, I am fortune's fowl!", "was changed.")
    juliet.hears("fowl!", show="{urn:xmpp:message-correct:0}replace")
    wrong = romeo.said_ids[-2]
    replace = f"<replace xmlns='urn:xmpp:message-correct:0' id='{wrong}'/>"
    romeo.says("O, I am fortune's fool!", "was changed.", inside=replace)
    juliet.hears("fool!", show="{urn:xmpp:message-correct:0}replace")


def deleted(day: Day) -> None:
    day.tour.scene(
        "Gone",
        "What is deleted goes from everywhere. Juliet's line is taken back (XEP-0424), Balthasar's client is told to"
        " forget the item (XEP-0060 §7.2), and neither node shows it any more.",
    )
    romeo, juliet, balthasar = day.romeo, day.juliet, day.balthasar
    posted = number(romeo.says("Tybalt is a kinsman; I love him.", "sent to"))
    juliet.hears("kinsman")
    event = balthasar.client.wait(lambda s: "kinsman" in "".join(s.itertext()), what="the post")
    item = event.find(f"{EVENT}event/{EVENT}items/{EVENT}item")
    assert item is not None
    ident = item.get("id") or ""
    romeo.says(f"delete #{posted}", "Do you mean it")
    romeo.says("yes", "Deleted")
    juliet.hears("was deleted", show="{urn:xmpp:message-retract:1}retract")
    balthasar.got(balthasar.is_told(ROMEO, ident, what="retract"))
    assert "kinsman" not in juliet.says(f"get {ROMEO} 1", "romeo")
    assert not any("kinsman" in "".join(item.itertext()) for item in balthasar.reads(to=ROMEO, show=False))
    day.tour.tell("The same with a client's own way to take a message back, and with `undo`.")
    romeo.says("This shall determine that.", "sent to")
    juliet.hears("determine")
    retract = f"<retract xmlns='urn:xmpp:message-retract:1' id='{romeo.said_ids[-1]}'/>"
    romeo.says("", "Deleted", inside=retract)
    juliet.hears("was deleted")
    romeo.says("Away to heaven, respective lenity!", "sent to")
    juliet.hears("lenity")
    romeo.says("undo", "Taken back")
    juliet.hears("was deleted")
