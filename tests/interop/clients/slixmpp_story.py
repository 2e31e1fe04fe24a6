"""Two people with slixmpp: log in, follow, post, read, retract, chat. Prints each step that is done.

slixmpp_story.py ADDRESS PORT AUTHORITY PASSWORD AUTHOR READER
"""

import asyncio
import ssl
import sys
from typing import Any

import slixmpp
from slixmpp.xmlstream import ET

NODE = "urn:xmpp:microblog:0"
ATOM = "http://www.w3.org/2005/Atom"
ENTRY = (
    f"<entry xmlns='{ATOM}'><title type='text'>It is the east</title><id>tag:example,2026:one</id>"
    "<published>2026-05-01T12:00:00Z</published><updated>2026-05-01T12:00:00Z</updated></entry>"
)


class Person(slixmpp.ClientXMPP):
    def __init__(self, jid: str, password: str, authority: str) -> None:
        super().__init__(jid, password)
        for plugin in ("xep_0004", "xep_0030", "xep_0060", "xep_0163", "xep_0199"):
            self.register_plugin(plugin)
        self.ca_certs = authority  # and so the certificate is verified
        self.ready: asyncio.Future[None] = asyncio.get_event_loop().create_future()
        self.heard: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.add_event_handler("session_start", self.on_session)
        self.add_event_handler("failed_auth", lambda event: self.ready.set_exception(RuntimeError(f"{jid}: {event}")))
        self.add_event_handler("pubsub_publish", lambda m: self.hear("post", m["pubsub_event"]["items"]["item"]["id"]))
        self.add_event_handler(
            "pubsub_retract", lambda m: self.hear("retraction", m["pubsub_event"]["items"]["retract"]["id"])
        )
        self.add_event_handler("message", self.on_message)

    async def on_session(self, event: object) -> None:
        await self.get_roster()
        self.send_presence()
        self.ready.set_result(None)

    def on_message(self, message: Any) -> None:
        if message["type"] in ("chat", "normal") and message["body"]:
            self.hear("chat", message["body"])

    def hear(self, kind: str, what: str) -> None:
        self.heard.put_nowait((kind, what))

    async def hears(self, kind: str, what: str) -> None:
        while (heard := await self.heard.get()) != (kind, what):
            print(f"# {self.boundjid} also heard {heard}")


async def story(address: str, port: str, authority: str, password: str, author: str, reader: str) -> None:
    people = romeo, juliet = Person(author, password, authority), Person(reader, password, authority)
    for person in people:
        person.connect(address, int(port))
        await person.ready
    print("login", romeo.socket.version() if isinstance(romeo.socket, ssl.SSLSocket) else "")

    options = romeo["xep_0004"].make_form(ftype="submit")
    options.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    options.add_field(var="pubsub#persist_items", value="true")
    options.add_field(var="pubsub#access_model", value="open")

    async def post(ident: str) -> None:
        payload = ET.fromstring(ENTRY)
        await romeo["xep_0060"].publish(romeo.boundjid.bare, NODE, id=ident, payload=payload, options=options)

    await post("zero")
    print("publish")
    await juliet["xep_0060"].subscribe(romeo.boundjid.bare, NODE, bare=True)
    print("follow")
    await post("one")
    await juliet.hears("post", "one")
    print("receive")
    page = await juliet["xep_0060"].get_items(romeo.boundjid.bare, NODE, max_items=1)
    assert [item["id"] for item in page["pubsub"]["items"]["substanzas"]] == ["one"], page
    print("retrieve")
    await romeo["xep_0060"].retract(romeo.boundjid.bare, NODE, "one", notify=True)
    await juliet.hears("retraction", "one")
    print("retract")
    romeo.send_message(juliet.boundjid.bare, "But soft!", mtype="chat")
    await juliet.hears("chat", "But soft!")
    juliet.send_message(romeo.boundjid.full, "Ay me!", mtype="chat")
    await romeo.hears("chat", "Ay me!")
    print("chat")
    for person in people:
        await person.disconnect()
    print("logout")


asyncio.run(asyncio.wait_for(story(*sys.argv[1:]), 30))
