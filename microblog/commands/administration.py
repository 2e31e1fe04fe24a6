"""XEP-0133: what administrators do, as forms; and the same in chat as ``admin WORD``.

The forms have the names and fields that the XEP gives them. An account may do this only from here: an address
elsewhere that is linked to it may be taken over with its server, and is not enough to take over this one.

A list of accounts is looked at whole before anything is done to the first.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from microblog.commands.command import Answer, Call, Command, Function, Kind, Parameter
from microblog.commands.texts import say
from microblog.model.account import Account
from microblog.model.errors import Forbidden, NotAcceptable, Refusal
from microblog.model.jid import JID
from microblog.store.database import Database, Transaction
from microblog.usecases import administering, registering
from microblog.wire.xml import stamp

GROUP: Final = "administration"
ONLINE_MAX: Final = 1000
# XEP-0401 §4: a command of its own.
CREATE_ACCOUNT: Final = "urn:xmpp:invite#create-account"

_ACCOUNT: Final = Parameter(name="accountjid", kinds=(Kind.ADDRESS,))
_ACCOUNTS: Final = Parameter(name="accountjids", kinds=(Kind.ADDRESS,), many=True)
_PASSWORD: Final = Parameter(name="password", kinds=(Kind.TEXT,), secret=True)
_AGAIN: Final = Parameter(name="password-verify", kinds=(Kind.TEXT,), secret=True)
_ANNOUNCEMENT: Final = Parameter(name="announcement", kinds=(Kind.TEXT,))
_NAME: Final = Parameter(name="name", kinds=(Kind.PERSON,))


class House(Protocol):
    """What is done to accounts and to those who are on line (``xep.administration``)."""

    def add(self, name: str, password: str) -> Awaitable[Account]:
        """A new account."""

    def remove(self, account: JID) -> Awaitable[None]:
        """End an account."""

    def set_disabled(self, account: JID, disabled: bool) -> Awaitable[None]:
        """May it log in?"""

    def change_password(self, account: JID, password: str) -> Awaitable[None]:
        """Another password."""

    def end_sessions(self, account: JID) -> int:
        """End its sessions, and say how many."""

    def online(self) -> Collection[JID]:
        """The accounts that have sessions."""

    def announce(self, text: str) -> int:
        """Tell everybody who is on line, and say how many."""


class Administering:
    """What both ways have in common."""

    def __init__(self, database: Database, house: House) -> None:
        self._database = database
        self._house = house

    async def _disable(self, call: Call, jids: Sequence[JID]) -> Answer:
        return await self._each(call, "disabled", jids, lambda jid: self._house.set_disabled(jid, True))

    async def _enable(self, call: Call, jids: Sequence[JID]) -> Answer:
        return await self._each(call, "enabled", jids, lambda jid: self._house.set_disabled(jid, False))

    async def _remove(self, call: Call, jids: Sequence[JID]) -> Answer:
        return await self._each(call, "removed", jids, self._house.remove)

    async def _end(self, call: Call, jids: Sequence[JID]) -> Answer:
        await self._accounts(jids)
        ended = sum(self._house.end_sessions(jid) for jid in dict.fromkeys(jids))
        return _said(call, "ended", number=ended)

    async def _announce(self, call: Call, text: str) -> Answer:
        return _said(call, "announced", number=self._house.announce(text))

    async def _each(self, call: Call, done: str, jids: Sequence[JID], do: Callable[[JID], Awaitable[object]]) -> Answer:
        """Do it to each; what is refused for one is not refused for the others."""
        accounts = await self._accounts(jids)
        names, problems = [], []
        for account in accounts:
            try:
                await do(account.jid(self._database.domain))
            except Refusal as refusal:
                if len(accounts) == 1:
                    raise
                problems.append(say(call.person.language, f"{GROUP}.not", name=account.localpart, why=refusal.text))
            else:
                names.append(account.localpart)
        text = [say(call.person.language, f"{GROUP}.{done}", names=", ".join(names))] if names else []
        return Answer(text="\n".join([*text, *problems]))

    async def _accounts(self, jids: Sequence[JID]) -> tuple[Account, ...]:
        return await self._database.read(administering.accounts, jids)

    async def _registered(self, call: Call, after: str = "", *, var: str, disabled: bool | None = None) -> Answer:
        names = await self._database.read(administering.page, after, disabled=disabled)
        answer = self._listed(call, var, [JID(name, self._database.domain) for name in names])
        if len(names) < administering.PAGE:
            return answer

        async def more(call: Call) -> Answer:
            administrator(call)
            return await self._registered(call, names[-1], var=var, disabled=disabled)

        return replace(answer, more=more)

    def _online(self, call: Call, var: str) -> Answer:
        return self._listed(call, var, sorted(self._house.online(), key=str)[:ONLINE_MAX])

    def _listed(self, call: Call, var: str, jids: Sequence[JID]) -> Answer:
        lines = "\n".join(str(jid) for jid in jids)
        return Answer(text=lines or say(call.person.language, f"{GROUP}.nobody"), form=((var, lines),))


class AdministrationForms(Administering):
    """The forms, by the names of their nodes."""

    def commands(self) -> Iterable[Command]:
        """All of them."""
        yield _form("add-user", self.add_user, _ACCOUNT, _PASSWORD, _AGAIN)
        yield _form("delete-user", self.delete_user, _ACCOUNTS, destructive=True)
        yield _form("disable-user", self.disable_user, _ACCOUNTS)
        yield _form("reenable-user", self.reenable_user, _ACCOUNTS)
        yield _form("end-user-session", self.end_user_session, _ACCOUNTS)
        yield _form("change-user-password", self.change_user_password, _ACCOUNT, _PASSWORD)
        yield _form("get-registered-users-num", self.registered_users_num)
        yield _form("get-disabled-users-num", self.disabled_users_num)
        yield _form("get-online-users-num", self.online_users_num)
        yield _form("get-registered-users-list", self.registered_users_list)
        yield _form("get-disabled-users-list", self.disabled_users_list)
        yield _form("get-online-users-list", self.online_users_list)
        yield _form("announce", self.announce, _ANNOUNCEMENT)
        yield _form(CREATE_ACCOUNT, self.create_account)

    async def add_user(self, call: Call) -> Answer:
        """§4.1."""
        jid: JID = call.get("accountjid")
        if jid.domainpart != self._database.domain or not jid.localpart:
            raise NotAcceptable(_text(call, "not_of_here", domain=self._database.domain))
        if call.get("password") != call.get("password-verify"):
            raise NotAcceptable(_text(call, "passwords_differ"))
        account = await self._house.add(jid.localpart, call.get("password"))
        return _said(call, "added", name=account.localpart)

    async def delete_user(self, call: Call) -> Answer:
        """§4.2."""
        return await self._remove(call, call.get("accountjids"))

    async def disable_user(self, call: Call) -> Answer:
        """§4.3."""
        return await self._disable(call, call.get("accountjids"))

    async def reenable_user(self, call: Call) -> Answer:
        """§4.4."""
        return await self._enable(call, call.get("accountjids"))

    async def end_user_session(self, call: Call) -> Answer:
        """§4.5."""
        return await self._end(call, call.get("accountjids"))

    async def change_user_password(self, call: Call) -> Answer:
        """§4.7."""
        (account,) = await self._accounts([call.get("accountjid")])
        await self._house.change_password(account.jid(self._database.domain), call.get("password"))
        return _said(call, "password_changed", name=account.localpart)

    async def registered_users_num(self, call: Call) -> Answer:
        """§4.13."""
        return Answer(form=(("registeredusersnum", str(await self._database.read(administering.count))),))

    async def disabled_users_num(self, call: Call) -> Answer:
        """§4.14."""
        number = await self._database.read(administering.count, disabled=True)
        return Answer(form=(("disabledusersnum", str(number)),))

    async def online_users_num(self, call: Call) -> Answer:
        """§4.15."""
        return Answer(form=(("onlineusersnum", str(len(self._house.online()))),))

    async def registered_users_list(self, call: Call) -> Answer:
        """§4.18."""
        return await self._registered(call, var="registereduserjids")

    async def disabled_users_list(self, call: Call) -> Answer:
        """§4.19."""
        return await self._registered(call, var="disableduserjids", disabled=True)

    async def online_users_list(self, call: Call) -> Answer:
        """§4.20."""
        return self._online(call, "onlineuserjids")

    async def announce(self, call: Call) -> Answer:
        """§4.23."""
        return await self._announce(call, call.get("announcement"))

    async def create_account(self, call: Call) -> Answer:
        """XEP-0401 §4.2: an invitation for one."""

        def create(tx: Transaction) -> tuple[str, str]:
            expires = tx.now + timedelta(days=registering.INVITE_DAYS)
            return registering.create_invite(tx), stamp(expires)

        token, expires = await self._database.write(create)
        uri = f"xmpp:{self._database.domain}?register;preauth={token}"
        return Answer(text=_text(call, "invitation", uri=uri), form=(("uri", uri), ("expire", expires)))


class AdministrationWords(Administering):
    """The words for chat."""

    def commands(self) -> Iterable[Command]:
        """All of them; ``admin`` and anything else says which there are."""
        yield _word("admin", self.help)
        yield _word("admin users", self.users)
        yield _word("admin online", self.online)
        yield _word("admin disable", self.disable, _NAME)
        yield _word("admin enable", self.enable, _NAME)
        yield _word("admin end", self.end, _NAME)
        yield _word("admin remove", self.remove, _NAME, destructive=True)
        yield _word("admin announce", self.announce, Parameter(name="text", kinds=(Kind.TEXT,)))

    async def help(self, call: Call) -> Answer:
        """Which words there are."""
        return _said(call, "words")

    async def users(self, call: Call) -> Answer:
        """Who has an account."""
        return await self._registered(call, var="registereduserjids")

    async def online(self, call: Call) -> Answer:
        """Who is on line."""
        return self._online(call, "onlineuserjids")

    async def disable(self, call: Call) -> Answer:
        """Nobody can log in to it any more."""
        return await self._disable(call, [call.get("name")])

    async def enable(self, call: Call) -> Answer:
        """One can again."""
        name: JID = call.get("name")
        return await self._enable(call, [name])

    async def end(self, call: Call) -> Answer:
        """End somebody's sessions."""
        return await self._end(call, [call.get("name")])

    async def remove(self, call: Call) -> Answer:
        """End an account."""
        return await self._remove(call, [call.get("name")])

    async def announce(self, call: Call) -> Answer:
        """Tell everybody who is on line."""
        return await self._announce(call, call.get("text"))


def administrator(call: Call) -> None:
    """Is it somebody who may, and from their account here? Raises Forbidden."""
    person = call.person
    if person.linked or not person.account.admin or person.account.disabled:
        raise Forbidden(_text(call, "not_for_you"))


def _for_administrators(function: Function) -> Function:
    async def run(call: Call) -> Answer:
        administrator(call)
        return await function(call)

    return run


def _form(name: str, function: Function, *parameters: Parameter, destructive: bool = False) -> Command:
    return Command(
        name=name,
        group=GROUP,
        function=_for_administrators(function),
        parameters=parameters,
        admin=True,
        destructive=destructive,
    )


def _word(name: str, function: Function, *parameters: Parameter, destructive: bool = False) -> Command:
    return replace(_form(name, function, *parameters, destructive=destructive), private=True)


def _text(call: Call, text: str, **values: object) -> str:
    return say(call.person.language, f"{GROUP}.{text}", **values)


def _said(call: Call, text: str, **values: object) -> Answer:
    return Answer(text=_text(call, text, **values))
