"""Who speaks: the account behind a stanza, if it is one of our people's.

People with an account here log in by its address. People who linked an address elsewhere to their account (see
``usecases.linking``) come from another server, which has to have proven itself by certificate; dialback is enough
where the administrator lets it be enough for everything. What is unproven is a stranger's.
"""

from typing import Final

from microblog.commands.command import Person
from microblog.commands.people import Stranger
from microblog.model.account import Account
from microblog.model.item import Proof
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.store.transaction import Transaction
from microblog.usecases import linking
from microblog.usecases.settling import LANGUAGE
from microblog.wire import ns
from microblog.wire.stanza import Stanza

# As the parser names the attribute (XML 1.0 §2.12).
_LANG: Final = f"{{{ns.XML}}}lang"
_LANG_MAX: Final = 35  # what RFC 5646 §4.4.1 asks for


class People:
    """Finds who sent a stanza. ``dialback_suffices``: a linked address needs no certificate."""

    def __init__(self, database: Database, domain: str, *, dialback_suffices: bool = False) -> None:
        self._database = database
        self._domain = domain
        self._dialback_suffices = dialback_suffices

    async def person(self, stanza: Stanza) -> Person | None:
        """The person who sent it; None if they have no account here, or it cannot be known to be theirs."""
        sender = stanza.from_
        if not sender.localpart or not self.proven(stanza):
            return None
        found = await self._database.read(_account, sender.bare)
        if found is None:
            return None
        account, language = found
        return Person(
            account=account,
            jid=account.jid(self._domain),
            address=sender,
            linked=sender.domainpart != self._domain,
            language=language or language_of(stanza),
        )

    def stranger(self, stanza: Stanza) -> Stranger | None:
        """Whoever sent it, for what people without an account may do; None if they might be anybody."""
        sender = stanza.from_
        if not sender.localpart or sender.domainpart == self._domain or not self.proven(stanza):
            return None
        return Stranger(jid=sender.bare, address=sender, language=language_of(stanza), proof=stanza.proof)

    def proven(self, stanza: Stanza) -> bool:
        """Is the sender certain enough to act for an account?"""
        return stanza.proof is not Proof.DIALBACK or self._dialback_suffices


def language_of(stanza: Stanza) -> str:
    """The language a stanza is in, as it says (RFC 6120 §8.1.5)."""
    return (stanza.element.get(_LANG) or "")[:_LANG_MAX] or "en"


def _account(tx: Transaction, address: JID) -> tuple[Account, str | None] | None:
    """The account that is, or has, an address, and the language its owner chose."""
    here = address.domainpart == tx.domain
    account = tx.accounts.get(address.localpart) if here else linking.owner(tx, address)
    if account is None or account.disabled:
        return None
    return account, tx.preferences.get(account.key, LANGUAGE)
