"""Who people are, what administrators do, and how the day ends."""

from tests.interop.day import JULIET, MONTAGUE, Day

COMMANDS = "http://jabber.org/protocol/commands"
ADMIN = "http://jabber.org/protocol/admin"
PICTURE = "iVBORw0KGgpyb3Nl"


def profiles(day: Day) -> None:
    day.tour.scene("Who one is", "People say who they are, and ask who others are.")
    romeo, juliet = day.romeo, day.juliet
    photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{PICTURE}</BINVAL></PHOTO>"
    juliet.asks("set", f"<vCard xmlns='vcard-temp'><FN>Juliet Capulet</FN><NICKNAME>Juliet</NICKNAME>{photo}</vCard>")
    juliet.says("avatar", "Your picture is")
    juliet.says("nick Jule", "You are called Jule.")
    juliet.says("bio Not yet fourteen.", "You say of yourself")
    romeo.says(f"whois {JULIET}", "verified by its certificate")
    romeo.says("whois benvolio", "Lives here")


def administrator(day: Day) -> None:
    day.tour.scene(
        "The prince",
        "Escalus is administrator of montague.example. He has forms of his own (XEP-0133), and words.",
    )
    prince = day.prince
    prince.got(prince.asks("set", command("get-online-users-list"), MONTAGUE)[0])
    answer = prince.asks("set", command("announce"), MONTAGUE)
    prince.got(answer[0])
    text = "Rebellious subjects, enemies to peace: go home."
    form = (
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{ADMIN}</value></field>"
        f"<field var='announcement'><value>{text}</value></field></x>"
    )
    prince.got(prince.asks("set", command("announce", answer[0].get("sessionid") or "", form), MONTAGUE)[0])
    day.romeo.hears("enemies to peace")
    prince.hears("enemies to peace")
    prince.says("admin users", "romeo")


def evening(day: Day) -> None:
    day.tour.scene(
        "What did I miss?",
        "`home` gives what one has not read yet, oldest first. What was read is what was shown there, not what was"
        " sent.",
    )
    mercutio = day.mercutio
    mercutio.says("home 3", "New posts")
    mercutio.says("more", "Still unread")
    mercutio.says("home since 1h", "New posts")
    mercutio.says("read", "counts as read")
    mercutio.says("home 2", "Nothing new.")
    mercutio.says("on", "New posts come here from now on.")


def command(name: str, session: str = "", form: str = "") -> str:
    given = f" sessionid='{session}' action='complete'" if session else " action='execute'"
    return f"<command xmlns='{COMMANDS}' node='{ADMIN}#{name}'{given}>{form}</command>"
