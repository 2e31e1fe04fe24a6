"""A profile in its forms: what is read is what was written, and each form says what it can."""

import base64

import pytest

from microblog.model.errors import NotAcceptable
from microblog.model.node import AVATAR_DATA, AVATAR_METADATA, NICK, VCARD4
from microblog.model.profile import Avatar, Profile, Property, picture
from microblog.wire import vcard
from microblog.wire.vcard import Nodes
from microblog.wire.xml import parse, to_text
from tests.xmltext import read

PNG = b"\x89PNG\r\n\x1a\nromeo"
PHOTO = f"<PHOTO><TYPE>image/jpeg</TYPE><BINVAL>\n {base64.b64encode(PNG).decode()}\n</BINVAL></PHOTO>"
TEMP = f"""<vCard xmlns='vcard-temp'>
    <FN>Romeo Montague</FN><N><FAMILY>Montague</FAMILY><GIVEN>Romeo</GIVEN></N><NICKNAME> Romeo </NICKNAME>
    <URL>https://montague.example/romeo</URL><BDAY>1580-01-01</BDAY>
    <EMAIL><HOME/><INTERNET/><USERID>romeo@montague.example</USERID></EMAIL>
    <TEL><WORK/><VOICE/><NUMBER>303-555-1212</NUMBER></TEL>
    <ORG><ORGNAME>Montague</ORGNAME><ORGUNIT>Heirs</ORGUNIT></ORG><TITLE>Lover</TITLE><ROLE/>
    <JABBERID>romeo@montague.example</JABBERID><DESC>Too rash,
too unadvised.</DESC>
    <ADR><HOME/><LOCALITY>Verona</LOCALITY></ADR>{PHOTO}</vCard>"""
ROMEO = Profile(
    nickname="Romeo",
    bio="Too rash,\ntoo unadvised.",
    properties=(
        Property("fn", ("Romeo Montague",)),
        Property("n", ("Montague", "Romeo", "", "", "")),
        Property("url", ("https://montague.example/romeo",)),
        Property("bday", ("1580-01-01",)),
        Property("email", ("romeo@montague.example",), ("home",)),
        Property("tel", ("303-555-1212",), ("work", "voice")),
        Property("org", ("Montague", "Heirs")),
        Property("title", ("Lover",)),
        Property("impp", ("xmpp:romeo@montague.example",)),
    ),
    others=(("vcard-temp", "<ADR xmlns='vcard-temp'><HOME/><LOCALITY>Verona</LOCALITY></ADR>"),),
    avatar=Avatar(PNG, "image/png"),
)


def test_vcard_temp_is_read() -> None:
    assert vcard.read_temp(read(TEMP)) == ROMEO


def test_what_is_written_is_read_again() -> None:
    assert vcard.read_temp(parse(to_text(vcard.write_temp(ROMEO)))) == ROMEO
    without = Profile(nickname="Romeo", bio=ROMEO.bio, properties=ROMEO.properties)
    assert vcard.read_card(parse(to_text(vcard.write_card(ROMEO)))) == without


def test_vcard_4_is_written_and_has_no_picture() -> None:
    profile = Profile(
        nickname="Juliet",
        bio="Fourteen at Lammas-eve.",
        properties=(Property("fn", ("Juliet Capulet",)), Property("email", ("j@capulet.example",), ("home",))),
        avatar=ROMEO.avatar,
    )
    assert vcard.write_card(profile) == read(
        "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Juliet Capulet</text></fn>"
        "<email><parameters><type><text>home</text></type></parameters><text>j@capulet.example</text></email>"
        "<nickname><text>Juliet</text></nickname><note><text>Fourteen at Lammas-eve.</text></note></vcard>"
    )


def test_a_vcard_4_is_read() -> None:
    card = read(
        "<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'><fn><text>Peter</text></fn><nickname><text>stpeter</text>"
        "</nickname><nickname><text>psa</text></nickname><tel><parameters><type><text>work</text><text>dog</text>"
        "</type><pref><integer>1</integer></pref></parameters><uri>tel:+1-303-308-3282</uri></tel>"
        "<geo><uri>geo:39.59,-105.01</uri></geo><org><text>XSF</text></org><title><text/></title></vcard>"
    )
    found = vcard.read_card(card)
    assert found.nickname == "stpeter" and found.full_name == "Peter"
    assert found.properties[1:] == (Property("tel", ("+1-303-308-3282",), ("work",)), Property("org", ("XSF",)))
    assert [parse(text).name for _, text in found.others] == ["nickname", "geo"]
    assert vcard.read_card(parse(to_text(vcard.write_card(found)))) == found


def test_what_one_form_cannot_say_stays_with_the_other() -> None:
    geo = ("vcard4", "<geo xmlns='urn:ietf:params:xml:ns:vcard-4.0'><uri>geo:45.4,11</uri></geo>")
    adr = ROMEO.others[0]
    before = Profile(others=(geo, adr), avatar=ROMEO.avatar)
    assert vcard.set_card(before, Profile(bio="!")) == Profile(bio="!", others=(adr,), avatar=ROMEO.avatar)
    assert vcard.set_temp(before, Profile(bio="!")) == Profile(bio="!", others=(geo,))


@pytest.mark.parametrize("photo", ["!!!", base64.b64encode(b"<svg/>").decode(), "AAAA=A"])
def test_what_is_no_picture_is_refused(photo: str) -> None:
    card = read(f"<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>{photo}</BINVAL></PHOTO></vCard>")
    with pytest.raises(NotAcceptable):
        vcard.read_temp(card)


def test_a_picture_elsewhere_is_none() -> None:
    card = "<vCard xmlns='vcard-temp'><PHOTO><EXTVAL>https://montague.example/romeo.png</EXTVAL></PHOTO></vCard>"
    assert vcard.read_temp(read(card)).avatar is None


@pytest.mark.parametrize(
    ("data", "type_"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"", None),
    ],
)
def test_a_picture_is_what_it_looks_like(data: bytes, type_: str | None) -> None:
    found = picture(data)
    assert (None if found is None else found.type) == type_


# Nodes


def test_a_profile_has_its_nodes_the_picture_before_what_tells_of_it() -> None:
    written = Nodes().write(ROMEO)
    assert list(written) == [NICK, VCARD4, AVATAR_DATA, AVATAR_METADATA]
    assert written[NICK] == ("current", "<nick xmlns='http://jabber.org/protocol/nick'>Romeo</nick>")
    avatar = Avatar(PNG, "image/png")
    assert written[AVATAR_DATA][0] == written[AVATAR_METADATA][0] == avatar.hash
    assert parse(written[AVATAR_METADATA][1]) == read(
        "<metadata xmlns='urn:xmpp:avatar:metadata'>"
        f"<info bytes='{len(PNG)}' id='{avatar.hash}' type='image/png'/></metadata>"
    )
    assert vcard.read_data(parse(written[AVATAR_DATA][1])) == avatar
    assert {item for _, item in Nodes().write(Profile()).values()} == {""}


def test_what_is_published_changes_the_profile() -> None:
    nodes, nothing = Nodes(), {"": ""}.get
    assert nodes.read(NICK, nodes.write(ROMEO)[NICK][1], Profile(), nothing) == Profile(nickname="Romeo")
    assert nodes.read(NICK, nodes.nothing(NICK)[1], ROMEO, nothing).nickname == ""
    card = nodes.read(VCARD4, nodes.write(ROMEO)[VCARD4][1], Profile(avatar=ROMEO.avatar), nothing)
    assert (card.bio, card.avatar) == (ROMEO.bio, ROMEO.avatar)
    assert nodes.read(VCARD4, nodes.nothing(VCARD4)[1], ROMEO, nothing) == Profile(
        others=ROMEO.others, avatar=ROMEO.avatar
    )
    for node in (NICK, VCARD4, AVATAR_METADATA):
        assert nodes.read(node, "<tune xmlns='urn:tune'/>", ROMEO, nothing) == ROMEO
        assert nodes.read(node, "", ROMEO, nothing) == ROMEO


def test_metadata_names_a_picture_that_is_there_and_is_what_its_name_says() -> None:
    nodes, avatar = Nodes(), Avatar(PNG, "image/png")
    data = {avatar.hash: to_text(vcard.write_data(avatar)), "0" * 40: to_text(vcard.write_data(avatar))}.get
    metadata = "<metadata xmlns='urn:xmpp:avatar:metadata'>{}</metadata>"
    there, elsewhere = f"<info id='{avatar.hash}'/>", f"<info id='{avatar.hash}' url='https://montague.example/a'/>"

    def after(infos: str, before: Profile) -> Avatar | None:
        return nodes.read(AVATAR_METADATA, metadata.format(infos), before, data).avatar

    other = Profile(avatar=Avatar(b"GIF89a", "image/gif"))
    assert after(elsewhere + there, other) == avatar
    assert (
        after(elsewhere, other) == after(f"<info id='{'0' * 40}'/>", other) == after("<info/>", other) == other.avatar
    )
    assert after("", other) is after("<stop/>", other) is None
