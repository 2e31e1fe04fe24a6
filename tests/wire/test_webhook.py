"""Signatures of webhooks: the standard's own example, and what a receiver computes."""

import base64
from datetime import UTC, datetime

import pytest

from microblog.wire import webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_example_of_the_standard() -> None:
    signature = webhook.sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}', webhook.read_secret(SECRET)
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_headers() -> None:
    now = datetime(2021, 2, 25, 15, 15, 30, 999_999, tzinfo=UTC)
    body = b'{"test": 2432232314}'
    assert webhook.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", now, body, webhook.read_secret(SECRET)) == {
        "Content-Type": "application/json",
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek", str(int(now.timestamp())), body, webhook.read_secret(SECRET)
        ),
    }
    assert "webhook-signature" not in webhook.headers("e", now, body, None)


def test_every_secret_is_another_and_long() -> None:
    secrets = {webhook.new_secret() for _ in range(3)}
    assert len(secrets) == 3
    assert all(len(webhook.read_secret(secret)) == webhook.SECRET_BYTES for secret in secrets)
    assert webhook.read_secret(base64.b64encode(b"x" * 24).decode()) == b"x" * 24


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_" + "A" * 8, "whsec_é", "whsec_####", "A" * 1000])
def test_what_is_no_secret(text: str) -> None:
    with pytest.raises(ValueError, match="24 to 64"):
        webhook.read_secret(text)
