"""XEP-0030, XEP-0115 §5."""

import pytest

from microblog.model.jid import JID
from microblog.wire import disco, ns
from microblog.wire.disco import Caps, Identity, IllFormed, Info, Item
from microblog.wire.xml import Element
from tests.xmltext import read

EXODUS = """<query xmlns='http://jabber.org/protocol/disco#info'
    node='http://code.google.com/p/exodus#QgayPKawpkPSDYmwT/WM94uAlu0='>
  <identity category='client' name='Exodus 0.9.1' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='http://jabber.org/protocol/muc'/>
</query>"""

PSI = """<query xmlns='http://jabber.org/protocol/disco#info'
    node='http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w='>
  <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>
  <identity xml:lang='el' category='client' name='\u03a8 0.11' type='pc'/>
  <feature var='http://jabber.org/protocol/caps'/>
  <feature var='http://jabber.org/protocol/disco#info'/>
  <feature var='http://jabber.org/protocol/disco#items'/>
  <feature var='http://jabber.org/protocol/muc'/>
  <x xmlns='jabber:x:data' type='result'>
    <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>
    <field var='ip_version' type='text-multi'><value>ipv4</value><value>ipv6</value></field>
    <field var='os'><value>Mac</value></field>
    <field var='os_version'><value>10.5.1</value></field>
    <field var='software'><value>Psi</value></field>
    <field var='software_version'><value>0.11</value></field>
  </x>
</query>"""


@pytest.mark.parametrize(
    ("query", "ver"),
    [(EXODUS, "QgayPKawpkPSDYmwT/WM94uAlu0="), (PSI, "q07IKJEyjvHSyhy//CH0CxmKi8w=")],
    ids=["simple", "complex"],
)
def test_the_examples_of_the_specification(query: str, ver: str) -> None:
    """§5.2 and §5.3."""
    assert disco.verification(disco.read_info(read(query))) == ver


def test_the_order_of_an_answer_does_not_matter() -> None:
    query = read(PSI)
    query.children.reverse()
    assert disco.verification(disco.read_info(query)) == "q07IKJEyjvHSyhy//CH0CxmKi8w="


def test_other_hashes() -> None:
    info = disco.read_info(read(EXODUS))
    assert len(disco.verification(info, "sha-256")) == 44
    with pytest.raises(KeyError):
        disco.verification(info, "md2")


SOFTWARE = "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>"


@pytest.mark.parametrize(
    "content",
    [
        "<feature var='a'/><feature var='a'/>",
        "<identity category='client' type='pc'/><identity category='client' type='pc'/>",
        f"<x xmlns='jabber:x:data' type='result'>{SOFTWARE}</x>" * 2,
        """<x xmlns='jabber:x:data' type='result'>
        <field var='FORM_TYPE' type='hidden'><value>urn:a</value><value>urn:b</value></field></x>""",
    ],
    ids=["feature twice", "identity twice", "form twice", "two form types"],
)
def test_an_ill_formed_answer_stands_for_nothing(content: str) -> None:
    """§5.4."""
    with pytest.raises(IllFormed):
        disco.verification(disco.read_info(read(f"<query xmlns='{ns.DISCO_INFO}'>{content}</query>")))


def test_a_form_without_hidden_form_type_is_ignored() -> None:
    """§5.4, 3.6."""
    query = read(EXODUS)
    query.append(read("<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE'><value>urn:a</value></field></x>"))
    assert disco.verification(disco.read_info(query)) == "QgayPKawpkPSDYmwT/WM94uAlu0="


def test_a_part_cannot_look_like_two() -> None:
    one = Info(features=("a<b",))
    two = Info(features=("a", "b"))
    assert disco.verification(one) != disco.verification(two)


def test_information_there_and_back_again() -> None:
    form = read(f"<x xmlns='jabber:x:data' type='result'>{SOFTWARE}</x>")
    info = Info(
        identities=(Identity("pubsub", "pep"), Identity("account", "registered", "Romeo", "en")),
        features=(ns.DISCO_INFO, ns.PUBSUB),
        forms=(form,),
    )
    written = disco.write_info(info, "a node")
    assert written.get("node") == "a node"
    assert disco.read_info(written) == info


def test_items() -> None:
    written = disco.write_items([Item(JID.parse("romeo@montague.example"), "urn:xmpp:microblog:0", "Romeo")])
    assert written == read(
        """<query xmlns='http://jabber.org/protocol/disco#items'>
        <item jid='romeo@montague.example' node='urn:xmpp:microblog:0' name='Romeo'/></query>"""
    )


def test_capabilities_of_a_presence() -> None:
    caps = Caps("http://psi-im.org", "sha-1", "q07IKJEyjvHSyhy//CH0CxmKi8w=")
    presence = Element(ns.CLIENT, "presence", None, disco.write_caps(caps))
    assert disco.read_caps(presence) == caps
    assert caps.disco_node == "http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w="
    old = read("<presence><c xmlns='http://jabber.org/protocol/caps' node='http://a' ver='0.9' ext='b'/></presence>")
    assert disco.read_caps(old) is None
