"""Two people with slixmpp, of whom one blocks the other (XEP-0191). Prints each step that is done.

slixmpp_blocking.py ADDRESS PORT AUTHORITY PASSWORD PERSON OTHER
"""

import asyncio
import sys
from typing import Any

import slixmpp


class Person(slixmpp.ClientXMPP):
    def __init__(self, jid: str, password: str, authority: str) -> None:
        super().__init__(jid, password)
        for plugin in ("0030", "0191"):
            self.register_plugin(f"xep_{plugin}")
        self.ca_certs = authority
        self.ready: asyncio.Future[None] = asyncio.get_event_loop().create_future()
        self.heard: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()
        self.add_event_handler("session_start", self.on_session)
        self.add_event_handler("failed_auth", lambda event: self.ready.set_exception(RuntimeError(f"{jid}: {event}")))
        for name in ("message", "message_error", "blocked", "unblocked"):
            self.add_event_handler(name, lambda stanza, name=name: self.heard.put_nowait((name, stanza)))

    async def on_session(self, event: object) -> None:
        await self.get_roster()
        self.send_presence()
        self.ready.set_result(None)

    async def hears(self, name: str) -> Any:
        """The next thing, which has to be that."""
        said, stanza = await self.heard.get()
        assert said == name, stanza
        return stanza


async def story(address: str, port: str, authority: str, password: str, person: str, other: str) -> None:
    people = phone, desk, juliet = (
        Person(f"{person}/phone", password, authority),
        Person(f"{person}/desk", password, authority),
        Person(f"{other}/balcony", password, authority),
    )
    for one in people:
        one.connect(address, int(port))
        await one.ready
    info = await phone["xep_0030"].get_info(phone.boundjid.domain)
    assert "urn:xmpp:blocking" in info["disco_info"]["features"], info
    print("login")
    for one in (phone, desk):
        assert await one["xep_0191"].get_blocked_jids() == set()
    print("list")
    await phone["xep_0191"].block(slixmpp.JID(other))
    for one in (phone, desk):
        pushed = await one.hears("blocked")
        assert {str(item["jid"]) for item in pushed["block"]} == {other}, pushed
    assert await desk["xep_0191"].get_blocked_jids() == {slixmpp.JID(other)}
    print("block")
    juliet.send_message(mto=slixmpp.JID(person), mbody="Art thou not Romeo?", mtype="chat")
    error = await juliet.hears("message_error")
    assert error["error"]["condition"] == "service-unavailable", error
    phone.send_message(mto=slixmpp.JID(other), mbody="Neither, fair saint", mtype="chat")
    error = await phone.hears("message_error")
    assert error["error"]["condition"] == "not-acceptable", error
    assert error.xml.find(".//{urn:xmpp:blocking:errors}blocked") is not None, error
    print("silence")
    await desk["xep_0191"].unblock(slixmpp.JID(other))
    for one in (phone, desk):
        await one.hears("unblocked")
    juliet.send_message(mto=slixmpp.JID(person), mbody="How cam'st thou hither?", mtype="chat")
    for one in (phone, desk):
        assert (await one.hears("message"))["body"] == "How cam'st thou hither?"
    print("unblock")
    for one in people:
        await one.disconnect()
    print("logout")


asyncio.run(asyncio.wait_for(story(*sys.argv[1:]), 50))
