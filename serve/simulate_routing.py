"""A policy of `bandit` as the simulator's router: the same `decide` as in the gateway, on the same kind of context.

Prompts, callers and the quality that a policy has learned come from `bandit.simulation`; the load is the simulated one.
Nothing is learned during a run: policies are trained before, so that runs differ by what they are to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from bandit.context import ArmContext, Context, Weights
from bandit.features import extract
from bandit.policies import build
from bandit.policy import Policy
from bandit.simulation import CLASSES, MANY_CALLERS, prompt
from bandit.simulation import run as train
from cluster.simulation.routers import TierView
from cluster.simulation.tiers import TierModel

_PROMPTS = 1000  # different ones; features of a prompt are computed once


def trained(name: str, rounds: int, seed: int, arms: Sequence[ArmContext]) -> Policy:
    """A policy that has seen so many made-up requests without load. Raises UnknownPolicy."""
    policy = build(name)
    train(policy, rounds, seed, arms, MANY_CALLERS)
    return policy


class PolicyRouter:
    """Asks a policy for every request. `arms`: one per tier, in the order of the tiers."""

    def __init__(
        self,
        policy: Policy,
        arms: Sequence[ArmContext],
        tiers: Sequence[TierModel],
        callers: Sequence[Weights],
        seed: int,
    ) -> None:
        rng = Random(f"{seed} prompts")
        self._policy, self._arms, self._callers = policy, tuple(arms), tuple(callers)
        self._batches = [tier.batch for tier in tiers]
        self._features = [extract(prompt(rng.choice(CLASSES), rng)) for _ in range(_PROMPTS)]

    def route(self, now_s: float, tiers: Sequence[TierView], rng: Random) -> tuple[int, Sequence[float]]:
        """As the gateway: a tier without replicas may be asked, and counts as one that has one."""
        arms = tuple(
            ArmContext(
                arm.name, arm.tier, arm.preset, arm.family, arm.price_usd, arm.service_s,
                tier.in_flight, max(1, tier.running), batch,
            )
            for arm, tier, batch in zip(self._arms, tiers, self._batches, strict=True)
        )  # fmt: skip
        context = Context(rng.choice(self._features), arms, rng.choice(self._callers))
        decision = self._policy.decide(context, rng)
        shares = [decision.probabilities[arm.name] for arm in arms]
        return next(index for index, arm in enumerate(arms) if arm.name == decision.arm), shares
