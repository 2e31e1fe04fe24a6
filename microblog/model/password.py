"""RFC 4013 and RFC 8265: what a password is, however it was typed.

SCRAM's text says SASLprep, its successors say OpaqueString, and clients do either or nothing. Only keys are kept, so
a client that prepares differently could not log in. Hence a new password must come out the same from both; nearly all
do. What this costs: letters such as the ligature ﬁ or full-width digits.
"""

import stringprep
from typing import Final
from unicodedata import ucd_3_2_0

from precis_i18n import get_profile

from microblog.model.errors import NotAcceptable

PASSWORD_MAX_BYTES: Final = 1023
_OPAQUE = get_profile("OpaqueString")
_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """RFC 4013, as for a query: characters newer than Unicode 3.2 may pass. Raises UnicodeError."""
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if any(prohibited(character) for character in prepared for prohibited in _PROHIBITED):
        raise UnicodeError("a character that SASLprep prohibits")
    right_to_left = [stringprep.in_table_d1(character) for character in prepared]
    if any(right_to_left):
        ends_right = right_to_left[0] and right_to_left[-1]
        if not ends_right or any(stringprep.in_table_d2(character) for character in prepared):
            raise UnicodeError("mixed directions")
    return prepared


def opaque_string(text: str) -> str:
    """RFC 8265 §4. Raises UnicodeError."""
    prepared: str = _OPAQUE.enforce(text)
    return prepared


def new_password(text: str) -> str:
    """A password that every client will derive the same keys from. Raises NotAcceptable."""
    if not text or len(text.encode(errors="surrogatepass")) > PASSWORD_MAX_BYTES:
        raise NotAcceptable(f"a password has from 1 to {PASSWORD_MAX_BYTES} bytes")
    try:
        prepared = opaque_string(text)
        same = prepared == saslprep(text)
    except UnicodeError:
        same = False
    if not same:
        raise NotAcceptable("the password has characters that some clients would change: choose others")
    return prepared


def readings(text: str) -> tuple[str, ...]:
    """What a password that a client sent as it was typed may stand for: one text, seldom two, maybe none."""
    found: list[str] = []
    for prepare in (opaque_string, saslprep):
        try:
            prepared = prepare(text)
        except UnicodeError:
            continue
        if prepared and prepared not in found:
            found.append(prepared)
    return tuple(found)
