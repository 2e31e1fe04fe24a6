"""Two people with slixmpp: forms, an administrator's forms, vCards, a picture. Prints each step that is done.

slixmpp_forms.py ADDRESS PORT AUTHORITY PASSWORD ADMINISTRATOR PERSON
"""

import asyncio
import hashlib
import sys
from typing import Any

import slixmpp

PNG = b"\x89PNG\r\n\x1a\nslixmpp"
VCARD4 = "urn:xmpp:vcard4"
PLUGINS = ("0004", "0030", "0050", "0054", "0060", "0084", "0133", "0153", "0163", "0172", "0292")


class Person(slixmpp.ClientXMPP):
    def __init__(self, jid: str, password: str, authority: str) -> None:
        super().__init__(jid, password)
        for plugin in PLUGINS:
            self.register_plugin(f"xep_{plugin}")
        self.ca_certs = authority
        self.ready: asyncio.Future[None] = asyncio.get_event_loop().create_future()
        self.hashes: asyncio.Queue[str] = asyncio.Queue()
        self.add_event_handler("session_start", self.on_session)
        self.add_event_handler("failed_auth", lambda event: self.ready.set_exception(RuntimeError(f"{jid}: {event}")))
        self.add_event_handler("presence", self.on_presence)

    async def on_session(self, event: object) -> None:
        await self.get_roster()
        self.send_presence()
        self.ready.set_result(None)

    def on_presence(self, presence: Any) -> None:
        if presence["from"] == self.boundjid:
            self.hashes.put_nowait(presence["vcard_temp_update"]["photo"] or "")

    async def fills(self, start: Any, *steps: dict[str, Any]) -> Any:
        """Go through a command with slixmpp's own workflow: the command it ends with."""
        ended: asyncio.Future[Any] = asyncio.get_event_loop().create_future()
        left = list(steps)

        def go_on(iq: Any, session: dict[str, Any]) -> None:
            if iq["command"]["status"] == "completed":
                ended.set_result(iq["command"])
                return
            form = iq["command"]["form"]
            for name, value in left.pop(0).items():
                form.get_fields()[name]["value"] = value
            form["type"] = "submit"
            session["payload"] = form
            session["next"] = go_on
            go = self["xep_0050"].complete_command if "complete" in iq["command"]["actions"] else None
            (go or self["xep_0050"].continue_command)(session)

        def fail(iq: Any, session: dict[str, Any]) -> None:
            ended.set_exception(RuntimeError(str(iq)))

        start({"next": go_on, "error": fail})
        return await ended

    async def does(self, name: str, *steps: dict[str, Any]) -> str:
        command = await self.fills(
            lambda session: self["xep_0050"].start_command(self.boundjid.domain, name, session), *steps
        )
        return "\n".join(text for _, text in command["notes"])


async def story(address: str, port: str, authority: str, password: str, administrator: str, person: str) -> None:
    people = escalus, romeo = Person(administrator, password, authority), Person(person, password, authority)
    for one in people:
        one.connect(address, int(port))
        await one.ready
    domain = romeo.boundjid.domain
    print("login")

    listed = {item[1] for item in (await romeo["xep_0050"].get_commands(domain))["disco_items"]["items"]}
    assert {"nick", "whois", "post", "help"} <= listed and not any("admin" in node for node in listed), listed
    info = await romeo["xep_0030"].get_info(domain, node="nick")
    assert ("automation", "command-node") in {identity[:2] for identity in info["disco_info"]["identities"]}, info
    print("list")
    assert await romeo.does("nick", {"text": "Romeo"}) == "You are called Romeo."
    assert "(Romeo)" in await escalus.does("whois", {"name": romeo.boundjid.local})
    print("fill")

    admin = escalus["xep_0133"]
    assert any("admin#add-user" in item[1] for item in (await admin.get_commands())["disco_items"]["items"])
    await escalus.fills(
        lambda session: admin.add_user(session=session),
        {"accountjid": f"paris@{domain}", "password": "secret", "password-verify": "secret"},
    )
    number = await escalus.fills(lambda session: admin.get_registered_users_num(session=session))
    assert number["form"].get_fields()["registeredusersnum"]["value"] == "3", number
    await escalus.fills(lambda session: admin.delete_user(session=session), {"accountjids": [f"paris@{domain}"]}, {})
    online = await escalus.fills(lambda session: admin.get_online_users_list(session=session))
    assert person in online["form"].get_fields()["onlineuserjids"]["value"], online
    print("administer")

    card = romeo["xep_0054"].make_vcard()
    card["FN"], card["NICKNAME"], card["DESC"] = "Romeo Montague", "Romeo", "Too rash."
    card["PHOTO"]["TYPE"], card["PHOTO"]["BINVAL"] = "image/png", PNG
    await romeo["xep_0054"].publish_vcard(card)
    seen = (await escalus["xep_0054"].get_vcard(slixmpp.JID(person), cached=False))["vcard_temp"]
    assert (seen["FN"], seen["DESC"], seen["PHOTO"]["BINVAL"]) == ("Romeo Montague", "Too rash.", PNG), seen
    print("vcard")
    name = hashlib.sha1(PNG).hexdigest()
    while await romeo.hashes.get() != name:
        pass
    data = await escalus["xep_0084"].retrieve_avatar(slixmpp.JID(person), name)
    assert data["pubsub"]["items"]["item"]["avatar_data"]["value"] == PNG, data
    print("picture")

    other = PNG + b"!"
    await romeo["xep_0084"].publish_avatar(other)
    name = romeo["xep_0084"].generate_id(other)
    await romeo["xep_0084"].publish_avatar_metadata({"id": name, "type": "image/png", "bytes": str(len(other))})
    while await romeo.hashes.get() != name:
        pass
    seen = (await escalus["xep_0054"].get_vcard(slixmpp.JID(person), cached=False))["vcard_temp"]
    assert (seen["FN"], seen["PHOTO"]["BINVAL"]) == ("Romeo Montague", other), seen
    print("convert")
    # slixmpp would take the namespace for the node.
    await romeo["xep_0292"].publish_vcard(full_name="Romeo", note="Too sudden.", phone="303-555-1212", node=VCARD4)
    seen = (await escalus["xep_0054"].get_vcard(slixmpp.JID(person), cached=False))["vcard_temp"]
    assert (seen["FN"], seen["DESC"], seen["PHOTO"]["BINVAL"]) == ("Romeo", "Too sudden.", other), seen
    card4 = await escalus["xep_0060"].get_item(slixmpp.JID(person), VCARD4, "current")
    assert card4["pubsub"]["items"]["item"]["vcard"]["full_name"] == "Romeo", card4
    await romeo["xep_0172"].publish_nick("Montague")
    assert "Montague" in await escalus.does("whois", {"name": romeo.boundjid.local})
    print("vcard4")
    for one in people:
        await one.disconnect()
    print("logout")


asyncio.run(asyncio.wait_for(story(*sys.argv[1:]), 50))
