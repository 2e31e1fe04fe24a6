"""XEP-0377: what somebody reports to those who look after a node."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from microblog.model.jid import JID
from microblog.model.uri import ItemAddress

TEXT_MAX_CHARACTERS: Final = 1000


class Reason(StrEnum):
    """Why: as the end of the URI that says so."""

    ABUSE = "abuse"
    SPAM = "spam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``reporter``: somebody here, or the node that passed it on (a JID without localpart).

    ``item``: what is reported of somebody's, if it is one post. ``passed_on``: when their node was told.
    """

    key: int
    reporter: JID
    jid: JID
    item: ItemAddress | None
    reason: Reason
    text: str
    created: datetime
    passed_on: datetime | None = None
    settled: datetime | None = None
