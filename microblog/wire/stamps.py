"""XEP-0359 §4, XEP-0203: what only a server may say of itself, taken off what others send.

A stanza id given ``by`` this domain, or a delay stamped ``from`` it, is this server's word. Found in what came from
anybody else, a client of ours included, it is a forgery, also inside forwarded messages; so it neither comes in nor
leaves.
"""

from dataclasses import replace
from typing import Final

from microblog.model.errors import JIDMalformed
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element

# XEP-0297 and what is wrapped around it: carbons (XEP-0280) and archive results (XEP-0313).
_WRAPPERS: Final = frozenset(("urn:xmpp:forward:0", "urn:xmpp:carbons:2", "urn:xmpp:mam:2"))
# The attribute in which a server names itself.
_STAMPS: Final = {(ns.STANZA_ID, "stanza-id"): "by", (ns.DELAY, "delay"): "from"}


def without_false_stamps(stanza: Stanza, domain: str) -> Stanza:
    """The stanza without stamps in this domain's name, unless the server itself made it."""
    if stanza.from_.domainpart == domain and stanza.from_.is_bare:
        return stanza
    element = _without(stanza.element, domain)
    return stanza if element is stanza.element else replace(stanza, element=element)


def _without(element: Element, domain: str) -> Element:
    children: list[Element | str] = []
    changed = False
    for child in element.children:
        if isinstance(child, Element):
            if _is_ours(child, domain):
                changed = True
                continue
            if child.uri in _WRAPPERS or element.uri in _WRAPPERS:
                inner = _without(child, domain)
                changed = changed or inner is not child
                child = inner
        children.append(child)
    if not changed:
        return element
    copy = element.replaced()
    copy.children = children
    return copy


def _is_ours(child: Element, domain: str) -> bool:
    attribute = _STAMPS.get((child.uri, child.name))
    if attribute is None:
        return False
    try:
        return JID.parse(child.get(attribute) or "").domainpart == domain
    except JIDMalformed:
        return False
