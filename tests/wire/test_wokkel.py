"""The fence around wokkel."""

import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from microblog.wire import _wokkel
from microblog.wire._wokkel import from_domish, to_domish
from microblog.wire.xml import Element
from tests.xmltext import read

PACKAGE = Path(_wokkel.__file__).parents[1]


def test_wokkel_still_needs_the_missing_name() -> None:
    """When this fails, take the name that is put back (and this test) out of the fence."""
    asked = "import twisted.python.compat as c; raise SystemExit(hasattr(c, '_PY3'))"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
    asked = "import wokkel.data_form"
    assert subprocess.run([sys.executable, "-c", asked], check=False, capture_output=True).returncode == 1


def test_importing_and_using_it_warns_of_nothing() -> None:
    used = (
        "from microblog.wire import _wokkel as w;"
        "from microblog.wire.xml import Element;"
        "w.write_form(w.Form('form', fields=[w.Field('list-single', 'a', options={'b': None})]))"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", used], check=True)


def test_nobody_else_imports_wokkel() -> None:
    importing = re.compile(r"^\s*(?:from|import) wokkel", re.MULTILINE)
    guilty = [path.name for path in PACKAGE.rglob("*.py") if importing.search(path.read_text())]
    assert guilty == ["_wokkel.py"]


def test_nothing_is_lost_at_the_fence() -> None:
    element = read(
        """<x xmlns='jabber:x:data' type='form' xml:lang='en'>
        <title>A &amp; B</title><field var='a' p:q='1' xmlns:p='urn:p'><value/></field> tail</x>"""
    )
    assert from_domish(to_domish(element)) == element


NAMES = st.from_regex(r"[a-z]{1,5}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn")), min_size=1)
ELEMENTS = st.recursive(
    st.builds(lambda name, attributes: Element("urn:x", name, attributes), NAMES, st.dictionaries(NAMES, TEXTS)),
    lambda inner: st.builds(
        lambda name, children: Element("urn:y", name, None, *children), NAMES, st.lists(inner | TEXTS, max_size=4)
    ),
)


@given(ELEMENTS)
def test_there_and_back_again(element: Element) -> None:
    assert from_domish(to_domish(element)) == element
