"""XML as text for tests, read by the parser that the server reads streams with."""

from microblog.model.jid import JID
from microblog.wire import ns, stanza
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.parser import Parser, XMLLimits

_LIMITS = XMLLimits(element_bytes=1 << 20, header_bytes=10_000, depth=64, attributes=64, elements=10_000)


def read_all(text: str) -> list[Element]:
    """Elements that stand where ``jabber:client`` is the default namespace."""
    found: list[Element] = []
    parser = Parser(_LIMITS, lambda header: None, found.append, lambda: None)
    parser.feed(f"<stream:stream xmlns:stream='{ns.STREAM}' xmlns='{ns.CLIENT}'>{text}".encode())
    return found


def read(text: str) -> Element:
    """The one element."""
    (element,) = read_all("".join(line.strip() + "\n" for line in text.strip().splitlines()).replace(">\n<", "><"))
    return element


def read_stanza(text: str) -> Stanza:
    """A stanza that carries its addresses."""
    element = read(text)
    return stanza.read(element, from_=JID.parse(element.attributes["from"]), to=JID.parse(element.attributes["to"]))
