"""What the learner folds under one snapshot name: a policy by name and options, and whose records it learns from.

Plain values that can be compared, so that the learner sees whether a course that it is told of is the one it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .features import DEFAULT_SCHEMA
from .policies import build
from .policy import Policy


@dataclass(frozen=True, slots=True)
class CoursePlan:
    """`learns_from`: a variant ("experiment:variant") whose records alone are learned; None: everybody's.

    Records of a part of that variant ("experiment:variant:live", ":carry") are its own too.
    """

    policy: str
    options: Mapping[str, Any] = field(default_factory=dict)
    learns_from: str | None = None

    def __call__(self) -> Policy:
        """The policy with nothing learned. Raises UnknownPolicy."""
        return build(self.policy, self.options)

    @property
    def features_schema(self) -> str:
        """Of the records that the policy understands."""
        return str(self.options.get("features_schema", DEFAULT_SCHEMA))

    def learns(self, variant: str | None) -> bool:
        """Whether records of this variant are for this course. Of the record alone, so a fold depends on joins only."""
        if self.learns_from is None:
            return True
        return variant is not None and (variant == self.learns_from or variant.startswith(f"{self.learns_from}:"))
