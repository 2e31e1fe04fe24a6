"""XEP-0004, XEP-0068: forms that ask a person, and the reading of what they fill in.

A form is made of ``Field`` values, and what is submitted is read against the same values: a field that was not asked
for, comes twice, lacks a value that it needs, or has one that it cannot have, is named in the refusal, and nothing of
the form is used. What a value means beyond its type is for the caller to say.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from microblog.model.errors import JIDMalformed, NotAcceptable
from microblog.model.jid import JID
from microblog.wire import ns
from microblog.wire.xml import Element

FIELDS_MAX: Final = 100
VALUES_MAX: Final = 1000
FORM_TYPE: Final = "FORM_TYPE"

FieldType = Literal[
    "boolean", "fixed", "hidden", "jid-multi", "jid-single", "list-single", "text-multi", "text-private", "text-single"
]
_MULTIPLE: Final = frozenset(("jid-multi", "text-multi"))
_BOOLEAN: Final = {"0": "0", "false": "0", "1": "1", "true": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """XEP-0004 §3.2. ``options``: value and label of each choice."""

    var: str
    type: FieldType = "text-single"
    label: str = ""
    required: bool = False
    values: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()


def write(
    type_: str,
    fields: Iterable[Field] = (),
    *,
    form_type: str | None = None,
    title: str = "",
    instructions: str = "",
) -> Element:
    """A form to be filled in (``form``), or what there is to be told (``result``)."""
    form = Element(ns.DATA, "x", {"type": type_})
    if title:
        form.append(Element(ns.DATA, "title", {}, title))
    if instructions:
        form.append(Element(ns.DATA, "instructions", {}, instructions))
    if form_type is not None:
        form.append(_field(Field(var=FORM_TYPE, type="hidden", values=(form_type,))))
    for field in fields:
        form.append(_field(field))
    return form


def write_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]], *, title: str = "") -> Element:
    """§3.4: results in rows; ``columns``: var to label."""
    form = write("result", title=title)
    form.append(
        Element(ns.DATA, "reported", {}, *(_field(Field(var=var, label=label)) for var, label in columns.items()))
    )
    for row in rows:
        fields = (
            Element(ns.DATA, "field", {"var": var}, Element(ns.DATA, "value", {}, value))
            for var, value in zip(columns, row, strict=True)
        )
        form.append(Element(ns.DATA, "item", {}, *fields))
    return form


def _field(field: Field) -> Element:
    element = Element(ns.DATA, "field", {"type": field.type})
    if field.var:
        element.attributes["var"] = field.var
    if field.label:
        element.attributes["label"] = field.label
    if field.required:
        element.append(Element(ns.DATA, "required"))
    for value in field.values:
        element.append(Element(ns.DATA, "value", {}, value))
    for value, label in field.options:
        attributes = {"label": label} if label else {}
        element.append(Element(ns.DATA, "option", attributes, Element(ns.DATA, "value", {}, value)))
    return element


def read(form: Element, fields: Iterable[Field], form_type: str) -> dict[str, tuple[str, ...]]:
    """What was submitted: the values of each field that has any, in the field's own order.

    Raises NotAcceptable, naming the field.
    """
    asked = {field.var: field for field in fields}
    found = _values(form, asked)
    if found.pop(FORM_TYPE, ()) != (form_type,):
        raise NotAcceptable(f"{FORM_TYPE}: must be {form_type}")
    for var, field in asked.items():
        if field.required and var not in found:
            raise NotAcceptable(f"{var}: needs a value")
    return {var: _checked(field, found[var]) for var, field in asked.items() if var in found}


def _values(form: Element, asked: Mapping[str, Field]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    seen: set[str] = set()
    for number, element in enumerate(form.find_all(ns.DATA, "field")):
        if number >= FIELDS_MAX:
            raise NotAcceptable(f"at most {FIELDS_MAX} fields")
        var = element.get("var")
        if var is None or element.get("type") == "fixed":
            continue
        if var in seen:
            raise NotAcceptable(f"{var[:100]}: comes twice")
        if var != FORM_TYPE and var not in asked:
            raise NotAcceptable(f"{var[:100]}: unknown field")
        seen.add(var)
        values = tuple(value.text for value in element.find_all(ns.DATA, "value"))
        if any(values):
            found[var] = values
    return found


def _checked(field: Field, values: tuple[str, ...]) -> tuple[str, ...]:
    if len(values) > 1 and field.type not in _MULTIPLE:
        raise NotAcceptable(f"{field.var}: one value at most")
    if len(values) > VALUES_MAX:
        raise NotAcceptable(f"{field.var}: too many values")
    if field.type == "boolean":
        if values[0].strip() not in _BOOLEAN:
            raise NotAcceptable(f"{field.var}: 0 or 1")
        return (_BOOLEAN[values[0].strip()],)
    if field.type == "list-single" and values[0] not in dict(field.options):
        raise NotAcceptable(f"{field.var}: not one of the choices")
    if field.type in ("jid-single", "jid-multi"):
        try:
            return tuple(str(JID.parse(value.strip())) for value in values if value.strip())
        except JIDMalformed as error:
            raise NotAcceptable(f"{field.var}: not an address") from error
    return values
