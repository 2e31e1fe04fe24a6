"""docs/doap.xml says what the extensions say."""

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def doap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("doap", ROOT / "docs" / "doap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_up_to_date(doap: ModuleType) -> None:
    """If not: ``python docs/doap.py``."""
    assert doap.FILE.read_text(encoding="utf-8") == doap.document()


def test_the_file_is_what_its_readers_expect(doap: ModuleType) -> None:
    project = ElementTree.fromstring(doap.document()).find(f"{{{doap.DOAP}}}Project")
    assert project is not None
    xeps = [
        found.attrib[f"{{{doap.RDF}}}resource"]
        for found in project.iterfind(f"{{{doap.DOAP}}}implements/*/{{{doap.XMPP}}}xep")
    ]
    assert "https://xmpp.org/extensions/xep-0060.html" in xeps
    assert xeps == sorted(xeps)
