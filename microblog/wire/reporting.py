"""XEP-0377: reports. With a block they are as the XEP has them; between nodes they go by themselves.

The XEP has no form for a report that goes by itself. Ours is that of Prosody's mod_report_forward: a message from the
node to the other one, in which the report also has the address of who is reported, as a ``<jid/>`` (XEP-0268). The
address of a post is a reference (XEP-0372) in the report. Who reported it is nowhere in it.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.model.report import TEXT_MAX_CHARACTERS, Reason, Report
from microblog.model.uri import ItemAddress, read_uri
from microblog.wire import ns
from microblog.wire.stanza import Stanza, message
from microblog.wire.xml import Element

_REASON: Final = "urn:xmpp:reporting:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a report says. ``jid``: None where it is said elsewhere, as in a block. ``origin``: tell their node too."""

    reason: Reason
    text: str = ""
    jid: JID | None = None
    item: ItemAddress | None = None
    origin: bool = False


def find(element: Element) -> Said | None:
    """The report in an element (of a block: its ``<item/>``; of a message: the message), if there is one.

    An unknown reason counts as abuse.
    """
    report = element.find(ns.REPORTING, "report")
    return None if report is None else read(report)


def read(report: Element) -> Said:
    """What a ``<report/>`` says. What makes no sense in it is left out."""
    reason = report.get("reason") or ""
    spam = reason == _REASON + Reason.SPAM
    item = None
    for reference in report.elements():
        if (reference.uri, reference.name) == (ns.REFERENCE, "reference") and item is None:
            found = read_uri(reference.get("uri") or "")
            item = found if found is not None and found.item_id is not None else None
    return Said(
        reason=Reason.SPAM if spam else Reason.ABUSE,
        text=(report.child_text(ns.REPORTING, "text") or "").strip()[:TEXT_MAX_CHARACTERS],
        jid=_jid(report.child_text(ns.JID, "jid")),
        item=item,
        origin=report.find(ns.REPORTING, "report-origin") is not None,
    )


def _jid(text: str | None) -> JID | None:
    try:
        return JID.parse(text.strip()).bare if text else None
    except JIDMalformed:
        return None


def write(report: Report) -> Element:
    """A report for another node."""
    element = Element(
        ns.REPORTING,
        "report",
        {"reason": _REASON + report.reason},
        Element(ns.JID, "jid", None, str(report.jid)),
    )
    if report.text:
        element.append(Element(ns.REPORTING, "text", None, report.text))
    if report.item is not None:
        element.append(Element(ns.REFERENCE, "reference", {"type": "data", "uri": report.item.uri}))
    return element


def pass_on(domain: str, report: Report) -> Stanza:
    """The message from this node (``domain``) to that of who is reported."""
    to = JID("", report.jid.domainpart)
    return message("normal", JID("", domain), to, write(report), id_=f"report-{secrets.token_hex(8)}")
