"""Rounds whose reward nobody knows, by the arm that was drawn: where arms differ in them, what is left is no fair draw.

A request that failed or was refused is no such round: it earned what a caller gets who waits and gets nothing. One
whose caller left, or whose quality was never measured, is. If an arm loses many of its rounds so, and perhaps the bad
ones, while another loses few, the estimates compare its lucky rounds with all of the other's.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

LEAST_DRAWN = 30  # rounds of an arm; below, its share says little
MOST_APART = 0.05  # between two shares, where it is also beyond chance; more, and a sentence says so
GROSS, SLIGHT = 0.20, 0.05  # one arm misses more than the one, another less than the other: no numbers
_DEVIATIONS = 3.0  # of the difference of two shares


@dataclass(frozen=True, slots=True)
class Drawn:
    """What became of the rounds in which an arm was drawn and another could have been."""

    rounds: int = 0
    not_served: int = 0  # failed or refused: rounds of quality 0
    missing: int = 0  # without a reward that is known

    def one_more(self, *, not_served: bool, missing: bool) -> Drawn:
        return Drawn(self.rounds + 1, self.not_served + not_served, self.missing + missing)

    @property
    def share(self) -> float:
        """Of the rounds that miss their reward."""
        return self.missing / self.rounds if self.rounds else 0.0


def missing_refusal(drawn: dict[str, Drawn]) -> str | None:
    """Why no estimate is sound; None where there may be one."""
    ends = _ends(drawn)
    if ends is None:
        return None
    (least, few), (most, many) = ends
    if not (many.share > GROSS and few.share < SLIGHT and _beyond_chance(few, many)):
        return None
    return (
        f"{many.share:.0%} of the {many.rounds} rounds that drew {most} have no reward (the caller left, or the "
        f"quality was never measured), of the {few.rounds} that drew {least} only {few.share:.0%}: those that are "
        "left are no fair sample. Mend the scorer or the arm, and take a time after that"
    )


def missing_doubt(drawn: dict[str, Drawn]) -> str | None:
    """What to know beside estimates that may be sound; None where arms miss about the same share."""
    ends = _ends(drawn)
    if ends is None or missing_refusal(drawn) is not None:
        return None
    (least, few), (most, many) = ends
    if many.share - few.share <= MOST_APART or not _beyond_chance(few, many):
        return None
    return (
        f"{many.share:.1%} of the rounds that drew {most} have no reward (the caller left, or the quality was never "
        f"measured), of those that drew {least} {few.share:.1%}: if the missing ones are worse than the others, "
        f"{most} looks better here than it is"
    )


def _ends(drawn: dict[str, Drawn]) -> tuple[tuple[str, Drawn], tuple[str, Drawn]] | None:
    """The arms with the smallest and the largest share."""
    known = [one for one in drawn.items() if one[1].rounds >= LEAST_DRAWN]
    if len(known) < 2:
        return None
    return min(known, key=lambda one: one[1].share), max(known, key=lambda one: one[1].share)


def _beyond_chance(few: Drawn, many: Drawn) -> bool:
    share = (few.missing + many.missing) / (few.rounds + many.rounds)
    deviation = sqrt(share * (1 - share) * (1 / few.rounds + 1 / many.rounds))
    return many.share - few.share > _DEVIATIONS * deviation
