"""docs/protocol/fanout.md: the words of the delivery log that both of its ends go by."""

import base64
import hashlib
from collections.abc import Iterable
from enum import StrEnum

from microblog.model.jid import JID


class Told(StrEnum):
    """Who at the receiving node an entry is for."""

    PUBLIC = "public"
    FOLLOWERS = "followers"
    DIRECT = "direct"
    HOLDERS = "holders"


def set_digest(jids: Iterable[JID]) -> str:
    """What a set of followers is known by."""
    names = sorted({str(jid.bare).encode() for jid in jids})
    return base64.b64encode(hashlib.sha256(b"\0".join(names)).digest()).decode()
