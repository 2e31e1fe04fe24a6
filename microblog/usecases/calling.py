"""Somebody's rules call out to their own programs.

A call is written down in the transaction of the rule that makes it, so it is made exactly once; the program is told of
it until it has acknowledged it (``informing``). Calls wait for a program that is away, not for one that nobody made.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from microblog.store.transaction import Transaction

WAITING_MAX: Final = 1000
PAYLOAD_MAX_CHARACTERS: Final = 65_536
# In a payload: whom what it tells is for. What is for this domain only is not told elsewhere.
AUDIENCE: Final = "audience"


def exists(tx: Transaction, account: int, program: str) -> bool:
    """Has somebody a program of this name?"""
    return tx.programs.find(account, program) is not None


def call(tx: Transaction, account: int, program: str, payload: Mapping[str, Any]) -> bool:
    """Call a program of an account; False if there is none of this name, or the payload is too long.

    ``payload``: what JSON can carry. With what is said in a post comes its audience, under ``AUDIENCE``. Of very many
    that wait the oldest is lost, and the program is told so.
    """
    found = tx.programs.find(account, program)
    written = json.dumps(payload)
    if found is None or len(written) > PAYLOAD_MAX_CHARACTERS:
        return False
    if tx.programs.count_calls(account, program) >= WAITING_MAX:
        tx.programs.drop_oldest_call(found)
    tx.programs.call(account, program, written)
    return True
