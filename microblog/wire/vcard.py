"""XEP-0054 (vcard-temp), XEP-0292 (vCard 4), XEP-0172 (nickname), XEP-0084 (avatar): a profile in its forms, and back.

Pictures are in the old form and in XEP-0084's two nodes (XEP-0398 says how they become each other), never in vCard 4,
which tells everybody at each change. What one form has and another cannot say stays with the form it came in.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from microblog.model.errors import NotAcceptable
from microblog.model.node import AVATAR_DATA, AVATAR_METADATA, NICK, VCARD4
from microblog.model.profile import (
    BIO_MAX_CHARACTERS,
    NICKNAME_MAX_CHARACTERS,
    Avatar,
    Profile,
    Property,
    picture,
)
from microblog.wire import ns
from microblog.wire.xml import Element, Raw, parse, to_text

CURRENT: Final = "current"
TEMP: Final = "vcard-temp"
CARD: Final = "vcard4"

_N_TEMP: Final = ("FAMILY", "GIVEN", "MIDDLE", "PREFIX", "SUFFIX")
_N_CARD: Final = ("surname", "given", "additional", "prefix", "suffix")
_KINDS: Final = ("home", "work", "voice", "fax", "pager", "cell", "video")
# Properties that are one text in both forms: the name in each, and the element that vCard 4 has it in.
_PLAIN: Final[Mapping[str, tuple[str, str]]] = {
    "FN": ("fn", "text"),
    "URL": ("url", "uri"),
    "BDAY": ("bday", "date"),
    "TITLE": ("title", "text"),
    "ROLE": ("role", "text"),
}
_CARD_VALUES: Final = dict(_PLAIN.values()) | {"email": "text", "tel": "text", "impp": "uri"}
_TEMP_NAMES: Final = {name: temp for temp, (name, _) in _PLAIN.items()}


# vcard-temp


def read_temp(card: Element) -> Profile:
    """What a vcard-temp says. Raises NotAcceptable for the picture."""
    nickname, bio = "", ""
    properties: list[Property] = []
    others: list[tuple[str, str]] = []
    avatar: Avatar | None = None
    for child in card.elements():
        if child.uri != ns.VCARD_TEMP:
            others.append((TEMP, to_text(child)))
        elif child.name == "NICKNAME":
            nickname = nickname or _line(child.text)
        elif child.name == "DESC":
            bio = bio or _bio(child.text)
        elif child.name == "PHOTO":
            avatar = avatar or _photo(child)
        else:
            found = _temp_property(child)
            if found is None:
                others.append((TEMP, to_text(child)))
            elif any(found.values):
                properties.append(found)
    return Profile(nickname=nickname, bio=bio, properties=tuple(properties), others=tuple(others), avatar=avatar)


def without_photo(card: Element) -> Element:
    """A vcard-temp for those who do not want its picture."""
    children = (child for child in card.elements() if not child.is_(ns.VCARD_TEMP, "PHOTO"))
    return Element(card.uri, card.name, {}, *children)


def set_temp(before: Profile, said: Profile) -> Profile:
    """The profile after a vcard-temp was set that says this: what only vCard 4 can say stays."""
    return replace(said, others=said.others + tuple(other for other in before.others if other[0] != TEMP))


def _temp_property(child: Element) -> Property | None:
    def part(name: str) -> str:
        return _line(child.child_text(ns.VCARD_TEMP, name) or "")

    kinds = tuple(kind for kind in _KINDS if child.find(ns.VCARD_TEMP, kind.upper()) is not None)
    match child.name:
        case "N":
            return Property("n", tuple(map(part, _N_TEMP)))
        case "ORG":
            units = [_line(unit.text) for unit in child.find_all(ns.VCARD_TEMP, "ORGUNIT")]
            return Property("org", (part("ORGNAME"), *filter(None, units)))
        case "EMAIL":
            return Property("email", (part("USERID"),), kinds)
        case "TEL":
            return Property("tel", (part("NUMBER"),), kinds)
        case "JABBERID":
            return Property("impp", (f"xmpp:{_line(child.text)}",)) if child.text.strip() else Property("impp", ())
    return Property(_PLAIN[child.name][0], (_line(child.text),)) if child.name in _PLAIN else None


def _photo(child: Element) -> Avatar | None:
    """Raises NotAcceptable for what is no picture. A picture elsewhere is not fetched."""
    text = child.child_text(ns.VCARD_TEMP, "BINVAL")
    if text is None or not text.strip():
        return None
    avatar = picture(_decoded(text))
    if avatar is None:
        raise NotAcceptable("PHOTO: a picture is to be PNG, JPEG, GIF or WebP")
    return avatar


def write_temp(profile: Profile) -> Element:
    """A profile as vcard-temp; empty if nothing is said."""
    card = _element("vCard")
    for one in profile.properties:
        written = _write_temp_property(one)
        if written is not None:
            card.append(written)
    if profile.nickname:
        card.append(_element("NICKNAME", profile.nickname))
    if profile.bio:
        card.append(_element("DESC", profile.bio))
    for form, text in profile.others:
        if form == TEMP:
            card.append(Raw(text))
    if profile.avatar is not None:
        data = base64.b64encode(profile.avatar.data).decode()
        card.append(_element("PHOTO", _element("TYPE", profile.avatar.type), _element("BINVAL", data)))
    return card


def _write_temp_property(one: Property) -> Element | None:
    kinds = [_element(kind.upper()) for kind in one.kinds if kind in _KINDS]
    match one.name:
        case "n":
            parts = zip(_N_TEMP, one.values, strict=False)
            return _element("N", *(_element(name, value) for name, value in parts if value))
        case "org":
            name, *units = one.values
            return _element("ORG", _element("ORGNAME", name), *(_element("ORGUNIT", unit) for unit in units))
        case "email":
            return _element("EMAIL", *kinds, _element("INTERNET"), _element("USERID", one.values[0]))
        case "tel":
            return _element("TEL", *kinds, _element("NUMBER", one.values[0]))
        case "impp":
            address = one.values[0]
            return _element("JABBERID", address.removeprefix("xmpp:")) if address.startswith("xmpp:") else None
    return _element(_TEMP_NAMES[one.name], one.values[0]) if one.name in _TEMP_NAMES else None


def _element(name: str, *children: Element | str) -> Element:
    return Element(ns.VCARD_TEMP, name, {}, *children)


# vCard 4


def read_card(card: Element) -> Profile:
    """What a vCard 4 says."""
    nickname, bio = "", ""
    properties: list[Property] = []
    others: list[tuple[str, str]] = []
    for child in card.elements():
        if child.uri != ns.VCARD4_XML:
            others.append((CARD, to_text(child)))
        elif child.name == "nickname" and not nickname:
            nickname = _line(_value(child))
        elif child.name == "note" and not bio:
            bio = _bio(_value(child))
        else:
            found = _card_property(child)
            if found is None:
                others.append((CARD, to_text(child)))
            elif any(found.values):
                properties.append(found)
    return Profile(nickname=nickname, bio=bio, properties=tuple(properties), others=tuple(others))


def set_card(before: Profile, said: Profile) -> Profile:
    """The profile after a vCard 4 was set that says this: the picture and what only vcard-temp can say stay."""
    others = said.others + tuple(other for other in before.others if other[0] != CARD)
    return replace(said, others=others, avatar=before.avatar)


def _card_property(child: Element) -> Property | None:
    if child.name == "n":
        return Property("n", tuple(_line(child.child_text(ns.VCARD4_XML, part) or "") for part in _N_CARD))
    if child.name == "org":
        texts = [_line(text.text) for text in child.find_all(ns.VCARD4_XML, "text")]
        return Property("org", tuple(filter(None, texts)))
    if child.name not in _CARD_VALUES:
        return None
    parameters = child.find(ns.VCARD4_XML, "parameters")
    types = None if parameters is None else parameters.find(ns.VCARD4_XML, "type")
    kinds = () if types is None else tuple(text.text for text in types.find_all(ns.VCARD4_XML, "text"))
    value = _line(_value(child))
    if child.name == "tel":
        value = value.removeprefix("tel:")
    return Property(child.name, (value,), tuple(kind for kind in kinds if kind in _KINDS))


def _value(child: Element) -> str:
    """The text of a property's first value, whatever its type."""
    return next((value.text for value in child.elements() if value.name != "parameters"), "")


def write_card(profile: Profile) -> Element:
    """A profile as vCard 4, without its picture."""
    card = _card("vcard")
    for one in profile.properties:
        card.append(_write_card_property(one))
    if profile.nickname:
        card.append(_card("nickname", _card("text", profile.nickname)))
    if profile.bio:
        card.append(_card("note", _card("text", profile.bio)))
    for form, text in profile.others:
        if form == CARD:
            card.append(Raw(text))
    return card


def _write_card_property(one: Property) -> Element:
    if one.name == "n":
        parts = zip(_N_CARD, one.values, strict=False)
        return _card("n", *(_card(name, value) for name, value in parts))
    element = _card(one.name)
    if one.kinds:
        element.append(_card("parameters", _card("type", *(_card("text", kind) for kind in one.kinds))))
    for value in one.values:
        element.append(_card(_CARD_VALUES.get(one.name, "text"), value))
    return element


def _card(name: str, *children: Element | str) -> Element:
    return Element(ns.VCARD4_XML, name, {}, *children)


# Nodes


class Nodes:
    """The nodes of a profile (``usecases.profiling.Codec``)."""

    def write(self, profile: Profile) -> dict[str, tuple[str, str]]:
        """What each node has: the item's id and payload, empty if there is nothing to say; data before metadata."""
        nick = to_text(write_nick(profile.nickname)) if profile.nickname else ""
        card = write_card(profile)
        written = {NICK: (CURRENT, nick), VCARD4: (CURRENT, to_text(card) if card.children else "")}
        avatar = profile.avatar
        if avatar is None:
            return written | {AVATAR_METADATA: (CURRENT, "")}
        return written | {
            AVATAR_DATA: (avatar.hash, to_text(write_data(avatar))),
            AVATAR_METADATA: (avatar.hash, to_text(write_metadata(avatar))),
        }

    def nothing(self, node: str) -> tuple[str, str]:
        """The item of a node that has nothing to say any more."""
        empty = {
            NICK: Element(ns.NICK, "nick"),
            VCARD4: _card("vcard"),
            AVATAR_METADATA: Element(ns.AVATAR_METADATA, "metadata"),
        }
        return CURRENT, to_text(empty[node])

    def read(self, node: str, payload: str, before: Profile, data: Callable[[str], str | None]) -> Profile:
        """The profile after its owner published that. ``data``: the payload of an item of the pictures' node."""
        element = parse(payload) if payload else None
        if element is None:
            return before
        if node == NICK and element.is_(ns.NICK, "nick"):
            return replace(before, nickname=read_nick(element))
        if node == VCARD4 and element.is_(ns.VCARD4_XML, "vcard"):
            return set_card(before, read_card(element))
        if node == AVATAR_METADATA and element.is_(ns.AVATAR_METADATA, "metadata"):
            return _with_avatar(element, before, data)
        return before


def _with_avatar(metadata: Element, before: Profile, data: Callable[[str], str | None]) -> Profile:
    """XEP-0398 §3.1. A picture that is not here, or is not what its name says, changes nothing."""
    infos = list(metadata.find_all(ns.AVATAR_METADATA, "info"))
    if not infos:
        return replace(before, avatar=None)
    for info in infos:
        id_ = info.get("id") or ""
        text = None if info.get("url") is not None or not id_ else data(id_)
        avatar = None if text is None else read_data(parse(text))
        if avatar is not None and avatar.hash == id_.lower():
            return replace(before, avatar=avatar)
    return before


def write_nick(nickname: str) -> Element:
    """XEP-0172 §3."""
    return Element(ns.NICK, "nick", {}, nickname)


def read_nick(element: Element) -> str:
    """The nickname."""
    return _line(element.text)


def write_data(avatar: Avatar) -> Element:
    """XEP-0084 §5.1."""
    return Element(ns.AVATAR_DATA, "data", {}, base64.b64encode(avatar.data).decode())


def read_data(element: Element) -> Avatar | None:
    """The picture; None if it is none."""
    if not element.is_(ns.AVATAR_DATA, "data"):
        return None
    try:
        return picture(_decoded(element.text))
    except NotAcceptable:
        return None


def write_metadata(avatar: Avatar) -> Element:
    """XEP-0084 §5.2."""
    attributes = {"bytes": str(len(avatar.data)), "id": avatar.hash, "type": avatar.type}
    return Element(ns.AVATAR_METADATA, "metadata", {}, Element(ns.AVATAR_METADATA, "info", attributes))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotAcceptable("a picture is to be in base64") from error


def _line(text: str) -> str:
    """One line, not too long."""
    return " ".join(text.split())[: 10 * NICKNAME_MAX_CHARACTERS]


def _bio(text: str) -> str:
    return text.strip()[:BIO_MAX_CHARACTERS]
