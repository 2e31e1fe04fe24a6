"""Two people with aioxmpp: log in, follow, post, read, retract, chat. Prints each step that is done.

aioxmpp_story.py ADDRESS PORT PASSWORD AUTHOR READER

aioxmpp stopped in 2023 and does not run beside current lxml and pyOpenSSL: this is for Debian's own Python.
"""

import asyncio
import sys

import aioxmpp
import aioxmpp.connector
import aioxmpp.dispatcher
import aioxmpp.forms
import aioxmpp.pubsub.xso as pubsub_xso
import aioxmpp.xso

NODE = "urn:xmpp:microblog:0"
ATOM = "http://www.w3.org/2005/Atom"


@pubsub_xso.as_payload_class
class Entry(aioxmpp.xso.XSO):
    TAG = (ATOM, "entry")
    title = aioxmpp.xso.ChildText((ATOM, "title"))
    atom_id = aioxmpp.xso.ChildText((ATOM, "id"))
    updated = aioxmpp.xso.ChildText((ATOM, "updated"))
    UNKNOWN_CHILD_POLICY = aioxmpp.xso.UnknownChildPolicy.DROP


OPTIONS = {
    "FORM_TYPE": "http://jabber.org/protocol/pubsub#publish-options",
    "pubsub#persist_items": "true",
    "pubsub#access_model": "open",
}


def entry():
    new = Entry()
    new.title, new.atom_id, new.updated = "It is the east", "tag:example,2026:one", "2026-05-01T12:00:00Z"
    return new


def options():
    form = aioxmpp.forms.Data(type_=aioxmpp.forms.DataType.SUBMIT)
    for var, value in OPTIONS.items():
        kind = aioxmpp.forms.FieldType.HIDDEN if var == "FORM_TYPE" else aioxmpp.forms.FieldType.TEXT_SINGLE
        form.fields.append(aioxmpp.forms.Field(type_=kind, var=var, values=[value]))
    return form


class Person:
    def __init__(self, address, port, password, jid):
        self.jid = aioxmpp.JID.fromstr(jid)
        self.heard = asyncio.Queue()
        self.client = aioxmpp.PresenceManagedClient(
            self.jid,
            aioxmpp.make_security_layer(password, no_verify=True),
            override_peer=[(address, int(port), aioxmpp.connector.STARTTLSConnector())],
        )
        self.pubsub = self.client.summon(aioxmpp.PubSubClient)
        self.pubsub.on_item_published.connect(lambda jid, node, item, **_: self.hear("post", item.id_))
        self.pubsub.on_item_retracted.connect(lambda jid, node, id_, **_: self.hear("retraction", id_))
        messages = self.client.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        for kind in (aioxmpp.MessageType.CHAT, aioxmpp.MessageType.NORMAL):
            messages.register_callback(kind, None, self.on_message)

    def hear(self, kind, what):
        self.heard.put_nowait((kind, what))

    def on_message(self, message):
        if message.body:
            self.hear("chat", message.body.any())

    async def hears(self, kind, what):
        while True:
            heard = await self.heard.get()
            if heard == (kind, what):
                return
            print("#", self.jid, "also heard", heard)

    async def say(self, to, body):
        message = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=to)
        message.body[None] = body
        await self.client.send(message)


async def story(address, port, password, author, reader):
    romeo, juliet = (Person(address, port, password, jid) for jid in (author, reader))
    async with romeo.client.connected(), juliet.client.connected():
        print("login")
        await romeo.pubsub.publish(None, NODE, entry(), id_="zero", publish_options=options())
        print("publish")
        await juliet.pubsub.subscribe(romeo.jid, NODE, subscription_jid=juliet.jid)
        print("follow")
        await romeo.pubsub.publish(None, NODE, entry(), id_="one", publish_options=options())
        await juliet.hears("post", "one")
        print("receive")
        page = await juliet.pubsub.get_items(romeo.jid, NODE, max_items=1)
        assert [item.id_ for item in page.payload.items] == ["one"]
        assert page.payload.items[0].registered_payload.title == "It is the east"
        print("retrieve")
        await romeo.pubsub.retract(None, NODE, "one", notify=True)
        await juliet.hears("retraction", "one")
        print("retract")
        await romeo.say(juliet.jid, "But soft!")
        await juliet.hears("chat", "But soft!")
        await juliet.say(romeo.client.local_jid, "Ay me!")
        await romeo.hears("chat", "Ay me!")
        print("chat")
    print("logout")


asyncio.run(asyncio.wait_for(story(*sys.argv[1:]), 30))
