"""kill -9 while a rule acts: it posts once, and tells, whatever its node died of."""

import signal
import time
from collections.abc import Callable

import pytest

from tests.interop.microblogging import items
from tests.interop.servers import MicroblogNode
from tests.interop.test_chat import line, says

pytestmark = pytest.mark.interop

MOST_SECONDS = 30


@pytest.mark.parametrize("point", ["K20", "K3", "K4"])
def test_a_rule_that_posts_posts_once(microblog_node: Callable[..., MicroblogNode], point: str) -> None:
    node = microblog_node(f"montague-rule-{point.lower()}.zz", started=False)
    armed = node.folder / "now"
    node.environment = {"MICROBLOG_CRASH": f"{point}:{armed}"}
    node.start()
    for name in ("romeo", "benvolio"):
        node.account(name)
    romeo, benvolio = node.login("romeo"), node.login("benvolio")
    assert says(romeo, "rule when #feast appears then post I am there").startswith("Rule 1")
    if point == "K20":
        # Soon after the post: it may die before it has answered.
        armed.touch()
        benvolio.send(f"<message to='{node.domain}' type='chat' id='f'><body>The #feast begins</body></message>")
    else:
        says(benvolio, "The #feast begins")
        armed.touch()
    assert node.process is not None
    assert node.process.wait(MOST_SECONDS) == -signal.SIGKILL
    node.process = None
    armed.unlink()
    node.start()
    romeo = node.login("romeo")
    ends = time.monotonic() + MOST_SECONDS
    while not items(romeo, romeo.bare) and time.monotonic() < ends:
        time.sleep(0.1)
    # What comes behind it in the log has come, too.
    says(romeo, "rule when #end appears then tell me")
    benvolio = node.login("benvolio")
    says(benvolio, "The #end")
    line(romeo, "The #end")
    assert len(items(romeo, romeo.bare)) == 1
    assert "post I am there (once)" in says(romeo, "rules")


@pytest.mark.parametrize(("point", "told"), [("K20", "The #feast begins"), ("K21", "Rule 1, #feast appears: #1")])
def test_a_rule_that_tells_tells(microblog_node: Callable[..., MicroblogNode], point: str, told: str) -> None:
    node = microblog_node(f"montague-told-{point.lower()}.zz", started=False)
    armed = node.folder / "now"
    node.environment = {"MICROBLOG_CRASH": f"{point}:{armed}"}
    node.start()
    for name in ("romeo", "benvolio"):
        node.account(name)
    romeo, benvolio = node.login("romeo"), node.login("benvolio")
    assert says(romeo, "rule when #feast appears then tell me").startswith("Rule 1")
    armed.touch()
    benvolio.send(f"<message to='{node.domain}' type='chat' id='f'><body>The #feast begins</body></message>")
    assert node.process is not None
    assert node.process.wait(MOST_SECONDS) == -signal.SIGKILL
    node.process = None
    armed.unlink()
    node.start()
    romeo, benvolio = node.login("romeo"), node.login("benvolio")
    line(romeo, told)
    says(benvolio, "The #feast goes on")
    line(romeo, "The #feast goes on")
    assert "tell me (2 times)" in says(romeo, "rules")
