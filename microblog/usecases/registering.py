"""Accounts: how they begin, change and end; XEP-0077's rules without its stanzas.

Where a use case takes a ``secret`` it takes a new password or, so that nobody else's write has to wait for the many
hashes of its derivation, the keys that ``model.account.derive_keys`` made of it elsewhere.

A name must read the same to old and new software (PRECIS and stringprep agree), be of one script, not be one that
people take for the administrator's, and never have been somebody else's.

``outside``: it is not the server that does this, but an administrator's command beside it (see ``noticing``).
"""

import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, Protocol

from microblog.model import jid as addresses
from microblog.model.account import HASHES, ITERATIONS, SALT_BYTES, Account, Invite, ScramKeys, derive_keys
from microblog.model.contact import Contact
from microblog.model.errors import Conflict, ItemNotFound, NotAcceptable, NotAllowed
from microblog.model.item import Audience, Item
from microblog.model.jid import JID
from microblog.store.settings import LOGIN_SECRET
from microblog.store.transaction import Transaction
from microblog.usecases import moving, noticing, owning, rostering

INVITE_DAYS: Final = 7
OPEN_INVITES_MAX: Final = 10_000
RESERVED: Final = frozenset(
    {
        "abuse",
        "admin",
        "administrator",
        "anonymous",
        "api",
        "daemon",
        "ftp",
        "help",
        "hostmaster",
        "info",
        "mail",
        "microblog",
        "news",
        "noc",
        "nobody",
        "notify",
        "post",
        "postmaster",
        "pubsub",
        "register",
        "root",
        "security",
        "server",
        "service",
        "smtp",
        "support",
        "system",
        "uucp",
        "webmaster",
        "www",
        "xmpp",
    }
)
# Scripts that one language mixes.
_TOGETHER: Final = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"CJK", "HANGUL"}),
    frozenset({"CJK", "BOPOMOFO"}),
)

Secret = str | Sequence[ScramKeys]


# Beginning


def create_account(
    tx: Transaction,
    name: str,
    secret: Secret,
    *,
    admin: bool = False,
    audience: Audience | None = None,
    reserved: bool = False,
) -> Account:
    """A new account with its microblog node; ``audience`` is by default the node's, ``reserved`` allows such names.

    Raises: JIDMalformed, NotAcceptable (also for the password), Conflict.
    """
    localpart = check_name(tx, name, reserved=reserved or admin)
    audience = tx.audience if audience is None else audience
    account = tx.accounts.add(localpart, _keys(secret), admin=admin, audience=audience)
    owning.create_microblog_node(tx, account.jid(tx.domain), audience)
    return account


def register(tx: Transaction, name: str, secret: Secret, token: str | None = None) -> Account:
    """Somebody makes their own account, with an invitation if they bring one; it is burnt with the account's making.

    Whether one is needed is for the caller to say. Raises what ``create_account`` does; NotAllowed for the invitation.
    """
    if token is None:
        return create_account(tx, name, secret)
    invite = check_invite(tx, token)
    account = create_account(tx, name, secret, admin=invite.admin)
    tx.accounts.use_invite(_hash(token), account.localpart)
    return account


def check_name(tx: Transaction, name: str, *, reserved: bool = False) -> str:
    """The localpart that a new account of this name has. Raises as ``create_account``."""
    localpart = addresses.localpart(name)
    if not addresses.is_stable_localpart(name):
        raise NotAcceptable("the name has characters that some software would change: choose another")
    if not _is_of_one_script(localpart):
        raise NotAcceptable("the name mixes scripts that look alike: choose another")
    if localpart in RESERVED and not reserved:
        raise NotAcceptable("this name is reserved: choose another")
    # Of a name that was somebody's nothing more is said than of one that is.
    if tx.accounts.exists(localpart) or tx.accounts.was_removed(localpart):
        raise Conflict("this name is taken: choose another")
    return localpart


def _is_of_one_script(text: str) -> bool:
    scripts = {
        unicodedata.name(character, "?").replace("-", " ").split()[0]
        for character in text
        if unicodedata.category(character).startswith("L")
    }
    return len(scripts) <= 1 or any(scripts <= together for together in _TOGETHER)


# Invitations


def create_invite(tx: Transaction, *, admin: bool = False, days: int = INVITE_DAYS) -> str:
    """An invitation for one; what is returned is the only copy of its token.

    Raises: NotAcceptable: it would expire at once or never. NotAllowed: there are too many unused ones.
    """
    if not 1 <= days <= 3650:
        raise NotAcceptable("an invitation is good for 1 to 3650 days")
    if tx.accounts.count_open_invites() >= OPEN_INVITES_MAX:
        raise NotAllowed("there are too many unused invitations")
    token = secrets.token_urlsafe(20)
    tx.accounts.forget_invites(tx.now - timedelta(days=30))
    tx.accounts.add_invite(_hash(token), admin=admin, expires=tx.now + timedelta(days=days))
    return token


def check_invite(tx: Transaction, token: str) -> Invite:
    """The invitation, if it can be used. Raises NotAllowed, and does not say why."""
    invite = tx.accounts.invite(_hash(token))
    if invite is None or invite.used_by is not None or invite.expires <= tx.now:
        raise NotAllowed("this invitation is not valid, or not any more: ask for another")
    return invite


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


# Changing


def list_accounts(tx: Transaction) -> tuple[Account, ...]:
    """All, by name."""
    return tx.accounts.all()


def get_account(tx: Transaction, name: str) -> Account:
    """One. Raises JIDMalformed, ItemNotFound."""
    account = tx.accounts.get(addresses.localpart(name))
    if account is None:
        raise ItemNotFound("no such account")
    return account


def change_password(tx: Transaction, name: str, secret: Secret, *, outside: bool = False) -> Account:
    """None of the old password's keys remains; whoever is logged in by them is to be asked to do so again.

    Raises: JIDMalformed, ItemNotFound, NotAcceptable for the password.
    """
    account = get_account(tx, name)
    tx.accounts.set_keys(account, _keys(secret))
    if outside:
        noticing.keys_changed(tx, account.localpart)
    return account


def disable(tx: Transaction, name: str, *, disabled: bool = True, outside: bool = False) -> Account:
    """Nobody can log in to it, and nothing of it is lost; whoever is logged in is to be logged out.

    Raises: JIDMalformed, ItemNotFound, NotAllowed.
    """
    account = get_account(tx, name)
    if disabled:
        _check_admin_left(tx, account)
    tx.accounts.set_disabled(account, disabled)
    if outside:
        noticing.keys_changed(tx, account.localpart)
        if not disabled:
            noticing.webhooks_changed(tx)
    return replace(account, disabled=disabled)


class Notices(Protocol):
    """How those at other servers are told; ``wire.notification`` is one."""

    def deletion(self, service: JID, node: str) -> Callable[[JID], str]:
        """The stanza that tells a subscriber that a node is gone."""

    def withdraw(self, service: JID, node: str, item: Item) -> str:
        """The stanza that takes an answer out of a thread elsewhere."""

    def presence_change(self, type_: str, from_: JID, to: JID) -> str:
        """A presence stanza of that type."""


def remove_account(
    tx: Transaction, name: str, notices: Notices, *, tell_contacts: bool = True, outside: bool = False
) -> Account:
    """End an account with all it has; its name is not given out again.

    Those who subscribed to its nodes are told, and its answers are taken out of others' threads. ``tell_contacts``: so
    are those told who see its presence or are seen by it
    (a server that has them on line can do that better, and does it itself).

    Raises: JIDMalformed, ItemNotFound, NotAllowed for the last administrator while others have accounts.
    """
    account = get_account(tx, name)
    _check_admin_left(tx, account)
    address = account.jid(tx.domain)
    moving.ending(tx, address)
    for node in tx.nodes.of(address, dependent=True):
        if tx.nodes.get(node.key) is None:
            continue  # it went with what it depended on
        notice = notices.deletion(address, node.name)
        wanted = owning.Delete(service=address, node=node.name, actor=address, notice=notice, withdraw=notices.withdraw)
        owning.delete(tx, wanted)
    if tell_contacts:
        for contact in tx.contacts.all(address):
            _part(tx, address, contact, notices, outside)
    tx.accounts.remove(account)
    if outside:
        noticing.nodes_deleted(tx)
        noticing.keys_changed(tx, account.localpart)
    return account


def _part(tx: Transaction, address: JID, contact: Contact, notices: Notices, outside: bool) -> None:
    """Tell a contact that neither sees the other any more (RFC 6121 §2.5.2)."""
    types = []
    if contact.sees_us or contact.pending_in:
        types.append("unsubscribed")
    if contact.is_seen or contact.ask:
        types.append("unsubscribe")
    for type_ in types:
        if contact.jid.domainpart == tx.domain:
            change = rostering.receive_subscription(tx, contact.jid, address, type_)
            if outside:
                noticing.contact_moved(tx, change, type_)
        else:
            tx.outbox.add_stanza(contact.jid.domainpart, notices.presence_change(type_, address, contact.jid))
            if outside:
                noticing.owed(tx, contact.jid.domainpart)


def _check_admin_left(tx: Transaction, account: Account) -> None:
    if account.admin and not account.disabled and tx.accounts.count_admins() == 1 and tx.accounts.count() > 1:
        raise NotAllowed("this is the last administrator: make another one first")


def _keys(secret: Secret) -> Sequence[ScramKeys]:
    return derive_keys(secret) if isinstance(secret, str) else secret


# Logging in


def keys_for_login(tx: Transaction, name: str, hash_name: str) -> ScramKeys:
    """What to check a password against: an account's keys, or keys that no password fits.

    Nobody can tell which from salt and iterations: those of a name without account stay the same, and those of a
    disabled account stay what they were.
    """
    try:
        localpart = addresses.localpart(name)
    except ValueError:
        localpart = name
    account = tx.accounts.get(localpart)
    keys = None if account is None else tx.accounts.keys(localpart, hash_name)
    if account is None or keys is None:
        return _no_keys(tx, localpart, hash_name, None)
    return _no_keys(tx, localpart, hash_name, keys) if account.disabled else keys


def _no_keys(tx: Transaction, localpart: str, hash_name: str, known: ScramKeys | None) -> ScramKeys:
    secret = tx.settings.secret(LOGIN_SECRET)

    def derived(what: str, size: int) -> bytes:
        text = f"{what}\0{hash_name}\0{localpart}".encode(errors="surrogatepass")
        return hmac.digest(secret, text, "sha256")[:size]

    size = hashlib.new(HASHES[hash_name]).digest_size
    return ScramKeys(
        hash_name=hash_name,
        salt=derived("salt", SALT_BYTES) if known is None else known.salt,
        iterations=ITERATIONS if known is None else known.iterations,
        stored_key=derived("stored", size),
        server_key=derived("server", size),
    )
