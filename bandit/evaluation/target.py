"""The policy that is judged: by the name of a policy, of an arm (always that one), or "live"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bandit.errors import CannotEvaluate
from bandit.fixed import FixedPolicy
from bandit.journal import Journal
from bandit.policies import NAMES, build
from bandit.policy import Policy
from bandit.uniform import UniformPolicy

from .log import arms_of, live_policy

LIVE = "live"


@dataclass(frozen=True, slots=True)
class Target:
    """A policy with nothing learned yet, and whether it goes on learning while it is judged."""

    name: str
    policy: Policy
    frozen: bool = False  # learns only what came before the time that is evaluated

    @property
    def is_static(self) -> bool:
        """Whether learning changes nothing, so that none is needed."""
        return isinstance(self.policy, FixedPolicy | UniformPolicy)

    def estimand(self) -> str:
        """What is estimated, in one sentence."""
        if self.is_static:
            return f"the mean expected reward of {self.name}, which does not learn, over the rounds of the log"
        if self.frozen:
            return (
                f"the mean expected reward of {self.name}, as it was after all outcomes before these rounds and not "
                "learning any more"
            )
        return (
            f"the mean over the rounds of the expected reward of {self.name}, which at each round has learned every "
            "outcome of the log that was complete by then, whoever drew it (its own draws would have taught it other "
            "things)"
        )


def target_of(
    journal: Journal, name: str, options: Mapping[str, object] | None = None, *, frozen: bool = False
) -> Target:
    """Raises UnknownPolicy on bad options, CannotEvaluate on a name that is neither policy nor arm nor "live"."""
    given = options or {}
    if name in NAMES:
        return Target(name, build(name, given), frozen)
    if name == LIVE:
        live = live_policy(journal)
        if live is None:
            raise CannotEvaluate("no policy has decided in this journal yet, so there is no live one; name a policy")
        if live not in NAMES:
            raise CannotEvaluate(f"the live policy {live!r} is none of {', '.join(NAMES)}; name the one to evaluate")
        return Target(f"{LIVE} ({live})", build(live, given), frozen)
    arms = arms_of(journal)
    if name not in arms:
        raise CannotEvaluate(
            f"{name!r} is neither a policy ({', '.join(NAMES)}), nor {LIVE!r}, nor an arm of the log "
            f"({', '.join(arms) or 'which is empty'})"
        )
    return Target(name, build("fixed", {"arm": name, **given}), frozen)
