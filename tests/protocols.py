"""The pages of docs/protocol/: their examples, and the schemas that these have to be valid by."""

import re
from pathlib import Path

from lxml import etree

from microblog.wire.xml import Element, serialize
from tests.xmltext import read_stanza

FOLDER = Path(__file__).parent.parent / "docs" / "protocol"


def examples(page: str, language: str = "xml") -> list[str]:
    """The examples of a page, in a language."""
    return re.findall(rf"^```{language}\n(.+?)^```$", page, re.MULTILINE | re.DOTALL)


def name(example: str) -> str:
    """By which a test of an example is known."""
    stanza = read_stanza(example)
    return f"{stanza.id}-{stanza.type}"


class Protocol:
    """A page with a schema beside it."""

    def __init__(self, title: str, namespace: str) -> None:
        self._namespace = namespace
        self.page = (FOLDER / f"{title}.md").read_text()
        self.examples = examples(self.page)
        self._schema = etree.parse(FOLDER / f"{title}.xsd")
        self._validator = etree.XMLSchema(self._schema)

    def ours(self, element: Element) -> list[Element]:
        """The outermost elements of the namespace."""
        if element.uri == self._namespace:
            return [element]
        return [found for child in element.elements() for found in self.ours(child)]

    def check(self, text: str) -> None:
        """It is valid."""
        self._validator.assertValid(etree.fromstring(text))

    def check_example(self, example: str) -> None:
        """What is of the namespace is valid."""
        for element in self.ours(read_stanza(example).element):
            self.check(serialize(element))

    def undocumented(self) -> set[str]:
        """Elements of the schema that no example shows."""
        names = {match for example in self.examples for match in re.findall(r"<([a-z]+)[ />]", example)}
        declared = {node.get("name") for node in self._schema.iter("{http://www.w3.org/2001/XMLSchema}element")}
        return {name for name in declared - names if name is not None}
