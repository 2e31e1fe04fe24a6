"""What chat tells, as messages: a post, that a post is gone, a sentence.

Each is a request to ``chatting.tell`` and knows how its lines are written: in the language of their reader, and from
the address of the node that they talk to.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from microblog.commands.command import Post
from microblog.commands.lines import line as line_of
from microblog.commands.texts import say
from microblog.model.event import ItemRetracted
from microblog.model.jid import JID
from microblog.model.node import MICROBLOG
from microblog.model.uri import ItemAddress, read_uri
from microblog.runtime import Clock
from microblog.usecases.chatting import Line, Reader, Spoken, Told, Withdrawn
from microblog.wire import chat
from microblog.wire.stanza import Stanza
from microblog.xep.listeners import Listeners

RECENT_HOURS: Final = 24


class Shown:
    """A post that is shown. ``seq``: what makes the id of a correction another one."""

    def __init__(
        self,
        listeners: Listeners,
        clock: Clock,
        domain: str,
        post: Post,
        readers: Sequence[Reader],
        *,
        seq: int,
        once: bool = False,
        urgent: bool = False,
        again: bool = False,
    ) -> None:
        self._listeners = listeners
        self._domain = domain
        self._post = post
        self._seq = seq
        answered = read_uri(post.entry.answers) if post.entry.answers else None
        stood = post.item.stands or post.item.published
        self.wanted = Told(
            address=post.address,
            copies=copies(post),
            answered=answered if answered is not None and answered.item_id is not None else None,
            audience=post.item.audience,
            readers=tuple(readers),
            # Is it worth a line to those who have not seen it?
            recent=again or clock.now() - stood < timedelta(hours=RECENT_HOURS),
            write=lambda line, to: self.render(line, to).to_bytes().decode(),
            once=once,
            urgent=urgent,
        )

    def keep(self, accounts: Container[int]) -> None:
        """It is for nobody else."""
        self.wanted = replace(self.wanted, readers=_kept(self.wanted.readers, accounts))

    def render(self, line: Line, to: JID) -> Stanza:
        """Its line as a message."""
        sender, language = _manner(self._listeners, line.reader, self._domain)
        reader = line.reader.account
        text = line_of(self._post, line.number, line.numbers, reader=reader, domain=self._domain, language=language)
        if line.reader.mark:
            text = f"{line.reader.mark} {text}"
        if line.again:
            return chat.write_correction(text, sender, to, number=line.number, seq=self._seq, language=language)
        return chat.write(text, sender, to, id_=chat.line_id(line.number), language=language)


class Gone:
    """A post that is gone."""

    def __init__(
        self,
        listeners: Listeners,
        domain: str,
        event: ItemRetracted,
        address: ItemAddress,
        readers: Sequence[Reader],
    ) -> None:
        self._listeners = listeners
        self._domain = domain
        self._seq = event.seq
        self.wanted = Withdrawn(
            address=address,
            seq=event.seq,
            readers=tuple(readers),
            write=lambda line, to: self.render(line, to).to_bytes().decode(),
        )

    def keep(self, accounts: Container[int]) -> None:
        """It is for nobody else."""
        self.wanted = replace(self.wanted, readers=_kept(self.wanted.readers, accounts))

    def render(self, line: Line, to: JID) -> Stanza:
        """Its line, taken back."""
        sender, language = _manner(self._listeners, line.reader, self._domain)
        text = say(language, "chat.deleted", number=line.number)
        return chat.write_retraction(text, sender, to, number=line.number, seq=self._seq, language=language)


class Said:
    """A sentence."""

    def __init__(self, listeners: Listeners, domain: str, text: str, reader: Reader) -> None:
        self._listeners = listeners
        self._domain = domain
        self.wanted = Spoken(
            readers=(reader,), text=text, write=lambda line, to: self.render(line, to).to_bytes().decode()
        )

    def keep(self, accounts: Container[int]) -> None:
        """It is for nobody else."""
        self.wanted = replace(self.wanted, readers=_kept(self.wanted.readers, accounts))

    def render(self, line: Line, to: JID) -> Stanza:
        """It as a message."""
        sender, language = _manner(self._listeners, line.reader, self._domain)
        return chat.write(self.wanted.text, sender, to, language=language)


Made = Shown | Gone | Said


def copies(post: Post) -> tuple[ItemAddress, ...]:
    """Where else the same may have been seen: a reply is in its author's feed and in its thread."""
    id_ = post.item.id
    found = [ItemAddress(post.item.publisher.bare, MICROBLOG, id_)]
    thread = read_uri(post.entry.thread or post.item.thread)
    if thread is not None and thread.item_id is None:
        found.append(ItemAddress(thread.service, thread.node, id_))
    return tuple(address for address in found if address != post.address)


def _kept(readers: Iterable[Reader], accounts: Container[int]) -> tuple[Reader, ...]:
    return tuple(reader for reader in readers if reader.key in accounts)


def _manner(listeners: Listeners, reader: Reader, domain: str) -> tuple[JID, str]:
    """From which address of the node somebody is spoken to, and in which language."""
    listener = listeners.get(reader.account)
    return (JID("", domain), "en") if listener is None else (listener.sender, listener.language)
