"""The fence: the only module that imports wokkel.

wokkel 18.0.0 imports a name that Twisted has not had since 21.2, so that name is put back first; a test fails on the
day this is no longer needed. What we use of it: data forms (XEP-0004, XEP-0068) and the values of service discovery
(XEP-0030). It speaks ``domish``, the house speaks ``microblog.wire.xml``: ``to_domish`` and ``from_domish`` translate,
and nothing of wokkel or domish passes this door towards a use case.
"""

# mypy: allow-untyped-calls

import warnings
from operator import methodcaller
from typing import Any

from twisted.python import compat
from twisted.words.xish import domish

from microblog.wire import ns
from microblog.wire.xml import Element

SHIM_NEEDED = not hasattr(compat, "_PY3")
if SHIM_NEEDED:
    vars(compat)["_PY3"] = True

with warnings.catch_warnings():
    # What else wokkel takes from compat still exists, deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    from wokkel import data_form, disco

for _module in (data_form, disco):
    # The deprecated function would warn anew at each call.
    _module.iteritems = methodcaller("items")

# wokkel has no types; they are found again in what ``forms`` and ``disco`` hand on.
Field: Any = data_form.Field
Form: Any = data_form.Form
DiscoFeature: Any = disco.DiscoFeature
DiscoIdentity: Any = disco.DiscoIdentity
DiscoInfo: Any = disco.DiscoInfo


def to_domish(element: Element) -> domish.Element:
    """The same element for wokkel. ``Raw`` children have no place in it."""
    twin = domish.Element((element.uri, element.name))
    for key, value in element.attributes.items():
        if key[0] == "{":
            uri, _, local = key[1:].partition("}")
            twin.attributes[uri, local] = value
        else:
            twin.attributes[key] = value
    for child in element.children:
        twin.addChild(child if isinstance(child, str) else to_domish(child))
    return twin


def from_domish(twin: domish.Element) -> Element:
    """The same element for the house."""
    element = Element(twin.uri or "", twin.name)
    for key, value in twin.attributes.items():
        if isinstance(key, tuple):
            element.attributes[f"{{{key[0]}}}{key[1]}"] = value
        elif not key.startswith("xmlns"):
            element.attributes[key] = value
    for child in twin.children:
        element.append(str(child) if isinstance(child, str) else from_domish(child))
    return element


def read_form(element: Element) -> Any:
    """Read a ``jabber:x:data`` form. Raises ValueError, whatever wokkel says."""
    try:
        return data_form.Form.fromElement(to_domish(element))
    except (data_form.Error, ValueError, TypeError) as error:
        raise ValueError("not a data form") from error


def write_form(form: Any) -> Element:
    """Write a form."""
    return from_domish(form.toElement())


def is_form(element: Element, form_type: str) -> bool:
    """True if the element is a data form of that type attribute."""
    return element.is_(ns.DATA, "x") and element.get("type") == form_type
