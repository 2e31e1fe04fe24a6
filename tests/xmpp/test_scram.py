"""SCRAM as the client: the examples of the standards, and servers that only pretend."""

import pytest

from microblog.xmpp.scram import Scram, ScramFailed, choose

# RFC 5802 §5 and RFC 7677 §3.
EXAMPLES = {
    "SCRAM-SHA-1": (
        "fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (
        "rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


def attempt(mechanism: str = "SCRAM-SHA-1", *, offered: tuple[str, ...] = (), exporter: bytes | None = None) -> Scram:
    nonce = EXAMPLES[mechanism.removesuffix("-PLUS")][0]
    return Scram(mechanism, "user", "pencil", offered=offered or (mechanism,), exporter=exporter, nonce=nonce)


@pytest.mark.parametrize("mechanism", EXAMPLES)
def test_the_examples_of_the_standards(mechanism: str) -> None:
    nonce, challenge, answer, final = EXAMPLES[mechanism]
    scram = attempt(mechanism)
    assert scram.first == f"n,,n=user,r={nonce}".encode()
    assert scram.answer(challenge) == answer
    scram.verify(final)


def test_a_name_may_have_commas() -> None:
    scram = Scram("SCRAM-SHA-1", "a,b=c", "pencil", offered=["SCRAM-SHA-1"], exporter=None, nonce="n")
    assert scram.first == b"n,,n=a=2Cb=3Dc,r=n"


@pytest.mark.parametrize(
    ("offered", "bindings", "exporter", "chosen"),
    [
        (["PLAIN"], [], None, None),
        ([], [], b"x", None),
        (["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"], [], b"x", "SCRAM-SHA-256"),
        (["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], ["tls-exporter"], b"x", "SCRAM-SHA-1-PLUS"),
        (["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], ["tls-exporter"], None, "SCRAM-SHA-1"),
        (["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"], ["tls-server-end-point"], b"x", "SCRAM-SHA-1"),
    ],
)
def test_the_best_that_both_can(
    offered: list[str], bindings: list[str], exporter: bytes | None, chosen: str | None
) -> None:
    assert choose(offered, bindings, exporter) == chosen


def test_whoever_took_the_binding_out_of_the_offer_is_found_out() -> None:
    """The server, which did offer it, refuses a client that says y (RFC 5802 §6)."""
    assert attempt(exporter=b"x").first.startswith(b"y,,")
    assert attempt(offered=("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"), exporter=b"x").first.startswith(b"n,,")
    assert attempt("SCRAM-SHA-1-PLUS", exporter=b"x").first.startswith(b"p=tls-exporter,,")


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"\xff\x00",
        b"r=fyko+d2lbbFgONRv9qkxdawL,s=QSXCR+Q6sek8bf92,i=4096",  # no nonce of its own
        b"r=another,s=QSXCR+Q6sek8bf92,i=4096",
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=1",  # a hash that costs nothing to guess
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=9999999",  # one that costs us minutes
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=-4096",
        b"r=fyko+d2lbbFgONRv9qkxdawLx,s=QSX,i=4096",
        b"m=x,r=fyko+d2lbbFgONRv9qkxdawLx,s=QSXCR+Q6sek8bf92,i=4096",  # an extension that has to be understood
    ],
)
def test_a_challenge_that_is_none_is_not_answered(challenge: bytes) -> None:
    with pytest.raises(ScramFailed):
        attempt().answer(challenge)


@pytest.mark.parametrize("final", [b"", b"v=", b"v=rmF9pqV8S7suAoZWja4dJRkFsKR=", b"e=other-error"])
def test_a_server_that_does_not_know_the_password_is_not_believed(final: bytes) -> None:
    scram = attempt()
    scram.answer(EXAMPLES["SCRAM-SHA-1"][1])
    with pytest.raises(ScramFailed, match="not who it says"):
        scram.verify(final)


def test_success_without_a_challenge_is_none() -> None:
    with pytest.raises(ScramFailed):
        attempt().verify(b"v=" + b"AAAA")
