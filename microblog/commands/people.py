"""Words about people: ``join``, ``link`` and ``unlink``, ``set``, ``invite``.

Strangers may join and link: whoever speaks from an address elsewhere that has no account. They are told nothing of who
has an account here (``usecases.linking``).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

from microblog.commands.command import Answer, Call, Command, Kind, Parameter, Person
from microblog.commands.texts import languages, say
from microblog.model import jid as addresses
from microblog.model.account import Account
from microblog.model.errors import JIDMalformed, NotAcceptable, NotAllowed
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.usecases import linking, registering, settling
from microblog.wire import notification, ns
from microblog.wire import stanza as stanzas
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element

# Stands where a person's account would be, for those who have none.
NOBODY: Final = Account(key=0, localpart="", created=datetime.fromtimestamp(0, UTC))
_GROUP: Final = "people"
_DAYS: Final = re.compile(r"[0-9]{1,4}")
# An invitation as it is printed, and as people copy it out of an address.
_TOKEN: Final = re.compile(r"(?:\S*[;?&]preauth=)?([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger(Person):
    """Somebody without an account, who speaks from an address elsewhere (``jid`` is that, bare)."""

    account: Account = NOBODY
    linked: bool = True
    proof: Proof


class Rates(Protocol):
    """How often people may have others written to."""

    def invite(self, account: JID) -> None:
        """An account makes an invitation. Raises ResourceConstraint."""

    def link(self, account: JID) -> None:
        """An account names an address elsewhere. Raises ResourceConstraint."""

    def asked(self, account: JID) -> bool:
        """Somebody elsewhere names an account: is that to be told there?"""


class PeopleWords:
    """The commands.

    ``send`` takes stanzas to people here, ``wake`` hears which domain is owed something, ``rates`` are counted.
    ``changed`` hears of accounts that have other addresses or another language. ``invites``: people may join by
    invitation. ``enrol_domains``: whose people may join as they are.
    """

    def __init__(
        self,
        database: Database,
        send: Callable[[Stanza], None],
        wake: Callable[[str], None],
        rates: Rates,
        changed: Callable[[JID], None],
        *,
        invites: bool = True,
        enrol_domains: Iterable[str] = (),
    ) -> None:
        self._database = database
        self._host = JID("", database.domain)
        self._send = send
        self._wake = wake
        self._rates = rates
        self._changed = changed
        self._invites = invites
        self._enrol_domains = frozenset(enrol_domains)

    def commands(self) -> Iterable[Command]:
        """All of them."""
        address = Parameter(name="address", kinds=(Kind.WORD,), required=False)
        yield Command(
            name="join",
            group=_GROUP,
            function=self.join,
            parameters=(
                Parameter(name="code", kinds=(Kind.WORD,), required=False, secret=True),
                Parameter(name="name", kinds=(Kind.WORD,), required=False),
            ),
            strangers=True,
        )
        yield Command(name="link", group=_GROUP, function=self.link, parameters=(address,), strangers=True)
        yield Command(name="unlink", group=_GROUP, function=self.unlink, parameters=(address,), strangers=True)
        yield Command(
            name="set",
            group=_GROUP,
            function=self.set,
            parameters=(
                Parameter(name="name", kinds=(Kind.WORD,), required=False),
                Parameter(name="value", kinds=(Kind.WORD,), required=False),
            ),
        )
        yield Command(
            name="invite",
            group=_GROUP,
            function=self.invite,
            parameters=(
                Parameter(name="label", kinds=(Kind.WORD,), required=False),
                Parameter(name="days", kinds=(Kind.NUMBER,), required=False),
                Parameter(name="unit", kinds=(Kind.CHOICE,), required=False, choices=("days", "day", "d")),
            ),
        )

    # Joining

    async def join(self, call: Call) -> Answer:
        """``join [CODE] [NAME]``: an account for the address that this comes from."""
        person = call.person
        if not isinstance(person, Stranger):
            return _said(person, "joined_already", account=person.jid)
        enrolled = person.jid.domainpart in self._enrol_domains and person.proof is Proof.CERTIFICATE
        words = [word for word in (call.get("code"), call.get("name")) if word]
        if not self._invites and not enrolled:
            raise NotAllowed(say(person.language, "people.closed"))
        token = await self._token(words[0]) if words and self._invites else None
        if token is not None:
            words = words[1:]
        elif not enrolled:
            # Let the use case say what is wrong with it; without one, that one is needed.
            token, words = (words[0], words[1:]) if words else (None, [])
        if len(words) > 1:
            raise NotAcceptable(say(person.language, "people.one_name"))
        request = linking.Join(jid=person.jid, token=token, name=words[0] if words else None, enrolled=enrolled)
        account = await self._database.write(linking.join, request)
        return _said(person, "joined", account=account.jid(self._database.domain), domain=self._database.domain)

    async def _token(self, word: str) -> str | None:
        """The invitation in a word, if it is a good one."""
        found = _TOKEN.fullmatch(word)
        token = found.group(1) if found else word
        return token if await self._database.read(linking.is_invitation, token) else None

    # Linking

    async def link(self, call: Call) -> Answer:
        """``link ADDRESS`` from the account, ``link NAME`` from the address; alone, the addresses there are."""
        person, word = call.person, call.get("address")
        if isinstance(person, Stranger):
            if not word:
                raise NotAcceptable(say(person.language, "people.link_what"))
            return await self._link_account(person, self._own(word, person))
        if not word:
            return await self._addresses(person)
        jid = self._address(word, person)
        self._rates.link(person.jid)
        request = linking.LinkAddress(
            account=person.account,
            jid=jid,
            ask=partial(self._notice, "asked_by_account", person.jid, jid),
            tell=partial(self._notice, "linked", person.jid, jid),
        )
        done = await self._database.write(linking.link_address, request)
        self._tell(done)
        if done.confirmed:
            self._changed(person.jid)
        return _said(person, "linked" if done.confirmed else "asked_address", address=jid, account=person.jid)

    async def _link_account(self, person: Stranger, account: JID) -> Answer:
        request = linking.LinkAccount(
            jid=person.jid,
            name=account.localpart,
            ask=partial(self._notice, "asked_by_address", account, person.jid),
            tell=partial(self._notice, "linked", account, person.jid),
            quiet=not self._rates.asked(account),
        )
        done = await self._database.write(linking.link_account, request)
        self._tell(done)
        if done.confirmed:
            self._changed(account)
        return _said(person, "linked" if done.confirmed else "asked_account", address=person.jid, account=account)

    async def unlink(self, call: Call) -> Answer:
        """``unlink ADDRESS`` from the account; from the address alone, or to refuse an account that asked."""
        person, word = call.person, call.get("address")
        if isinstance(person, Stranger):
            if not word:
                raise NotAcceptable(say(person.language, "people.unlink_what"))
            account = self._own(word, person)
            await self._database.write(linking.refuse, person.jid, account.localpart)
            return _said(person, "unlinked", address=person.jid, account=account)
        if not word and not person.linked:
            raise NotAcceptable(say(person.language, "people.unlink_what"))
        jid = self._address(word, person) if word else person.address.bare
        if person.linked and jid == person.jid:
            jid = person.address.bare
        request = linking.Unlink(account=person.account, jid=jid, notice=notification.decision)
        self._tell(await self._database.write(linking.unlink, request))
        self._changed(person.jid)
        return _said(person, "unlinked", address=jid, account=person.jid)

    async def _addresses(self, person: Person) -> Answer:
        links = await self._database.read(linking.addresses, person.account)
        if not links:
            return _said(person, "no_addresses")
        lines = []
        for link in links:
            state = "confirmed" if link.confirmed else "waits_here" if link.asked_there else "waits_there"
            lines.append((str(link.jid), say(person.language, f"people.{state}")))
        return Answer(text="\n".join(f"{jid}: {state}" for jid, state in lines), form=tuple(lines))

    def _tell(self, done: linking.Linked) -> None:
        if done.here is not None:
            address, body = done.here
            self._send(self._message(address, body))
        for domain in done.domains:
            self._wake(domain)

    def _notice(self, text: str, account: JID, address: JID, to: JID, language: str) -> str:
        """What one side is told of the other: for people elsewhere the stanza, for those here what it says."""
        said = say(language, f"people.told.{text}", account=account, address=address, name=account.localpart)
        return said if to.domainpart == self._database.domain else self._message(to, said).to_bytes().decode()

    def _message(self, to: JID, body: str) -> Stanza:
        return stanzas.message("chat", self._host, to, Element(ns.CLIENT, "body", {}, body))

    def _own(self, word: str, person: Person) -> JID:
        """The address of an account here, whether there is one or not."""
        jid = self._address(word, person)
        if jid.domainpart != self._database.domain or not jid.localpart:
            raise NotAcceptable(say(person.language, "people.not_here", domain=self._database.domain))
        return jid

    def _address(self, word: str, person: Person) -> JID:
        try:
            if "@" in word:
                return JID.parse(word.removeprefix("xmpp:")).bare
            return JID(addresses.localpart(word), self._database.domain)
        except JIDMalformed:
            raise NotAcceptable(say(person.language, "people.no_address", word=word)) from None

    # Settings

    async def set(self, call: Call) -> Answer:
        """``set``, ``set NAME``, ``set NAME VALUE``."""
        person, name, value = call.person, call.get("name"), call.get("value")
        if name and value:
            request = settling.Set(account=person.account, name=name.casefold(), value=value, languages=languages())
            now = await self._database.write(settling.change, request)
            if request.name == settling.LANGUAGE:
                self._changed(person.jid)
            return _said(person, "set_to", name=request.name, value=now)
        found = await self._database.read(settling.settings, person.account)
        if name:
            if name.casefold() not in found:
                raise NotAcceptable(say(person.language, "people.no_setting", names=", ".join(found)))
            found = {name.casefold(): found[name.casefold()]}
        return Answer(text="\n".join(f"{name}: {now}" for name, now in found.items()), form=tuple(found.items()))

    # Invitations

    async def invite(self, call: Call) -> Answer:
        """``invite [FOR WHOM] [N days]``: an invitation for one."""
        person = call.person
        if not self._invites:
            raise NotAllowed(say(person.language, "people.closed"))
        label, days = call.get("label", ""), call.get("days")
        if days is None and _DAYS.fullmatch(label):
            label, days = "", int(label)
        self._rates.invite(person.jid)
        days = registering.INVITE_DAYS if days is None else days
        token = await self._database.write(registering.create_invite, days=days)
        domain = self._database.domain
        uri = f"xmpp:{domain}?register;preauth={token}"
        text = "invitation_for" if label else "invitation"
        said = say(person.language, f"people.{text}", token=token, days=days, domain=domain, uri=uri, label=label)
        return Answer(text=said, form=(("join", token), ("uri", uri)))


def _said(person: Person, text: str, **values: object) -> Answer:
    return Answer(text=say(person.language, f"people.{text}", **values))
