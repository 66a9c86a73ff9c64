"""Made-up traffic with a known truth, to drive any policy without tiers: a day of requests in a second.

Prompts of five classes, arms whose true quality per class is a table, callers whose weights differ. What a policy sees
is a text and noisy outcomes; the table is kept for the reckoning: the oracle, the best fixed arm, the uniform choice.
The numbers resemble small trained tiers; they are nobody's measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from random import Random

from .context import ArmContext, Context, Record, Weights
from .features import extract
from .policy import Policy
from .utility import utility

CLASSES = ("single", "background", "count", "two", "relation")

ARMS = (
    ArmContext("gan@one", "gan", "one", "gan", price_usd=0.001, service_s=0.02),
    ArmContext("diffusion@20", "diffusion", "20", "diffusion", price_usd=0.008, service_s=0.2),
    ArmContext("flow@full", "flow", "full", "flow", price_usd=0.025, service_s=0.5),
)
MORE_ARMS = (*ARMS, ArmContext("diffusion@8", "diffusion", "8", "diffusion", price_usd=0.004, service_s=0.1))

QUALITY: Mapping[str, tuple[float, ...]] = {  # true mean quality, in the order of CLASSES
    "gan@one": (0.80, 0.75, 0.10, 0.05, 0.05),
    "diffusion@8": (0.70, 0.65, 0.35, 0.20, 0.20),
    "diffusion@20": (0.80, 0.75, 0.50, 0.30, 0.30),
    "flow@full": (0.85, 0.80, 0.60, 0.55, 0.55),
}

ONE_CALLER = (Weights(quality=1.0, latency_per_s=0.1, cost_per_usd=6.0),)
MANY_CALLERS = (*ONE_CALLER, Weights(1.0, latency_per_s=0.4, cost_per_usd=15.0), Weights(1.0, 0.02, 1.0))

_THINGS = (
    "cat dog car apple tree house boat fish bird cup ball hat star flower pizza horse robot guitar bus clock banana "
    "shoe book chair lamp key leaf cake rocket umbrella drum camera bike crab whale owl fox bear lion frog"
)
_COLOURS = ("red", "blue", "green", "yellow", "orange", "purple", "white", "black", "gray")
_RELATIONS = ("to the left of", "to the right of", "above", "below")


@dataclass(frozen=True, slots=True)
class Round:
    """One request. Worths are expected utilities by the table, so that luck of the draw is not counted as skill."""

    kind: str  # one of CLASSES
    expected: float  # of the policy: over its probabilities
    oracle: float  # of the best arm for this request
    uniform: float
    arms: Mapping[str, float]  # of every arm, for the best fixed one in hindsight
    probabilities: Mapping[str, float]


def prompt(kind: str, rng: Random) -> str:
    """A prompt of one class of CLASSES."""
    one, other = rng.sample(_THINGS.split(), 2)
    if kind == "single":
        return rng.choice(["a {}", "one {}", "a picture of a {}"]).format(one)
    if kind == "background":
        return f"a {one} {rng.choice(['on', 'with'])} a {rng.choice(_COLOURS)} background"
    if kind == "count":
        return f"{rng.choice(['two', 'three', 'four'])} {one}s"
    if kind == "two":
        return f"a {one} and a {other}"
    return f"a {one} {rng.choice(_RELATIONS)} a {other}"


def run(
    policy: Policy,
    rounds: int,
    seed: int,
    arms: Sequence[ArmContext] = ARMS,
    callers: Sequence[Weights] = ONE_CALLER,
) -> list[Round]:
    """Let the policy decide and learn, one request at a time, from outcomes that are right or wrong like images are."""
    rng = Random(seed)
    answer: list[Round] = []
    for number in range(rounds):
        index = rng.randrange(len(CLASSES))
        live = tuple(replace(arm, in_flight=rng.choice((0, 0, 0, 1, 2))) for arm in arms)
        context = Context(extract(prompt(CLASSES[index], rng)), live, rng.choice(callers))
        worth = {
            arm.name: utility(context.weights, QUALITY[arm.name][index], _latency_s(arm), arm.price_usd) for arm in live
        }
        decision = policy.decide(context, rng)
        served = next(arm for arm in live if arm.name == decision.arm)
        drawn_right = rng.random() < (QUALITY[served.name][index] - 0.05) / 0.9
        policy.learn(
            Record(
                decision_id=str(number),
                context=context,
                decision=decision,
                served_arm=served.name,
                latency_s=_latency_s(served) * rng.uniform(0.8, 1.2),
                cost_usd=served.price_usd,
                quality=0.05 + 0.9 * drawn_right + rng.uniform(-0.05, 0.05),  # mean: the table's
            )
        )
        answer.append(
            Round(
                kind=CLASSES[index],
                expected=sum(decision.probabilities[name] * value for name, value in worth.items()),
                oracle=max(worth.values()),
                uniform=sum(worth.values()) / len(worth),
                arms=worth,
                probabilities=decision.probabilities,
            )
        )
    return answer


def best_fixed(rounds: Sequence[Round]) -> float:
    """Mean utility of the one arm that would have been best over these rounds, known in hindsight."""
    return max(sum(one.arms[name] for one in rounds) for name in rounds[0].arms) / len(rounds)


def _latency_s(arm: ArmContext) -> float:
    return arm.service_s * ceil((1 + arm.in_flight) / (arm.replicas * arm.batch))
