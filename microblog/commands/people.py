"""Words about people: ``join``, ``link`` and ``unlink``, ``set``, ``invite``."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from microblog.commands.command import Person
from microblog.model.account import Account
from microblog.model.item import Proof

# Preferences.
LANGUAGE: Final = "lang"

# Stands where a person's account would be, for those who have none.
NOBODY: Final = Account(key=0, localpart="", created=datetime.fromtimestamp(0, UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranger(Person):
    """Somebody without an account, who speaks from an address elsewhere (``jid`` is that, bare)."""

    account: Account = NOBODY
    linked: bool = True
    proof: Proof
