"""A webhook of a whole node, made in chat: it is told of posts of another node, and its owner of its end."""

import json
from pathlib import Path

from microblog.xep.webhooks import Calls
from tests.federation.nodes import Authority
from tests.federation.twins import Twin, Twins
from tests.xep.test_webhooks import Program


def reach(twin: Twin) -> Program:
    """A program that this node can call."""
    program = Program()
    twin.webhooks.calls = Calls(program, program.post, twin.clock, private=False)
    return program


def passes(twins: Twins, seconds: int = 1) -> None:
    for _ in range(seconds):
        twins.time.advance(1)
        twins.settle()


def test_from_chat_to_the_call_and_to_its_end(authority: Authority, tmp_path: Path) -> None:
    twins = Twins(authority, tmp_path)
    juliet, romeo = twins.capulet.talker("juliet"), twins.montague.talker("romeo")
    program = reach(twins.capulet)
    juliet.says("follow romeo@montague.example public")
    passes(twins, 2)
    (said,) = juliet.says("hook builds https://ci.montague.example/events home")
    assert "whsec_" in said
    romeo.says("But soft, what light")
    passes(twins, 2)
    assert program.hears()
    assert "builds" in "".join(juliet.says("programs"))
    juliet.hears()

    # The service says that it is gone.
    program.answers = [410]
    romeo.says("It is the east")
    passes(twins, 2)
    heard = juliet.hears()
    assert any("Your webhook builds was not taken (the answer is 410)" in line for line in heard), heard
    romeo.says("And Juliet is the sun")
    passes(twins, 70)
    assert len(program.calls) == 1
    assert "given up: the answer is 410" in juliet.says("hook builds")[-1]
    juliet.says("hook builds again")
    passes(twins, 2)
    texts = [json.loads(body)["item"]["text"] for _, _, body, _ in program.calls]
    assert texts == ["It is the east", "It is the east", "And Juliet is the sun"]
    assert juliet.says("hook builds off")[-1] == "builds is called no more."
    romeo.says("Arise, fair sun")
    passes(twins, 70)
    assert len(program.calls) == 3
