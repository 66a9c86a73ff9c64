"""Policies as the simulation asks them: what they see of the live load, and how much each tier appeals to them.

`Route` is for many runs at once, without learning. `PolicyRoute` asks a real `Policy` of this package through the very
context that a gateway would give it, and lets it learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np

from bandit.context import ArmContext, Context, Decision, PromptFeatures, Record, Weights
from bandit.features import extract
from bandit.policy import Policy

from .tiers import LATENCY_PER_S, Tier
from .traffic import Floats, Ints


class Route(Protocol):
    """A policy that is a function of the live load. The most appealing tier that has room is taken."""

    def appeal(self, tiers: Sequence[Tier], in_flight: Ints, quality: Floats) -> Floats:
        """[..., T] of in_flight [..., T] and quality [..., T]."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The tier of the best utility for this very request, as `factored` predicts it under the live load.

    `caution` multiplies what waiting is thought to cost. 1 is what the caller pays himself; more also counts what the
    request makes those behind it wait. That the former joins a queue too often for the common good is Naor 1969,
    "The regulation of queue size by levying tolls".
    """

    caution: float = 1.0
    latency_per_s: float = LATENCY_PER_S

    def appeal(self, tiers: Sequence[Tier], in_flight: Ints, quality: Floats) -> Floats:
        """Quality less the priced wait: service_s * ceil((1 + in_flight) / (replicas * batch))."""
        at_once = np.array([tier.replicas * tier.batch for tier in tiers])
        price = self.caution * self.latency_per_s * np.array([tier.service_s for tier in tiers])
        return quality - price * np.ceil((1.0 + in_flight) / at_once)


@dataclass(frozen=True, slots=True)
class Threshold:
    """The first tier while fewer than `limit` requests are there, else the others in their order."""

    limit: int

    def appeal(self, tiers: Sequence[Tier], in_flight: Ints, quality: Floats) -> Floats:
        """Only the order matters."""
        order = np.broadcast_to(-np.arange(len(tiers), dtype=np.float64), in_flight.shape).copy()
        order[..., 0] = np.where(in_flight[..., 0] < self.limit, 1.0, -float(len(tiers)))
        return order


@dataclass(frozen=True, slots=True)
class Fixed:
    """Always one tier, by its index; the load is not looked at."""

    tier: int

    def appeal(self, tiers: Sequence[Tier], in_flight: Ints, quality: Floats) -> Floats:
        """1 for the tier, less for each further one."""
        return np.broadcast_to(-np.abs(np.arange(len(tiers)) - self.tier).astype(np.float64), in_flight.shape)


_EASY, _HARD = "a {}", "a red {} to the left of a blue boat"
_THINGS = "cat dog car apple tree house fish bird cup ball".split()


class PolicyRoute:
    """A real policy behind the same question, one request at a time. Two variants may share one policy object."""

    def __init__(self, policy: Policy, rng: Random, latency_per_s: float = LATENCY_PER_S) -> None:
        self.policy = policy
        self._rng = rng
        self._weights = Weights(quality=1.0, latency_per_s=latency_per_s)
        self._learned = 0
        texts = [kind.format(thing) for kind in (_EASY, _HARD) for thing in _THINGS]
        self._features: list[PromptFeatures] = [extract(text) for text in texts]

    def choose(
        self, tiers: Sequence[Tier], in_flight: Sequence[int], has_room: Sequence[bool], hardness: float
    ) -> tuple[int, Context, Decision]:
        """Index of the tier drawn, with what a record needs. Raises NoArmAvailable if every tier is full."""
        kind = len(_THINGS) if hardness >= 0.5 else 0
        features = self._features[kind + int(hardness * 1e6) % len(_THINGS)]
        arms = tuple(
            ArmContext(
                name=f"{tier.name}@one",
                tier=tier.name,
                preset="one",
                family=tier.name,
                price_usd=0.0,
                service_s=tier.service_s,
                in_flight=load,
                replicas=tier.replicas,
                batch=tier.batch,
                available=room,
            )
            for tier, load, room in zip(tiers, in_flight, has_room, strict=True)
        )
        context = Context(features, arms, self._weights)
        decision = self.policy.decide(context, self._rng)
        return [arm.name for arm in arms].index(decision.arm), context, decision

    def learn(self, context: Context, decision: Decision, latency_s: float, quality: float) -> None:
        """Tell the policy what came of it."""
        self._learned += 1
        record = Record(
            decision_id=str(self._learned),
            context=context,
            decision=decision,
            served_arm=decision.arm,
            latency_s=latency_s,
            cost_usd=0.0,
            quality=quality,
        )
        self.policy.learn(record)
