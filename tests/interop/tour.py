"""A day of people on several servers, written down as it happens.

People say things by their clients (`Visitor`), a terminal shows things (`tests.interop.screen`), and the `Tour` keeps
all of it as a page that can be read: what was said behind `>`, what came behind `<`. What differs from one day to the
next (ids, dates, invitations) is replaced, so that two days that go alike make the same page.
"""

import itertools
import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from xml.sax.saxutils import escape, quoteattr

from tests.interop.client import CLIENT, DEADLINE, Client, Refused
from tests.interop.microblogging import ATOM, EVENT, MICROBLOG, PUBSUB

BODY = f"{CLIENT}body"
XML = "{http://www.w3.org/XML/1998/namespace}"
NAME_COLUMNS = 10
LINE_COLUMNS = 90
FIRST = ("type", "to", "var", "node", "id", "rel", "href")

# Times before the day are the story's own.
_STAMP = re.compile(r"(?!2025-07-12T)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_REPLACED = (
    (_STAMP, "NOW"),
    (re.compile(r"(tag:[^,]+),\d{4}-\d\d-\d\d:"), r"\1,TODAY:"),
    (re.compile(r"(\bjoin |preauth=)[\w-]{20,}"), r"\1INVITATION"),
    (re.compile(r"\b\d{16}\.\d+\b"), "PLACE"),
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b"), "DAY hh:mm"),
    (re.compile(r"\b\d\d:\d\d:\d\d\b"), "hh:mm:ss"),
    (re.compile(r"(subid=')\w+"), r"\1SUBSCRIPTION"),
    (re.compile(r"(sessionid=')[\w-]+"), r"\1SESSION"),
    (re.compile(r"\b127\.\d+\.\d+\.\d+(?::\d+)?"), "ADDRESS"),
)
_ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


class Tour:
    """The page."""

    def __init__(self, title: str, *introduction: str) -> None:
        self._parts = [f"# {title}", *introduction]
        self._block: list[str] = []
        self._ids: dict[str, str] = {}
        self.names: dict[str, str] = {}

    def scene(self, title: str, *paragraphs: str) -> None:
        """A new scene."""
        self._end_block()
        self._parts += [f"## {title}", *paragraphs]

    def tell(self, paragraph: str) -> None:
        """What is to be known of what comes next."""
        self._end_block()
        self._parts.append(paragraph)

    def said(self, who: str, text: str, sign: str = ">") -> None:
        """Somebody said something, or (sign ``<``) got it."""
        first, *rest = self._replaced(text).splitlines() or [""]
        self._block.append(f"{who:<{NAME_COLUMNS}}{sign} {first}".rstrip())
        self._block += [f"{'':<{NAME_COLUMNS + 2}}{line}".rstrip() for line in rest]

    def screen(self, lines: list[str]) -> None:
        """What a terminal shows."""
        self._end_block()
        self._block = [self._replaced(line) for line in lines]
        self._end_block()

    def _replaced(self, text: str) -> str:
        for value, name in self.names.items():
            text = text.replace(value, name)
        for pattern, replacement in _REPLACED:
            text = pattern.sub(replacement, text)
        return _ID.sub(lambda found: self._ids.setdefault(found[0], f"ID-{len(self._ids) + 1}"), text)

    def _end_block(self) -> None:
        if self._block:
            self._parts.append("\n".join(("```", *self._block, "```")))
            self._block = []

    def page(self) -> str:
        """All of it, in Markdown."""
        self._end_block()
        return "\n\n".join(self._parts) + "\n"


def _rank(attribute: tuple[str, str]) -> tuple[int, str]:
    """Servers write attributes in any order."""
    name = attribute[0]
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


def shown(element: ET.Element, namespace: str = "jabber:client") -> str:
    """An element as people write it: namespaces where they change, one child a line."""
    uri, _, name = element.tag.rpartition("}")
    uri = uri[1:]
    declared = f" xmlns='{uri}'" if uri != namespace else ""
    attributes = "".join(
        f" {key.replace(XML, 'xml:')}='{escape(value)}'" for key, value in sorted(element.items(), key=_rank)
    )
    text = escape((element.text or "").strip())
    children = [shown(child, uri) + escape(child.tail or "") for child in element]
    head = f"<{name}{declared}{attributes}"
    if not children:
        return f"{head}>{text}</{name}>" if text else f"{head}/>"
    if any((child.tail or "").strip() for child in element):
        return f"{head}>{escape(element.text or '')}{''.join(children)}</{name}>"
    children = [child.strip() for child in children]
    short = f"{head}>{''.join([text] * bool(text) + children)}</{name}>"
    if "\n" not in short and len(short) <= LINE_COLUMNS:
        return short
    inside = "\n".join([text] * bool(text) + children).replace("\n", "\n  ")
    return f"{head}>\n  {inside}\n</{name}>"


class Visitor:
    """Somebody at a client of theirs. `node` is whom they talk to, `name` how the page calls them."""

    def __init__(self, tour: Tour, client: Client, name: str, node: str) -> None:
        self.tour, self.client, self.name, self.node = tour, client, name, node
        self.bare = client.bare
        self.said_ids: list[str] = []
        self._ids = itertools.count(1)

    # chat

    def says(self, text: str, expected: str, *, inside: str = "", to: str = "", show_inside: bool = True) -> str:
        """Say something to the node; its answer, which has the expected words in it. `inside`: XML beside the body."""
        self.idle()
        to, id_ = to or self.node, f"{self.name}-{next(self._ids)}"
        self.said_ids.append(id_)
        body = f"<body>{escape(text)}</body>" if text else ""
        self.tour.said(self.name, "\n".join(filter(None, [text, shown_fragment(inside) if show_inside else ""])))
        self.client.send(f"<message to='{to}' type='chat' id='{id_}'>{body}{inside}</message>")
        return self._hears(expected, {to})

    def hears(self, expected: str, *, from_: str = "", show: str = "", timeout: float = DEADLINE) -> ET.Element:
        """Wait for a message with these words in it. `show`: which child is shown as well."""
        stanza = self._wait(expected, {from_ or self.node}, timeout)
        text = _body(stanza)
        if from_:
            text = f"({from_}) {text}"
        if show:
            text += "".join("\n" + shown(child) for child in stanza.iter(show))
        self.tour.said(self.name, text, "<")
        return stanza

    def _hears(self, expected: str, senders: set[str]) -> str:
        text = _body(self._wait(expected, senders))
        self.tour.said("", text, "<")
        return text

    def _wait(self, expected: str, senders: set[str], timeout: float = DEADLINE) -> ET.Element:
        return self.client.wait(
            lambda s: s.get("from", "").partition("/")[0] in senders and bool(_body(s)) and expected in _body(s),
            timeout=timeout,
            what=f"{expected!r}",
        )

    def settled(self, question: str, expected: str) -> None:
        """Ask again and again, beside the page, until it is so."""
        deadline = time.monotonic() + DEADLINE
        while True:
            self.client.send(f"<message to='{self.node}' type='chat'><body>{escape(question)}</body></message>")
            said = _body(self._wait("", {self.node}))
            if expected in said:
                return
            assert time.monotonic() < deadline, said
            time.sleep(0.05)

    def idle(self) -> None:
        """Nothing was said to them that the page does not tell."""
        unread = [body for stanza in self.client.unread if (body := _body(stanza))]
        assert not unread, f"{self.name} was told what the page does not tell: {unread}"

    # pubsub

    def asks(self, kind: str, payload: str, to: str = "", *, show: bool = True) -> ET.Element:
        """An IQ request; its answer. Raises Refused."""
        where = f" to={quoteattr(to)}" if to else ""
        if show:
            self.tour.said(
                self.name, shown(ET.fromstring(f"<iq xmlns='jabber:client' type='{kind}'{where}>{payload}</iq>"))
            )
        return self.client.iq(kind, payload, to=to or None)

    def got(self, element: ET.Element | None) -> None:
        """Show what came."""
        assert element is not None
        self.tour.said(self.name, shown(element), "<")

    def refused(self, kind: str, payload: str, to: str = "") -> str:
        """An IQ request that is refused; the condition."""
        try:
            self.asks(kind, payload, to)
        except Refused as refused:
            error = refused.element.find(f"{CLIENT}error")
            self.got(error)
            return refused.condition
        raise AssertionError("was not refused")

    def publishes(self, ident: str, entry: str, *, options: str = "", to: str = "", node: str = MICROBLOG) -> None:
        """Publish an entry."""
        item = f"<item id='{ident}'>{entry}</item>"
        self.asks("set", f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'>{item}</publish>{options}</pubsub>", to)

    def reads(self, node: str = MICROBLOG, to: str = "", rsm: str = "", *, show: bool = True) -> list[ET.Element]:
        """Items of a node; what is shown is who wrote what, when, and the page that it is."""
        page = f"<set xmlns='http://jabber.org/protocol/rsm'>{rsm}</set>" if rsm else ""
        content = f"<pubsub xmlns='{PUBSUB}'><items node={quoteattr(node)}/>{page}</pubsub>"
        answer = self.asks("get", content, to, show=show)
        items = list(answer.iter(f"{{{PUBSUB}}}item"))
        if show:
            lines = [_in_short(item) for item in items] or ["(no items)"]
            rsm_set = answer.find(f"{{{PUBSUB}}}pubsub/{{http://jabber.org/protocol/rsm}}set")
            if rsm_set is not None:
                lines.append(shown(rsm_set, PUBSUB))
            self.tour.said("", "\n".join(lines), "<")
        return items

    def is_told(self, author: str, ident: str, *, node: str = MICROBLOG, what: str = "item") -> ET.Element:
        """Wait for a notification of an item (or, `what='retract'`, that it is gone)."""
        path = f"{EVENT}event/{EVENT}items[@node='{node}']/{EVENT}{what}[@id='{ident}']"
        stanza = self.client.wait(
            lambda s: s.get("from", "").partition("/")[0] == author and s.find(path) is not None,
            what=f"{what} {ident} of {author}",
        )
        found = stanza.find(path)
        assert found is not None
        return found

    def close(self) -> None:
        """Leave."""
        self.client.close()


def shown_fragment(text: str) -> str:
    """Several elements, each as people write it."""
    root = ET.fromstring(f"<all xmlns='jabber:client'>{text}</all>")
    return "\n".join(shown(child) for child in root)


def _body(stanza: ET.Element) -> str:
    return (stanza.findtext(BODY) or "") if stanza.tag == f"{CLIENT}message" else ""


def _in_short(item: ET.Element) -> str:
    published = item.findtext(f"{ATOM}entry/{ATOM}published") or ""
    return f"{published} {item.get('publisher') or ''}: {title(item)}".strip()


def title(item: ET.Element) -> str:
    """What an item says."""
    return item.findtext(f"{ATOM}entry/{ATOM}title") or ""


def becomes(question: Callable[[], object], wanted: object, seconds: float = DEADLINE) -> None:
    """Wait until it is so: for what nobody is told of."""
    deadline = time.monotonic() + seconds
    while (found := question()) != wanted:
        assert time.monotonic() < deadline, f"{found!r}, not {wanted!r}"
        time.sleep(0.05)
