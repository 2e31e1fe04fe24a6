"""The administrator's commands for other domains, and what they leave for the running server."""

import json
from datetime import UTC, datetime

import pytest

from microblog.config import load
from microblog.model.jid import JID
from microblog.model.policy import Grade
from microblog.store.database import open_database
from microblog.usecases import noticing
from tests.test_plugin import folder, say  # noqa: F401  # a fixture

LIST = "xmpp:verona.example?;node=urn:x-microblog:policy:0"


@pytest.fixture
def here(folder):  # noqa: F811
    """The folder of a node that knows nobody yet."""
    assert say(folder, "domain", "list").returncode == 0
    return folder


def opened(folder):  # noqa: F811
    return open_database(
        load(folder / "microblog.toml").database_url, domain="montague.example", now=lambda: datetime.now(UTC)
    )


def told(folder, *arguments):  # noqa: F811
    done = say(folder, *arguments, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def taken(folder):  # noqa: F811
    """What a running server would hear of."""
    database = opened(folder)
    try:
        return database.run(noticing.take)
    finally:
        database.close()


@pytest.mark.parametrize(
    ("word", "grade", "said"),
    [
        ("allow", "allowed", "capulet.example is allowed."),
        ("no-media", "no-media", "What comes from capulet.example is taken without media."),
        ("silence", "silenced", "capulet.example is silenced: its posts are for those who follow their authors."),
        ("refuse", "refused", "capulet.example is refused: nothing goes there, nothing comes, and what there is"),
    ],
)
def test_a_grade_is_set_shown_and_told_to_the_server(here, word, grade, said):
    done = say(here, "domain", word, "Capulet.Example.", "--reason", "two  households")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(said)
    rule = {
        "domain": "capulet.example",
        "grade": grade,
        "dialback": False,
        "reason": "two households",
        "list": None,
    }
    assert told(here, "domain", "list") == {"federation": "open", "rules": [rule], "doubted": []}
    assert taken(here).policy
    below = told(here, "domain", "show", "chat.capulet.example")
    assert (below["grade"], below["rules"], below["queue_state"]) == (grade, [rule], "unknown")


def test_a_rule_is_reset(here):
    say(here, "domain", "refuse", "capulet.example")
    assert say(here, "domain", "reset", "capulet.example").stdout == (
        "There is no rule of yours for capulet.example any more.\n"
    )
    assert told(here, "domain", "list")["rules"] == []
    again = say(here, "domain", "reset", "capulet.example")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "microblog: There is no rule for capulet.example.\n"


def test_private_posts_by_dialback(here):
    assert told(here, "domain", "dialback", "capulet.example", "on")["dialback"]
    assert told(here, "domain", "show", "capulet.example")["private_by_dialback"]
    say(here, "domain", "silence", "capulet.example")
    assert not told(here, "domain", "dialback", "capulet.example", "off")["dialback"]
    assert told(here, "domain", "list")["rules"][0]["grade"] == "silenced"
    wrong = say(here, "domain", "dialback", "capulet.example", "perhaps")
    assert (wrong.returncode, wrong.stderr) == (2, 'microblog: It is "on" or "off", not "perhaps".\n')


def test_a_permission_by_itself_is_no_rule_and_leaves_none(here):
    told(here, "domain", "dialback", "capulet.example", "on")
    assert told(here, "domain", "show", "capulet.example")["grade"] == "allowed"
    told(here, "domain", "dialback", "capulet.example", "off")
    assert told(here, "domain", "list")["rules"] == []


def test_only_those_who_are_allowed(here):
    config = here / "microblog.toml"
    config.write_text(config.read_text().replace("[s2s]", '[s2s]\nfederation = "allowlist"'))
    told(here, "domain", "allow", "capulet.example")
    grades = [told(here, "domain", "show", f"{name}.example")["grade"] for name in ("capulet", "verona", "x.capulet")]
    assert grades == ["allowed", "refused", "allowed"]
    assert "only those that are allowed" in say(here, "domain", "list").stdout


def test_a_doubted_domain_is_trusted_again(here):
    database = opened(here)
    database.run(lambda tx: tx.peers.set("capulet.example", doubted=tx.now))
    database.close()
    listed = say(here, "domain", "list").stdout
    assert "twistd microblog domain trust capulet.example" in listed
    assert told(here, "domain", "list")["doubted"] == ["capulet.example"]
    assert say(here, "domain", "trust", "capulet.example").returncode == 0
    assert told(here, "domain", "list")["doubted"] == []
    assert taken(here).retry == {"capulet.example"}
    assert say(here, "domain", "trust", "capulet.example").stderr == (
        "microblog: There is no doubt about capulet.example.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (["domain", "refuse", "two..dots"], '"two..dots" is no domain.', 2),
        (["domain", "refuse", "montague.example"], "That is this node's own domain.", 1),
        (["domain", "list-add", "https://verona.example"], '"https://verona.example" is not the address of a', 2),
        (["domain", "list-remove", LIST], "This list is not followed.", 1),
        (["queue", "retry", "capulet.example"], "Nothing waits for capulet.example.", 1),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(here, arguments, said, status):
    done = say(here, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(f"microblog: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_lists_are_followed_and_left(here):
    assert told(here, "domain", "list-add", LIST) == {"service": "verona.example", "node": "urn:x-microblog:policy:0"}
    again = say(here, "domain", "list-add", LIST)
    assert (again.returncode, again.stderr) == (1, "microblog: This list is followed already.\n")
    (listed,) = told(here, "domain", "lists")["lists"]
    assert (listed["service"], listed["domains"], listed["fetched"]) == ("verona.example", 0, None)
    assert taken(here).policy
    told(here, "domain", "list-remove", LIST)
    assert told(here, "domain", "lists")["lists"] == []


def test_the_rules_are_published_and_not(here):
    own = "xmpp:montague.example?;node=urn:x-microblog:policy:0"
    assert told(here, "domain", "publish", "on") == {"published": own}
    assert told(here, "domain", "lists") == {"lists": [], "published": own}
    assert told(here, "domain", "publish", "off") == {"published": None}


def owe(folder):  # noqa: F811
    """Two stanzas wait for a domain that failed."""
    database = opened(folder)

    def write(tx):
        tx.outbox.add_stanza("capulet.example", "<message/>")
        tx.outbox.add_stanza("capulet.example", "<message/>")
        tx.domains.failed("capulet.example", "no such host", tx.now)

    database.run(write)
    database.close()


def test_what_waits_is_shown_tried_and_dropped(here):
    assert say(here, "queue", "list").stdout == "Nothing waits for anybody.\n"
    owe(here)
    (waiting,) = told(here, "queue", "list")
    assert (waiting["domain"], waiting["state"], waiting["waiting"]) == ("capulet.example", "retrying", 2)
    assert (waiting["failures"], waiting["last_error"]) == (1, "no such host")
    assert told(here, "queue", "show", "capulet.example") == waiting
    assert "no such host" in say(here, "queue", "list").stdout
    assert say(here, "queue", "retry", "capulet.example").stdout == "The running server tries capulet.example now.\n"
    assert taken(here).retry == {"capulet.example"}
    assert say(here, "queue", "drop", "capulet.example").stdout == (
        "2 notifications for capulet.example will never be sent.\n"
    )
    assert taken(here).dropped == {"capulet.example"}
    assert told(here, "queue", "show", "capulet.example")["waiting"] == 0


def test_rules_of_lists_are_shown_when_asked_for(here):
    told(here, "domain", "list-add", LIST)
    database = opened(here)

    def fetched(tx):
        from microblog.model.policy import Rule
        from microblog.usecases import policing

        rule = Rule(domain="spam.example", grade=Grade.REFUSED, source="verona.example urn:x-microblog:policy:0")
        policing.list_fetched(tx, str(JID("", "verona.example")), "urn:x-microblog:policy:0", [rule])

    database.run(fetched)
    database.close()
    assert told(here, "domain", "list")["rules"] == []
    (rule,) = told(here, "domain", "list", "--lists")["rules"]
    assert (rule["domain"], rule["grade"], rule["list"]) == (
        "spam.example",
        "refused",
        "verona.example urn:x-microblog:policy:0",
    )
    assert told(here, "domain", "show", "spam.example")["grade"] == "refused"
