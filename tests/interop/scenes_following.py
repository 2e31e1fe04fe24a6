"""Whoever wants to be asked first, is."""

from tests.interop.day import NURSE, ROMEO, Day
from tests.interop.microblogging import MICROBLOG, PUBSUB


def asked_first(day: Day) -> None:
    day.tour.scene(
        "To be asked first",
        "The nurse wants to know who reads her. With her feed's configuration (XEP-0060 §8.2) she says that whoever"
        " wants to follow her has to be allowed.",
    )
    nurse, romeo, juliet = day.nurse, day.romeo, day.juliet
    form = (
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>"
        "<field var='pubsub#access_model'><value>authorize</value></field></x>"
    )
    nurse.asks("set", f"<pubsub xmlns='{PUBSUB}#owner'><configure node='{MICROBLOG}'>{form}</configure></pubsub>")
    nurse.says("set audience", "audience: followers")
    romeo.says(f"follow {NURSE}", f"{NURSE} has to allow it first.")
    juliet.says("follow nurse", "nurse has to allow it first.")
    romeo.says("following", f"{NURSE}: has not allowed it yet")
    nurse.hears(f"{ROMEO} wants to follow you")
    nurse.hears("juliet wants to follow you")
    nurse.says("requests", "2 ask to follow you.")
    nurse.says(f"allow {ROMEO}", f"They may follow you now: {ROMEO}.")
    romeo.hears(f"{NURSE} lets you follow")
    nurse.says("deny juliet", "They may not follow you: juliet.")
    juliet.hears("You do not follow nurse: they do not allow it.")
    nurse.says("Anon, anon!", "sent to 1 person, 1 domain.")
    romeo.hears("Anon, anon!")
    juliet.says("following", "You follow")
    day.tour.tell("She can let a follower go, too. That asks first, for it cannot be undone.")
    nurse.says("followers", "1 follow you:")
    nurse.says(f"lose {ROMEO}", "Do you mean it")
    nurse.says("yes", f"{ROMEO} does not follow you any more")
    romeo.hears(f"You do not follow {NURSE}")
    nurse.says("I am aweary, give me leave awhile.", "sent to nobody who follows you.")
    romeo.says(f"get {NURSE}", "There is nothing.")
    day.tour.tell("And one stops following oneself when one likes.")
    romeo.says("leave mercutio", "You do not follow mercutio any more.")
    romeo.says("stats", "You follow")
