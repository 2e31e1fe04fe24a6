"""XEP-0030, XEP-0128, XEP-0115 §5: what an entity says it is.

``verification`` is the hash that stands for an answer in presence. What another entity claims is only believed after
its answer was hashed here and gave the same: a wrong or ill-formed one must not stand for anybody else's.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire._wokkel import (
    DiscoFeature,
    DiscoIdentity,
    DiscoInfo,
    from_domish,
    read_form,
)
from microblog.wire.xml import Element

# XEP-0115 §8: sha-1 is what everybody uses; the others are accepted.
HASHES: Final = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
_LANG: Final = "{" + ns.XML + "}lang"


class IllFormed(ValueError):
    """An answer that XEP-0115 §5.4 tells to disbelieve."""


class Identity(NamedTuple):
    """XEP-0030 §3.1: what kind of thing an entity is."""

    category: str
    type: str
    name: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """An answer to disco#info; ``forms`` are its extensions (XEP-0128)."""

    identities: tuple[Identity, ...] = ()
    features: tuple[str, ...] = ()
    forms: tuple[Element, ...] = ()


class Item(NamedTuple):
    """An answer to disco#items has many of these."""

    jid: JID
    node: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Caps:
    """The ``<c/>`` of a presence (XEP-0115 §4)."""

    node: str
    hash: str
    ver: str

    @property
    def disco_node(self) -> str:
        """The node to ask about."""
        return f"{self.node}#{self.ver}"


def write_info(info: Info, node: str | None = None) -> Element:
    """The answer to disco#info."""
    answer = DiscoInfo()
    answer.nodeIdentifier = node or ""
    for identity in info.identities:
        answer.append(DiscoIdentity(identity.category, identity.type, identity.name))
    for feature in info.features:
        answer.append(DiscoFeature(feature))
    query = from_domish(answer.toElement())
    for written, identity in zip(query.find_all(ns.DISCO_INFO, "identity"), info.identities, strict=True):
        if identity.language:
            written.attributes[_LANG] = identity.language
    query.children.extend(info.forms)
    return query


def read_info(query: Element) -> Info:
    """Read an answer to disco#info; what has no name is passed over."""
    return Info(
        identities=tuple(
            Identity(
                child.get("category") or "", child.get("type") or "", child.get("name") or "", child.get(_LANG) or ""
            )
            for child in query.find_all(ns.DISCO_INFO, "identity")
        ),
        features=tuple(child.get("var") or "" for child in query.find_all(ns.DISCO_INFO, "feature")),
        forms=tuple(query.find_all(ns.DATA, "x")),
    )


def write_items(items: Iterable[Item], node: str | None = None) -> Element:
    """The answer to disco#items."""
    query = Element(ns.DISCO_ITEMS, "query", {"node": node} if node else {})
    for item in items:
        attributes = {"jid": str(item.jid)}
        if item.node:
            attributes["node"] = item.node
        if item.name:
            attributes["name"] = item.name
        query.append(Element(ns.DISCO_ITEMS, "item", attributes))
    return query


def read_caps(presence: Element) -> Caps | None:
    """The capabilities of a presence; None if it has none, or only those of the old kind without a hash."""
    child = presence.find(ns.CAPS, "c")
    if child is None:
        return None
    node, hash_, ver = child.get("node"), child.get("hash"), child.get("ver")
    return Caps(node, hash_, ver) if node and hash_ and ver else None


def write_caps(caps: Caps) -> Element:
    """The ``<c/>`` for a presence or stream features."""
    return Element(ns.CAPS, "c", {"hash": caps.hash, "node": caps.node, "ver": caps.ver})


def verification(info: Info, hash_: str = "sha-1") -> str:
    """The verification string (§5.1). Raises IllFormed (§5.4), KeyError for a hash that is not in ``HASHES``."""
    _refuse_repeated("identity", info.identities)
    _refuse_repeated("feature", info.features)
    parts = [
        f"{identity.category}/{identity.type}/{identity.language}/{identity.name}"
        for identity in sorted(info.identities, key=lambda one: (one.category, one.type, one.language))
    ]
    parts.extend(sorted(info.features))
    forms = [form for form in map(_form_parts, info.forms) if form]
    _refuse_repeated("form", [form[0] for form in forms])
    for form in sorted(forms):
        parts.extend(form)
    text = "".join(f"{_escaped(part)}<" for part in parts)
    return base64.b64encode(hashlib.new(HASHES[hash_], text.encode()).digest()).decode()


def _escaped(part: str) -> str:
    # §5.1 joins by "<" and nothing may look like two parts.
    return part.replace("<", "&lt;")


def _form_parts(element: Element) -> list[str]:
    """FORM_TYPE, then each field and its values; empty if the form has no hidden FORM_TYPE (§5.4, 3.6)."""
    types = [field for field in element.find_all(ns.DATA, "field") if field.get("var") == "FORM_TYPE"]
    if len({value.text for field in types for value in field.find_all(ns.DATA, "value")}) > 1:
        raise IllFormed("a form with two FORM_TYPEs")
    try:
        form = read_form(element)
    except ValueError as error:
        raise IllFormed("an extension that is not a form") from error
    if not form.formNamespace:
        return []
    parts = [form.formNamespace]
    for var in sorted([var for var in form.fields if var is not None]):
        parts.append(var)
        parts.extend(sorted(form.fields[var].values))
    return parts


def _refuse_repeated(what: str, things: Iterable[Hashable]) -> None:
    if any(number > 1 for number in Counter(things).values()):
        raise IllFormed(f"the same {what} twice")
