"""Votes of users on one decision, and what becomes of each: in the fold, on its way there, or not to be learned.

Per decision one vote is learned, the first that is in time: anybody can invent users. Where the decision's caller gave
a name, only a vote of that name counts. All votes are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .rows import SignalRow, Story
from .signals import SignalKind


class VoteState(StrEnum):
    """`folded`: in a closed join with a record, so in every policy's fold. `waiting`: a join is still to close."""

    FOLDED = "folded"
    WAITING = "waiting"
    NOT_LEARNED = "not_learned"


@dataclass(frozen=True, slots=True)
class Vote:
    """One rating with its fate; `reason` is that of the join that decided it, None while there is none."""

    signal: SignalRow
    state: VoteState
    reason: str | None


def is_in_time(received_at_s: float, completed_at_s: float, vote_window_s: float) -> bool:
    """Whether a vote counts. Asked of the vote's own time alone, so no outage of the learner changes the answer."""
    return received_at_s - completed_at_s <= vote_window_s


def vote_source(user_hash: str | None) -> str:
    """The source of a vote by the user with this hash; None: somebody without a name."""
    return "user" if user_hash is None else f"user:{user_hash[:32]}"


def is_callers(source: str, caller_hash: str | None) -> bool:
    """Whether a vote from this source may count for a decision of this caller; without a name anybody's may."""
    return caller_hash is None or source == vote_source(caller_hash)


def votes(story: Story) -> tuple[Vote, ...]:
    """All ratings of the decision, in order of arrival."""
    return tuple(Vote(row, *_fate(story, row)) for row in story.signals if row.kind == SignalKind.RATING)


def is_learned(story: Story, source: str, vote_window_s: float) -> bool:
    """Whether the rating of this source has been learned or is going to be. False if there is none."""
    told = votes(story)
    folded = [vote.signal.source for vote in told if vote.state is VoteState.FOLDED]
    if folded:
        return source in folded
    for vote in told:  # the earliest first: the one that counts is the first that may
        row, outcome = vote.signal, story.outcome
        if vote.state is VoteState.NOT_LEARNED or not is_callers(row.source, story.decision.caller_hash):
            continue
        if outcome is None or is_in_time(row.received_at_s, outcome.completed_at_s, vote_window_s):
            return row.source == source
    return False


def _fate(story: Story, rating: SignalRow) -> tuple[VoteState, str | None]:
    own = next((join for join in story.vote_joins if join.source == rating.source), None)
    if own is None and rating.source in story.waiting_votes:
        return VoteState.WAITING, None
    join = own or story.join
    if join is not None:
        return (VoteState.NOT_LEARNED if join.record is None else VoteState.FOLDED), join.reason
    if story.outcome is not None and story.outcome.status != "served":
        return VoteState.NOT_LEARNED, None
    return VoteState.WAITING, None
