from __future__ import annotations

import pytest

from bandit.errors import BadState
from bandit.roster import FORGET_AFTER_RECORDS, Roster


def test_roster_forgets_an_arm_that_no_context_holds_for_long() -> None:
    roster = Roster()
    roster.note(("gone", "stays"))
    gone = [(number, name) for number in range(2, 2 * FORGET_AFTER_RECORDS) for name in roster.note(("stays",))]
    assert gone == [(FORGET_AFTER_RECORDS + 1000, "gone")]


def test_roster_goes_on_where_it_was_saved() -> None:
    whole, saved = Roster(), Roster()
    for roster in (whole, saved):
        for number in range(10):
            roster.note((f"arm{number % 3}", "ß"))
    resumed = Roster.read(saved.state())
    resumed.note(("arm9",))
    whole.note(("arm9",))
    assert resumed.state() == whole.state()


@pytest.mark.parametrize(
    "state", [b"", b"[]", b"[1]", b"[1, []]", b'[1, {"a": 2}]', b"[-1, {}]", b'[1.0, {"a": 1}]', b'[1, {"a": true}]']
)
def test_roster_refuses_what_it_has_not_written(state: bytes) -> None:
    with pytest.raises(BadState):
        Roster.read(state)
