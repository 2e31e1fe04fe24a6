"""RFC 4616, RFC 5802, RFC 7677, RFC 9266, with scramp as an independent client."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Coroutine, Mapping
from typing import Any

import pytest
import scramp
import scramp.core
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from microblog.model.account import HASHES, SHA_1, SHA_256, ScramKeys, derive_keys
from microblog.model.jid import JID
from microblog.store.database import Database
from microblog.usecases import registering
from microblog.xmpp import sasl
from microblog.xmpp.sasl import Challenge, SaslFailure, Success

DOMAIN = "montague.example"
BINDINGS = {"tls-exporter": b"exported" * 4, "tls-server-end-point": b"end point"}
ALL = sasl.offered(BINDINGS)
KEYS = {keys.hash_name: keys for keys in derive_keys("pencil")}
OTHER_KEYS = {keys.hash_name: keys for keys in derive_keys("other")}


class People:
    """One account, romeo with the password pencil."""

    def __init__(self, keys: Mapping[str, ScramKeys] = KEYS) -> None:
        self.known = keys
        self.asked: list[str] = []
        self.verified = 0

    async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
        self.asked.append(localpart)
        return (self.known if localpart == "romeo" else OTHER_KEYS)[hash_name]

    async def verify(self, keys: ScramKeys, password: str) -> bool:
        self.verified += 1
        return keys.verify(password)


def ran(coroutine: Coroutine[Any, Any, Any]) -> Any:
    outcome: list[Any] = []
    Deferred.fromCoroutine(coroutine).addBoth(outcome.append)
    if hasattr(outcome[0], "raiseException"):
        outcome[0].raiseException()
    return outcome[0]


def begin(name: str, people: People | None = None, offered: tuple[str, ...] = ALL) -> sasl.Attempt:
    return sasl.begin(name, BINDINGS, offered, people or People(), DOMAIN)


def step(attempt: sasl.Attempt, data: bytes) -> bytes:
    answer = ran(attempt.step(data))
    assert isinstance(answer, Challenge)
    return answer.data


def condition(attempt: sasl.Attempt, data: bytes) -> str:
    with pytest.raises(SaslFailure) as caught:
        ran(attempt.step(data))
    return caught.value.condition


class Client:
    """A SCRAM client that can be told to do it wrong."""

    def __init__(self, name: str, password: str = "pencil", user: str = "romeo", gs2: bytes | None = None) -> None:
        self.hash = SHA_1 if "SHA-1" in name else SHA_256
        plus = name.endswith("-PLUS")
        self.gs2 = gs2 if gs2 is not None else b"p=tls-exporter,," if plus else b"n,,"
        self.password = password
        self.nonce = b"fyko+d2lbbFgONRv9qkxdawL"
        escaped = user.replace("=", "=3D").replace(",", "=2C").encode()
        self.bare = b"n=%b,r=%b" % (escaped, self.nonce)
        self.bound = BINDINGS["tls-exporter"] if plus else b""

    def first(self) -> bytes:
        return self.gs2 + self.bare

    def final(self, challenge: bytes, nonce: bytes | None = None, extra: bytes = b"", c: bytes | None = None) -> bytes:
        fields = dict(field.split(b"=", 1) for field in challenge.split(b","))
        digest = HASHES[self.hash]
        salted = hashlib.pbkdf2_hmac(digest, self.password.encode(), base64.b64decode(fields[b"s"]), int(fields[b"i"]))
        client_key = hmac.digest(salted, b"Client Key", digest)
        bound = base64.b64encode(self.gs2 + self.bound) if c is None else c
        without = b"c=%b,r=%b%b" % (bound, fields[b"r"] if nonce is None else nonce, extra)
        message = b",".join((self.bare, challenge, without))
        signature = hmac.digest(hashlib.new(digest, client_key).digest(), message, digest)
        self.server_signature = hmac.digest(hmac.digest(salted, b"Server Key", digest), message, digest)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return without + b",p=" + base64.b64encode(proof)


SCRAM = [name for name in ALL if name.startswith("SCRAM")]


# Offers


def test_offered_best_first() -> None:
    assert ALL == ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")
    assert sasl.offered({}) == ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")


def test_bindings_of_a_session() -> None:
    class Session:
        def exporter(self) -> bytes:
            return b"e"

        def server_end_point(self) -> bytes | None:
            return None

    assert sasl.channel_bindings(Session()) == {"tls-exporter": b"e"}


@pytest.mark.parametrize("name", ["DIGEST-MD5", "", "plain", "SCRAM-SHA-512", "EXTERNAL", "SCRAM-SHA-256-PLUS-PLUS"])
def test_a_mechanism_that_is_not_offered(name: str) -> None:
    with pytest.raises(SaslFailure, match="invalid-mechanism"):
        begin(name)


def test_plus_without_a_channel_is_not_offered() -> None:
    with pytest.raises(SaslFailure, match="invalid-mechanism"):
        begin("SCRAM-SHA-256-PLUS", offered=sasl.offered({}))


# PLAIN


@pytest.mark.parametrize("authzid", [b"", b"romeo", b"romeo@montague.example", b"Romeo@Montague.example"])
def test_plain(authzid: bytes) -> None:
    attempt = begin("PLAIN")
    assert ran(attempt.step(authzid + b"\0Romeo\0pencil")) == Success(None, "romeo")
    assert attempt.localpart == "romeo"


def test_plain_with_the_wrong_password_and_with_nobodys_name_look_alike() -> None:
    people = People()
    assert condition(begin("PLAIN", people), b"\0romeo\0eraser") == "not-authorized"
    assert condition(begin("PLAIN", people), b"\0tybalt\0pencil") == "not-authorized"
    assert people.verified == 2


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"romeo pencil",
        b"\0romeo",
        b"\0romeo\0pencil\0",
        b"\0\0pencil",
        b"\0romeo\0",
        b"\0romeo\0\xff\xfe",
        b"\0" + b"x" * 1024 + b"\0pencil",
        b"\0romeo\0" + b"x" * 1024,
    ],
)
def test_malformed_plain(message: bytes) -> None:
    people = People()
    assert condition(begin("PLAIN", people), message) == "malformed-request"
    assert not people.asked and not people.verified


def test_a_password_of_a_mebibyte_is_not_hashed() -> None:
    people = People()
    assert condition(begin("PLAIN", people), b"\0romeo\0" + b"x" * (1 << 20)) == "malformed-request"
    assert people.verified == 0


@pytest.mark.parametrize(
    "authzid",
    [
        b"juliet",
        b"juliet@montague.example",
        b"romeo@capulet.example",
        b"montague.example",
        b"romeo@montague.example/x",
        b"@",
        b"a@b@c",
    ],
)
def test_nobody_acts_for_another(authzid: bytes) -> None:
    assert condition(begin("PLAIN"), authzid + b"\0romeo\0pencil") == "invalid-authzid"
    attempt = begin("SCRAM-SHA-256")
    assert condition(attempt, b"n,a=%b,n=romeo,r=abc" % authzid) == "invalid-authzid"


def test_plain_password_as_either_preparation_has_it() -> None:
    """OpaqueString keeps the full-width letter, SASLprep makes it the letter that the keys were made of."""
    assert ran(begin("PLAIN").step("\0romeo\0\uff50encil".encode())) == Success(None, "romeo")


# SCRAM


@pytest.mark.parametrize("name", SCRAM)
def test_scram(name: str) -> None:
    attempt, client = begin(name), Client(name)
    challenge = step(attempt, client.first())
    assert attempt.localpart == "romeo"
    success = ran(attempt.step(client.final(challenge)))
    assert success == Success(b"v=" + base64.b64encode(client.server_signature), "romeo")


def test_the_example_of_rfc_7677() -> None:
    """§3, with the salt, iterations and server nonce of the example."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    keys = ScramKeys.derive("pencil", SHA_256, salt, 4096)

    class User(People):
        async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
            assert localpart == "user"
            return keys

    attempt = begin("SCRAM-SHA-256", User())
    step(attempt, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    server_first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    attempt._nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"  # type: ignore[attr-defined]
    attempt._message = b"n=user,r=rOprNGfwEbeRWgbNEkqO," + server_first  # type: ignore[attr-defined]
    final = (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert ran(attempt.step(final)) == Success(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "user")


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"])
@pytest.mark.parametrize("password", ["pencil", "eraser"])
def test_scramp_agrees(name: str, password: str) -> None:
    """An independent client; it knows tls-server-end-point and checks our signature."""
    binding = ("tls-server-end-point", BINDINGS["tls-server-end-point"]) if name.endswith("-PLUS") else None
    client = scramp.ScramClient([name], "romeo", password, channel_binding=binding)
    attempt = begin(name, offered=(name,))
    client.set_server_first(step(attempt, client.get_client_first().encode()).decode())
    final = client.get_client_final().encode()
    if password == "pencil":
        success = ran(attempt.step(final))
        client.set_server_final(success.data.decode())
    else:
        assert condition(attempt, final) == "not-authorized"


def test_scramp_agrees_on_names_that_need_escapes() -> None:
    class Odd(People):
        async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
            self.asked.append(localpart)
            return KEYS[hash_name]

    people = Odd()
    client = scramp.ScramClient(["SCRAM-SHA-256"], "a,b=c", "pencil")
    attempt = begin("SCRAM-SHA-256", people, offered=("SCRAM-SHA-256",))
    client.set_server_first(step(attempt, client.get_client_first().encode()).decode())
    assert ran(attempt.step(client.get_client_final().encode())).localpart == people.asked[0] == "a,b=c"


def test_the_servers_nonce_is_new_and_long() -> None:
    nonces = {step(begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256").first()).split(b",")[0] for _ in range(20)}
    assert len(nonces) == 20
    assert all(len(nonce) >= len(b"r=fyko+d2lbbFgONRv9qkxdawL") + 24 for nonce in nonces)


def test_wrong_password() -> None:
    attempt, client = begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256", "eraser")
    assert condition(attempt, client.final(step(attempt, client.first()))) == "not-authorized"


def test_a_client_that_saw_no_plus_although_it_was_offered_is_refused() -> None:
    """RFC 5802 §6: flag y."""
    for name in ("SCRAM-SHA-256", "SCRAM-SHA-1"):
        assert condition(begin(name), Client(name, gs2=b"y,,").first()) == "not-authorized"


def test_flag_y_is_right_where_plus_is_not_offered_and_n_always() -> None:
    for offered, gs2 in ((sasl.offered({}), b"y,,"), (sasl.offered({}), b"n,,"), (ALL, b"n,,")):
        attempt, client = begin("SCRAM-SHA-256", offered=offered), Client("SCRAM-SHA-256", gs2=gs2)
        assert isinstance(ran(attempt.step(client.final(step(attempt, client.first())))), Success)


@pytest.mark.parametrize(
    ("name", "gs2", "expected"),
    [
        ("SCRAM-SHA-256", b"p=tls-exporter,,", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", b"n,,", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", b"y,,", "malformed-request"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-unique,,", "not-authorized"),
        ("SCRAM-SHA-256-PLUS", b"p=,,", "malformed-request"),
    ],
)
def test_channel_binding_flags_that_do_not_fit(name: str, gs2: bytes, expected: str) -> None:
    assert condition(begin(name), Client(name, gs2=gs2).first()) == expected


def test_another_channel() -> None:
    """Somebody in the middle has a channel to each side."""
    name = "SCRAM-SHA-256-PLUS"
    attempt, client = begin(name), Client(name)
    client.bound = b"their channel"
    assert condition(attempt, client.final(step(attempt, client.first()))) == "not-authorized"


def test_server_end_point() -> None:
    name = "SCRAM-SHA-256-PLUS"
    attempt, client = begin(name), Client(name, gs2=b"p=tls-server-end-point,,")
    client.bound = BINDINGS["tls-server-end-point"]
    assert isinstance(ran(attempt.step(client.final(step(attempt, client.first())))), Success)


def test_the_final_message_must_repeat_the_first_header() -> None:
    attempt, client = begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256")
    final = client.final(step(attempt, client.first()), c=base64.b64encode(b"y,,"))
    assert condition(attempt, final) == "not-authorized"


def test_changed_nonce() -> None:
    for changed in (b"fyko+d2lbbFgONRv9qkxdawL", b"other"):
        attempt, client = begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256")
        final = client.final(step(attempt, client.first()), nonce=changed)
        assert condition(attempt, final) == "not-authorized"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,,",
        b"n,,n=romeo",
        b"n,,n=romeo,r=",
        b"n,,r=abc,n=romeo",
        b"n,,n=,r=abc",
        b"n,,n=romeo,r=a\x00c",
        b"n,,n=romeo,r=a c",
        b"n,,n=romeo,r=abc,",
        b"n,,m=ext,n=romeo,r=abc",
        b"n,,n=ro=2cmeo,r=abc",
        b"n,,n=ro=meo,r=abc",
        b"n,,n=romeo=,r=abc",
        b"n,,n=\xff,r=abc",
        b"n,a=,n=romeo,r=abc",
        b"x,,n=romeo,r=abc",
        b"n=romeo,r=abc",
        b"n,,n=romeo,r=abc\n",
        b"n,,n=" + b"x" * 1024 + b",r=abc",
        b"n,,n=romeo,r=" + b"x" * 5000,
    ],
)
def test_malformed_first_messages(message: bytes) -> None:
    people = People()
    assert condition(begin("SCRAM-SHA-256", people), message) == "malformed-request"
    assert not people.asked


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"c=biws",
        b"c=biws,r=%b",
        b"c=biws,p=AAAA",
        b"r=%b,c=biws,p=AAAA",
        b"c=biws,r=%b,p=",
        b"c=biws,r=%b,p=AAAA",
        b"c=biws,r=%b,p=A",
        b"c=b,r=%b,p=" + base64.b64encode(bytes(32)),
        b"c=biws,r=%b,p=" + base64.b64encode(bytes(31)),
        b"c=biws,r=%b,p=" + base64.b64encode(bytes(33)),
        b"c=biws,r=%b,p=" + base64.b64encode(bytes(32)) + b",x=y",
    ],
)
def test_malformed_final_messages(message: bytes) -> None:
    attempt, client = begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256")
    nonce = step(attempt, client.first()).split(b",")[0].removeprefix(b"r=")
    assert condition(attempt, message.replace(b"%b", nonce)) == "malformed-request"


def test_extensions_that_are_not_mandatory_are_ignored() -> None:
    attempt, client = begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256")
    client.bare += b",z=later"
    assert isinstance(ran(attempt.step(client.final(step(attempt, client.first()), extra=b",y=too"))), Success)


def test_a_replayed_final_message() -> None:
    attempt, client = begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256")
    final = client.final(step(attempt, client.first()))
    assert isinstance(ran(attempt.step(final)), Success)
    assert condition(attempt, final) == "malformed-request"
    other = begin("SCRAM-SHA-256")
    step(other, client.first())
    assert condition(other, final) == "not-authorized"


def test_there_is_no_step_after_a_failure() -> None:
    attempt, client = begin("SCRAM-SHA-256"), Client("SCRAM-SHA-256", "eraser")
    challenge = step(attempt, client.first())
    assert condition(attempt, client.final(challenge)) == "not-authorized"
    client.password = "pencil"
    assert condition(attempt, client.final(challenge)) == "malformed-request"


@pytest.mark.parametrize("iterations", [1, 4095, 10**9])
def test_stored_iterations_that_cannot_be_ours_are_not_worked_off(iterations: int) -> None:
    keys = ScramKeys(hash_name=SHA_256, salt=b"salt", iterations=iterations, stored_key=b"", server_key=b"")
    people = People({SHA_256: keys})
    assert condition(begin("SCRAM-SHA-256", people), Client("SCRAM-SHA-256").first()) == "temporary-auth-failure"
    assert condition(begin("PLAIN", people), b"\0romeo\0pencil") == "temporary-auth-failure"
    assert people.verified == 0


# Nobody


def login_keys(database: Database) -> People:
    """The real use case behind the mechanisms."""

    class Stored(People):
        async def keys(self, localpart: str, hash_name: str) -> ScramKeys:
            return await database.read(registering.keys_for_login, localpart, hash_name)

    return Stored()


@pytest.mark.parametrize("name", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_nobody_looks_like_somebody_with_another_password(database: Database, name: str) -> None:
    database.run(registering.create_account, "romeo", "pencil")
    people = login_keys(database)
    shapes = []
    for user in ("romeo", "tybalt", "not a name", "mercutio=,"):
        salts = set()
        for _ in range(2):
            attempt, client = begin(name, people), Client(name, "eraser", user)
            challenge = step(attempt, client.first())
            fields = [field.split(b"=", 1) for field in challenge.split(b",")]
            salts.add(fields[1][1])
            assert condition(attempt, client.final(challenge)) == "not-authorized"
        assert len(salts) == 1
        shapes.append([(key, len(value)) for key, value in fields] + [fields[2][1]])
    assert shapes == [shapes[0]] * 4
    assert condition(begin("PLAIN", people), b"\0tybalt\0pencil") == "not-authorized"


def test_a_disabled_account_looks_as_before_and_fails(database: Database) -> None:
    database.run(registering.create_account, "romeo", "pencil")
    people = login_keys(database)
    before = step(begin("SCRAM-SHA-256", people), Client("SCRAM-SHA-256").first()).split(b",")[1:]
    database.run(registering.disable, "romeo")
    attempt, client = begin("SCRAM-SHA-256", people), Client("SCRAM-SHA-256")
    challenge = step(attempt, client.first())
    assert challenge.split(b",")[1:] == before
    assert condition(attempt, client.final(challenge)) == "not-authorized"
    assert condition(begin("PLAIN", people), b"\0romeo\0pencil") == "not-authorized"


def test_nobodys_salt_depends_on_this_nodes_secret(database: Database) -> None:
    mine = database.read(registering.keys_for_login, "tybalt", SHA_256)
    database.run(lambda tx: tx.settings.set("secret.login", base64.b64encode(secrets.token_bytes(32)).decode()))
    other = database.read(registering.keys_for_login, "tybalt", SHA_256)
    found: list[ScramKeys] = []
    mine.addCallback(found.append)
    other.addCallback(found.append)
    assert found[0].salt != found[1].salt


# Anything


@given(st.binary(max_size=300), st.sampled_from(ALL))
def test_first_messages_are_answered_or_refused(data: bytes, name: str) -> None:
    attempt = begin(name)
    try:
        answer = ran(attempt.step(data))
    except SaslFailure:
        return
    assert isinstance(answer, Challenge)


@given(st.text(alphabet="nya=,p-0C2Drc\x00é ", max_size=40).map(str.encode))
def test_first_messages_that_are_nearly_right(data: bytes) -> None:
    attempt = begin("SCRAM-SHA-256", offered=sasl.offered({}))
    try:
        answer = ran(attempt.step(data))
    except SaslFailure as failure:
        assert failure.condition in ("malformed-request", "invalid-authzid")
        return
    assert data[:2] in (b"n,", b"y,") and isinstance(answer, Challenge)


@given(st.binary(max_size=300))
def test_final_messages_without_the_password_fail(data: bytes) -> None:
    attempt = begin("SCRAM-SHA-256")
    step(attempt, Client("SCRAM-SHA-256").first())
    assert condition(attempt, data) in ("malformed-request", "not-authorized")


@given(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text and text.isprintable()))
def test_names_come_through_escapes(name: str) -> None:
    people = People()
    attempt = begin("SCRAM-SHA-256", people)
    step(attempt, Client("SCRAM-SHA-256", user=name).first())
    try:
        expected = JID.parse(f"{name}@{DOMAIN}").localpart if "@" not in name and "/" not in name else name
    except ValueError:
        expected = name
    assert people.asked == [expected]
