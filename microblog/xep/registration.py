"""XEP-0077: In-Band Registration.

``Enrolment`` is for strangers, on a stream that is encrypted and not yet authenticated (§3.1): it makes an account when
registration is ``open``, or for the bearer of an invitation when it is ``invite``. The legacy fields have no word for
an invitation, so then the request also carries a data form (§4) with a field ``token``. Tries are counted per
address, before any key is derived.

An invitation that was given as an ``xmpp:`` address is shown before (XEP-0445), and then needs no form.

``Registration`` is for people who are logged in: they see that they are registered, change their password (§3.3), which
ends their other streams, and cancel their account (§3.2), which ends their subscriptions and all their streams.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from microblog.im.presence import Presence
from microblog.model import jid as addresses
from microblog.model.account import ScramKeys
from microblog.model.errors import (
    BadRequest,
    Forbidden,
    ItemNotFound,
    JIDMalformed,
    NotAcceptable,
    NotAllowed,
    Refusal,
    ResourceConstraint,
    ServiceUnavailable,
)
from microblog.model.jid import JID
from microblog.runtime import Clock
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.wire import notification, ns
from microblog.wire.errors import StreamError, error_element
from microblog.wire.stanza import Stanza
from microblog.wire.xml import Element
from microblog.xep.rates import Rate
from microblog.xmpp.c2s import Applicant
from microblog.xmpp.dispatch import At, Extension, Route, Spec
from microblog.xmpp.sessions import Sessions

Mode = Literal["closed", "invite", "open"]
DeriveKeys = Callable[[str], Awaitable[Sequence[ScramKeys]]]


class Enrolment:
    """Makes accounts for strangers; one for all client streams."""

    def __init__(self, mode: Mode, database: Database, derive: DeriveKeys, clock: Clock) -> None:
        self._mode = mode
        self._database = database
        self._derive = derive
        limits = database.limits
        self._tries = Rate(clock, limits.rate(limits.login_failures_per_address), limits.login_failure_window_seconds)

    @property
    def stream_features(self) -> tuple[Element, ...]:
        """What to offer before authentication; nothing when registration is closed."""
        features = {"closed": (), "open": (ns.REGISTER_FEATURE,), "invite": (ns.REGISTER_FEATURE, ns.INVITE)}
        return tuple(Element(uri, "register") for uri in features[self._mode])

    async def preauth(self, element: Element, applicant: Applicant) -> Element | None:
        """Answer an element that came before authentication; None if it is not a request to register."""
        shown = element.find(ns.PRE_AUTHENTICATION, "preauth")
        if element.name == "iq" and shown is not None and element.get("type") == "set" and self._mode == "invite":
            return await self._show(element, shown, applicant)
        type_, query = element.get("type"), element.find(ns.REGISTER, "query")
        if element.name != "iq" or query is None or type_ not in ("get", "set") or self._mode == "closed":
            return None
        try:
            if not element.get("id") or sum(1 for _ in element.elements()) != 1:
                raise BadRequest("an iq needs an id and exactly one child element")
            if type_ == "get":
                return self._answer(element, "result", self._fields())
            await self._register(query, applicant)
        except Refusal as refusal:
            return self._answer(element, "error", error_element(refusal))
        return self._answer(element, "result", None)

    async def _show(self, request: Element, shown: Element, applicant: Applicant) -> Element:
        """XEP-0445: an invitation is shown first, and used by the registration that follows on this stream."""
        try:
            if not self._tries.allow(applicant.host):
                raise ResourceConstraint("too many registrations from your address; try again later")
            token = shown.get("token") or ""
            try:
                await self._database.read(registering.check_invite, token)
            except NotAllowed as refusal:
                raise ItemNotFound(refusal.text) from None
        except Refusal as refusal:
            return self._answer(request, "error", error_element(refusal))
        applicant.invitation = token
        return self._answer(request, "result", None)

    async def _register(self, query: Element, applicant: Applicant) -> None:
        fields = _read_fields(query)
        username, password = fields.get("username"), fields.get("password")
        if not username or not password:
            raise NotAcceptable("username and password are needed")
        invitation = fields.get("token") or applicant.invitation
        if self._mode == "invite" and not invitation:
            raise NotAllowed("an invitation is needed here: put its token into the form")
        localpart = _localpart(username)
        if not self._tries.allow(applicant.host):
            raise ResourceConstraint("too many registrations from your address; try again later")
        keys = await self._derive(password)
        await self._database.write(
            registering.register, localpart, keys, invitation if self._mode == "invite" else None
        )

    def _fields(self) -> Element:
        """What is asked for (§3.1.1): legacy fields, and the form when there is more to say."""
        query = Element(ns.REGISTER, "query")
        query.append(Element(ns.REGISTER, "instructions", {}, "Choose a username and a password."))
        query.append(Element(ns.REGISTER, "username")).append(Element(ns.REGISTER, "password"))
        if self._mode == "invite":
            query.append(
                Element(
                    ns.DATA,
                    "x",
                    {"type": "form"},
                    Element(ns.DATA, "title", {}, "Registration"),
                    Element(ns.DATA, "instructions", {}, "Choose a username and a password; you need an invitation."),
                    _field("FORM_TYPE", "hidden", None, ns.REGISTER),
                    _field("username", "text-single", "Username"),
                    _field("password", "text-private", "Password"),
                    _field("token", "text-single", "Invitation"),
                )
            )
        return query

    def _answer(self, request: Element, type_: str, payload: Element | None) -> Element:
        attributes = {"type": type_, "from": self._database.domain}
        id_ = request.get("id")
        if id_:
            attributes["id"] = id_
        return Element(ns.CLIENT, "iq", attributes, payload)


class Registration(Extension):
    """Password and cancellation, for people who are logged in."""

    specs = (Spec(77, "2.4"), Spec(445, "0.2.0"))
    features = (ns.REGISTER,)

    def __init__(
        self, database: Database, derive: DeriveKeys, sessions: Sessions, presence: Presence, clock: Clock
    ) -> None:
        self._database = database
        self._derive = derive
        self._sessions = sessions
        self._presence = presence
        self._clock = clock
        limits = database.limits
        self._tries = Rate(clock, limits.rate(limits.login_failures_per_account), limits.login_failure_window_seconds)

    def routes(self) -> Iterable[Route]:
        """At the node; COMPAT: some clients leave ``to`` out, which makes it their own account."""
        at = At.HOST | At.ACCOUNT
        yield Route.get(ns.REGISTER, "query", self.get, at=at)
        yield Route.set(ns.REGISTER, "query", self.set, at=at)

    async def get(self, request: Stanza) -> Element:
        """That they are registered, and what can be changed (§3.1.1)."""
        account = self._account(request)
        return Element(
            ns.REGISTER,
            "query",
            {},
            Element(ns.REGISTER, "registered"),
            Element(ns.REGISTER, "username", {}, account.localpart),
            Element(ns.REGISTER, "password"),
        )

    async def set(self, request: Stanza) -> None:
        """Cancel the account (§3.2) or change its password (§3.3)."""
        account = self._account(request)
        query = request.payload
        assert query is not None  # the route was found by it
        if query.find(ns.REGISTER, "remove") is not None:
            if sum(1 for _ in query.elements()) != 1:
                raise BadRequest("to cancel is to send remove and nothing else")
            await self.cancel(account)
            return
        fields = _read_fields(query)
        username, password = fields.get("username"), fields.get("password")
        if not username or not password:
            raise BadRequest("username and password are needed")
        if _localpart(username) != account.localpart:
            raise NotAllowed("only your own password")
        if not self._tries.allow(account.localpart):
            raise ResourceConstraint("too many changes of password; try again later")
        await self._database.write(registering.change_password, account.localpart, await self._derive(password))
        # Whoever knew the old password may be among them.
        for session in list(self._sessions.of(account)):
            if session.jid != request.from_:
                session.stream.fail(StreamError("not-authorized", "the password was changed"))

    async def cancel(self, account: JID) -> None:
        """End an account (§3.2), its subscriptions and its streams. Raises NotAllowed for the last administrator."""
        contacts = (await self._presence.rosters.of(account)).contacts
        await self._database.write(registering.remove_account, account.localpart, notification, tell_contacts=False)
        await self._presence.account_removed(account, list(contacts.values()))
        # The result goes out first.
        self._clock.later(0, self._end_streams, account)

    def _end_streams(self, account: JID) -> None:
        for session in list(self._sessions.of(account)):
            session.stream.fail(StreamError("not-authorized", "the account was cancelled"))

    def _account(self, request: Stanza) -> JID:
        """Whose account it is about: the sender's, if it is one of ours and the request is to the node or to itself."""
        account = request.from_.bare
        if account.domainpart != request.to.domainpart:
            raise ServiceUnavailable
        if request.to.localpart and request.to != account:
            raise Forbidden("this is another person's account")
        return account


def _read_fields(query: Element) -> dict[str, str]:
    """The legacy fields, and over them those of a submitted form (§4)."""
    fields = {child.name: child.text for child in query.elements() if child.uri == ns.REGISTER}
    form = query.find(ns.DATA, "x")
    if form is not None and form.get("type") == "submit":
        for field in form.find_all(ns.DATA, "field"):
            name, value = field.get("var"), field.child_text(ns.DATA, "value")
            if name is not None and value is not None:
                fields[name] = value
    return fields


def _field(name: str, type_: str, label: str | None, value: str | None = None) -> Element:
    field = Element(ns.DATA, "field", {"var": name, "type": type_})
    if label is not None:
        field.attributes["label"] = label
    if value is None:
        return field.append(Element(ns.DATA, "required"))
    return field.append(Element(ns.DATA, "value", {}, value))


def _localpart(username: str) -> str:
    try:
        return addresses.localpart(username)
    except JIDMalformed as error:
        raise NotAcceptable("this cannot be a username") from error
