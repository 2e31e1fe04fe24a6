"""How somebody elsewhere who does not follow hears of a post that names them: an ordinary chat message.

Its author sends it, with the words and the address of the post, so that anybody can read it with any client and answer
it. XEP-0372 says where in the text they are named, and which item it is.
"""

from typing import Final

from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.model.node import Node
from microblog.model.uri import item_uri
from microblog.wire import atom, ns, stanza
from microblog.wire.xml import Element

TEXT_MAX_CHARACTERS: Final = 4000
# For clients that cannot take it back; in English, as we know nothing of who reads it.
UNSAID: Final = "A message from me was taken back. Please delete it."


def write_mention(to: JID, node: Node, item: Item) -> str:
    """The ready stanza that tells somebody of an item."""
    entry = atom.read_text(item.payload)
    text = "" if entry is None else entry.text
    if entry is not None and entry.warning:
        text = f"[{entry.warning}] {text}"
    if len(text) > TEXT_MAX_CHARACTERS:
        text = text[: TEXT_MAX_CHARACTERS - 1].rstrip() + "…"
    uri = item_uri(node.service, node.name, item.id)
    references = []
    begin = text.casefold().find(f"@{to.bare}")
    if begin >= 0:
        place = {"begin": str(begin), "end": str(begin + len(str(to.bare)) + 1)}
        references.append(Element(ns.REFERENCE, "reference", {"type": "mention", "uri": f"xmpp:{to.bare}", **place}))
    references.append(Element(ns.REFERENCE, "reference", {"type": "data", "uri": uri}))
    # A direct item is a message to its readers, who need no address to open.
    body = f"{text}\n{uri}" if item.audience is Audience.PUBLIC else text
    message = stanza.message(
        "chat",
        item.publisher.bare,
        to,
        Element(ns.CLIENT, "body", None, body),
        *references,
        id_=f"post-{item.position}",
    )
    return message.to_bytes().decode()


def write_unsaid(by: JID, to: JID, position: int) -> str:
    """XEP-0424: the message of a direct item is taken back. ``position``: of the item as it was first."""
    retract = Element(ns.RETRACT, "retract", {"id": f"post-{position}"})
    fallback = Element(ns.FALLBACK, "fallback", {"for": ns.RETRACT})
    body = Element(ns.CLIENT, "body", None, UNSAID)
    message = stanza.message("chat", by.bare, to, retract, fallback, body, id_=f"unsaid-{position}")
    return message.to_bytes().decode()
