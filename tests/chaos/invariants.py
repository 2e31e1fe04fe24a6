"""What must hold after a run, one function for each line of the table of invariants; each gives its violations.

What is held against whom:

- *Ours to ours* everything.
- *Ours to Prosody or ejabberd*: their people are on line throughout, so what we sent arrived at their clients at least
  once (I3), first seen in the author's order (I5), and nothing that is not for them (I8). They may see a notification
  twice: what was not confirmed is sent again, and they do not compare.
- *Prosody or ejabberd to ours*: what they send while a link is cut is lost by them; nothing of ours could know. What
  holds is that nobody is told twice (I4), whose it is (I9), and that the day after, what the feeds of Prosody's people
  still have is in our copies (I3), if it is among their newest (`delivery.REFRESHED`). Edits and retractions that were
  lost are not looked for, and posts of ejabberd's people, which it sends to contacts only.

What a restored backup takes with it is forgotten: of what its people did between backup and restore, nothing is asked
but that it is nowhere where it may not be (I8) and is told to nobody twice (I4).
"""

from collections.abc import Callable, Iterator

from tests.chaos import copies, delivery, house
from tests.chaos.ledger import Ledger
from tests.chaos.run import Outcome

INVARIANTS: dict[str, Callable[[Outcome, Ledger], Iterator[str]]] = {
    function.__name__.partition("_")[0].upper(): function
    for function in (
        delivery.i1_nothing_acknowledged_is_lost,
        delivery.i2_no_false_answer,
        delivery.i3_nothing_is_silently_absent,
        delivery.i4_nobody_is_told_twice,
        delivery.i5_the_author_s_order,
        copies.i6_edits_converge,
        copies.i7_gone_is_gone,
        copies.i8_nothing_goes_where_it_may_not,
        copies.i9_everything_is_its_author_s,
        copies.i10_follower_lists_agree,
        house.i11_bounded,
        house.i12_others_do_not_suffer,
        house.i13_restarts_without_hand_repair,
        house.i14_no_clock_decides,
        house.i15_logs_keep_secrets,
    )
}


def check(outcome: Outcome) -> dict[str, list[str]]:
    """All of them: by the name in the table, what violates it."""
    ledger = Ledger(outcome)
    return {name: list(function(outcome, ledger)) for name, function in INVARIANTS.items()}
