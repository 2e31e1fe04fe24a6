"""Addresses elsewhere that are one of our people's as well."""

from dataclasses import dataclass
from datetime import datetime

from microblog.model.jid import JID


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An address (bare) and an account, by its key. It counts once it is ``confirmed`` from both sides.

    ``asked_there``: the address asked for it and the account has to confirm; else it is the other way round.
    """

    jid: JID
    account: int
    confirmed: bool
    asked_there: bool
    created: datetime
