"""What the learner folds under one snapshot name: a policy by name and options, and whose records it learns from.

Plain values that can be compared, so that the learner sees whether a course that it is told of is the one it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .policies import build
from .policy import Policy


@dataclass(frozen=True, slots=True)
class CoursePlan:
    """`learns_from`: a variant ("experiment:variant") whose records alone are learned; None: everybody's.

    `all_after`: the join's position after which everybody's are learned all the same, as of a variant that was
    promoted. Given by position, so that a fold from the first join ends with the same bytes.
    """

    policy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    learns_from: str | None = None
    all_after: int | None = None

    def make(self) -> Policy:
        """The policy with nothing learned. Raises UnknownPolicy."""
        return build(self.policy, self.options)

    def learns(self, position: int, variant: str | None) -> bool:
        """Whether the record of this variant at this position is for this course."""
        if self.learns_from is None or variant == self.learns_from:
            return True
        return self.all_after is not None and position > self.all_after
