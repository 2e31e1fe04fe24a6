"""Writes docs/doap.xml: what this server speaks, for the XSF's list of software (XEP-0453).

The extensions say it themselves (``Extension.specs``); what the streams speak is listed here. A test compares.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import microblog.im
import microblog.xep
from microblog.wire.xml import Element, serialize
from microblog.xmpp.dispatch import Extension, Spec

FILE = Path(__file__).with_name("doap.xml")
DOAP = "http://usefulinc.com/ns/doap#"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMPP = "https://linkmauve.fr/ns/xmpp-doap#"
RFCS = (5802, 6120, 6121, 7590, 7622, 7677)
STREAMS = (
    Spec(82, "1.1.1"),
    Spec(178, "1.2"),
    Spec(185, "1.0"),
    Spec(198, "1.6.3", "partial"),
    Spec(220, "1.1.1"),
    Spec(288, "1.0.1"),
    Spec(368, "1.1.0"),
    Spec(440, "1.0.0"),
    Spec(478, "0.2.0"),
)


def extensions() -> Iterable[type[Extension]]:
    """Every extension there is, found in the packages that have them."""
    for package in (microblog.im, microblog.xep):
        for name in _modules(package):
            importlib.import_module(name)
    return Extension.__subclasses__()


def _modules(package: ModuleType) -> Iterable[str]:
    return (f"{package.__name__}.{found.name}" for found in pkgutil.iter_modules(package.__path__))


def specs() -> list[Spec]:
    """All of them by number. Raises ValueError if one is listed twice."""
    ours = [kind for kind in extensions() if kind.__module__.startswith("microblog.")]
    found = sorted((*STREAMS, *(spec for kind in ours for spec in kind.specs)), key=lambda spec: spec.xep)
    if len({spec.xep for spec in found}) != len(found):
        raise ValueError("a specification is listed twice")
    return found


def document() -> str:
    """The file."""
    lines = [
        "<?xml version='1.0' encoding='UTF-8'?>",
        "<!-- Made by docs/doap.py; edit that, or the extension. -->",
        f"<rdf:RDF xmlns:rdf='{RDF}' xmlns='{DOAP}' xmlns:xmpp='{XMPP}'>",
        "  <Project>",
        *(f"    {_line(name, text)}" for name, text in _ABOUT),
        *(f"    <implements rdf:resource='https://www.rfc-editor.org/info/rfc{number}'/>" for number in RFCS),
        *(line for spec in specs() for line in _implements(spec)),
        "  </Project>",
        "</rdf:RDF>",
    ]
    return "\n".join(lines) + "\n"


_ABOUT = (
    ("name", "Microblog"),
    ("shortdesc", "A federated microblogging server that speaks XMPP"),
    ("programming-language", "Python"),
    ("os", "POSIX"),
)


def _line(name: str, text: str) -> str:
    return serialize(Element(DOAP, name, None, text), DOAP)


def _implements(spec: Spec) -> Iterable[str]:
    yield "    <implements><xmpp:SupportedXep>"
    yield f"      <xmpp:xep rdf:resource='https://xmpp.org/extensions/xep-{spec.xep:04}.html'/>"
    yield f"      <xmpp:version>{spec.version}</xmpp:version>"
    yield f"      <xmpp:status>{spec.status}</xmpp:status>"
    yield "    </xmpp:SupportedXep></implements>"


if __name__ == "__main__":
    sys.exit(FILE.write_text(document(), encoding="utf-8") == 0)
