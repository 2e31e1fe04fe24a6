"""XEP-0004, XEP-0068: the data forms of publish-subscribe.

Read, a form is ``Options``: the values of each field as text, under the field's name without ``pubsub#``; what they
mean is for the rules to say. Written, a form carries type, label and choices of each field. The subscription
request that an owner approves (XEP-0060 §8.6) is a form of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from microblog.model.errors import BadRequest, NotAcceptable, PreconditionNotMet, Refusal
from microblog.model.jid import JID
from microblog.model.node import OPTIONS, NodeConfig, Option
from microblog.model.subscription import SUBSCRIBE_OPTIONS, SubscribeOptions
from microblog.wire import ns
from microblog.wire._wokkel import Field, Form, is_form, read_form, write_form
from microblog.wire.xml import Element, to_text

_PREFIX: Final = "pubsub#"
# Fields of another name in a form: those of ours, which are of the item and not of the node, or of a track.
_OTHER_PREFIX: Final = {ns.PUBSUB_PUBLISH_OPTIONS: "microblog#", ns.PUBSUB_SUBSCRIBE_OPTIONS: "microblog#"}
# Clients repeat themselves: the same options come with every post. Longer forms are not worth remembering.
_REMEMBERED_MAX_CHARACTERS: Final = 4096
_UNKNOWN: Final[Mapping[str, type[Refusal]]] = {ns.PUBSUB_PUBLISH_OPTIONS: PreconditionNotMet}


def find_form(parent: Element) -> Element | None:
    """The form in an element."""
    return parent.find(ns.DATA, "x")


def read_options(form: Element, form_type: str) -> dict[str, tuple[str, ...]] | None:
    """The options in a submitted form; None if the form was cancelled.

    Raises BadRequest: not a form, not submitted, or of another kind; NotAcceptable (PreconditionNotMet for
    publish-options, §7.1.5): a field that cannot be an option.
    """
    if is_form(form, "cancel"):
        return None
    if not is_form(form, "submit"):
        raise BadRequest("a data form of type submit is needed")
    text = to_text(form)
    remembered = len(text) <= _REMEMBERED_MAX_CHARACTERS
    found, fields = _read_remembered(_Key(text, form)) if remembered else _read_fields(form)
    # COMPAT: XEP-0068 demands FORM_TYPE, some clients leave it out.
    if found not in ("", form_type):
        raise BadRequest(f"FORM_TYPE is to be {form_type}")
    other = _OTHER_PREFIX.get(form_type, _PREFIX)
    for name in fields:
        if not name.startswith((_PREFIX, other)):
            raise _UNKNOWN.get(form_type, NotAcceptable)(f"{name}: unknown field")
    return {name.removeprefix(_PREFIX): values for name, values in fields.items()}


class _Key:
    """A form known by its text."""

    __slots__ = ("form", "text")

    def __init__(self, text: str, form: Element) -> None:
        self.text = text
        self.form = form

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


@lru_cache(maxsize=256)
def _read_remembered(key: _Key) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    return _read_fields(key.form)


def _read_fields(element: Element) -> tuple[str, Mapping[str, tuple[str, ...]]]:
    try:
        form = read_form(element)
    except ValueError as error:
        raise BadRequest("the data form is malformed") from error
    fields = {
        field.var: tuple(field.values)
        for field in form.fieldList
        if field.var is not None and field.fieldType != "fixed"
    }
    # In a submitted form FORM_TYPE need not be typed hidden (XEP-0068 §3.1); then wokkel takes it for a field.
    form_type = form.formNamespace or next(iter(fields.pop("FORM_TYPE", ())), "")
    return form_type, fields


def write_options(
    form_type: str,
    options: Mapping[str, Sequence[str]],
    definitions: Mapping[str, Option],
    *,
    kind: str = "form",
    title: str | None = None,
) -> Element:
    """A form that shows options as they are; ``kind`` is form, submit or result."""
    form = Form(kind, formNamespace=form_type, title=title)
    for name, values in options.items():
        definition = definitions[name]
        form.addField(
            Field(
                definition.kind,
                _PREFIX + name,
                values=list(values),
                options={choice: None for choice in definition.choices},
                label=definition.label,
            )
        )
    return write_form(form)


def write_node_config(config: NodeConfig, *, kind: str = "form") -> Element:
    """A node's configuration (§8.2, §16.4.4)."""
    return write_options(ns.PUBSUB_NODE_CONFIG, config.options(), OPTIONS, kind=kind)


def write_subscribe_options(options: SubscribeOptions) -> Element:
    """A subscription's options (§6.3, §16.4.2)."""
    return write_options(ns.PUBSUB_SUBSCRIBE_OPTIONS, options.options(), SUBSCRIBE_OPTIONS)


def write_fields(form_type: str, fields: Mapping[str, tuple[str, Sequence[str]]]) -> Element:
    """A form of type result: name to field type and values."""
    form = Form("result", formNamespace=form_type)
    for name, (kind, values) in fields.items():
        form.addField(Field(kind, name, values=list(values)))
    return write_form(form)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """An owner's decision on a request to subscribe (§8.6)."""

    node: str
    subscriber: JID
    subid: str | None
    allow: bool


def write_authorization(node: str, subscriber: JID, subid: str) -> Element:
    """The form that asks an owner about a pending subscription."""
    form = Form(
        "form",
        title="Subscription request",
        instructions=[f"{subscriber} wants to subscribe to {node}. Allow it?"],
        formNamespace=ns.PUBSUB_SUBSCRIBE_AUTHORIZATION,
        fields=[
            Field("hidden", "pubsub#subid", subid),
            Field("text-single", "pubsub#node", node, label="Node"),
            Field("jid-single", "pubsub#subscriber_jid", values=[], label="Subscriber"),
            Field("boolean", "pubsub#allow", False, label="Allow this address to subscribe?"),
        ],
    )
    element = write_form(form)
    for field in element.elements():
        if field.get("var") == "pubsub#subscriber_jid":
            # Not through wokkel: its addresses are prepared by another profile than ours.
            field.append(Element(ns.DATA, "value", None, str(subscriber)))
    return element


def is_authorization(form: Element) -> bool:
    """True if the form says that it is an owner's decision."""
    return any(
        field.get("var") == "FORM_TYPE" and field.child_text(ns.DATA, "value") == ns.PUBSUB_SUBSCRIBE_AUTHORIZATION
        for field in form.find_all(ns.DATA, "field")
    )


def read_authorization(form: Element) -> Authorization | None:
    """The owner's answer; None if the form was cancelled. Raises BadRequest, NotAcceptable, JIDMalformed."""
    fields = read_options(form, ns.PUBSUB_SUBSCRIBE_AUTHORIZATION)
    if fields is None:
        return None
    single = {name: values[0] for name, values in fields.items() if values}
    allow = single.get("allow", "").strip()
    if not single.get("node") or not single.get("subscriber_jid") or allow not in ("0", "1", "false", "true"):
        raise BadRequest("node, subscriber_jid and allow are needed")
    return Authorization(
        node=single["node"],
        subscriber=JID.parse(single["subscriber_jid"]),
        subid=single.get("subid") or None,
        allow=allow in ("1", "true"),
    )
