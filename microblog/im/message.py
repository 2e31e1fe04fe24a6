"""RFC 6121 §8.5: messages that arrive for this domain.

An extension may claim a message by one of its children (a pubsub notification to an account); what is left goes to
people. To a full JID it goes to that session. To an account, ``chat`` and ``normal`` go to every available session
whose priority is not negative; so does a ``headline``, which is dropped when there is none. What cannot be handed over
is answered with ``service-unavailable``, the same for an account without sessions and for no account at all, so that
nothing is lost in silence and nobody learns who exists. An error is never answered.

On the way in, a message loses what only this server may say in it: a stanza id given ``by`` this domain (XEP-0359 §4)
or a delay stamped ``from`` it (XEP-0203), also inside forwarded messages.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from microblog.model.errors import JIDMalformed, Refusal, ServiceUnavailable
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xmpp.router import Router

# XEP-0297 and what is wrapped around it: carbons (XEP-0280) and archive results (XEP-0313).
_WRAPPERS: Final = frozenset(("urn:xmpp:forward:0", "urn:xmpp:carbons:2", "urn:xmpp:mam:2"))
# XEP-0359 §4 and XEP-0203: the attribute in which a server names itself.
_STAMPS: Final = {(ns.STANZA_ID, "stanza-id"): "by", (ns.DELAY, "delay"): "from"}


class Messages:
    """What happens to messages for this domain.

    ``error_listeners`` hear the errors that come back to an account or to the node: bounces of what was sent in their
    name.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self.error_listeners: list[Callable[[Stanza], None]] = []

    async def inbound(self, message: Stanza) -> None:
        """Take a message addressed to this domain."""
        if message.type == "error":
            self._error(message)
            return
        message = without_false_stamps(message, self._router.domain)
        try:
            if await self._router.dispatch.message(message):
                return
        except Refusal as refusal:
            self._router.bounce(message, refusal)
            return
        if not self._deliver(message) and message.type != "headline":
            self._router.bounce(message, ServiceUnavailable())

    def _deliver(self, message: Stanza) -> bool:
        """Write it to the sessions that RFC 6121 §8.5.4 names; False if there are none."""
        to = message.to
        if to.resourcepart:
            session = self._router.sessions.get(to)
            if session is not None:
                session.send(message)
                return True
            if message.type != "chat":
                return False
        elif message.type == "groupchat":
            return False
        data = message.to_bytes()
        sessions = [session for session in self._router.sessions.available(to.bare) if session.priority >= 0]
        for session in sessions:
            session.write(data)
        return bool(sessions)

    def _error(self, message: Stanza) -> None:
        if message.element.find(ns.CLIENT, "error") is None:
            return
        if not message.to.resourcepart:
            for listener in self.error_listeners:
                listener(message)
            return
        session = self._router.sessions.get(message.to)
        if session is not None:
            session.send(message)


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
