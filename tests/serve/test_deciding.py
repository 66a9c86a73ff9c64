from __future__ import annotations

from random import Random

import pytest

from bandit.context import ArmContext, Context, Decision, Limits, Prediction, PromptFeatures
from bandit.errors import NoArmAvailable
from bandit.uniform import UniformPolicy
from serve.catalogue import PolicyChoice
from serve.deciding import Decider, Loaded, build_policy, even, fault_of, features_schema, meets_limits

FEATURES = PromptFeatures("words-1", {}, ())


def context(*available: bool) -> Context:
    arms = tuple(
        ArmContext(f"t{i}@p", f"t{i}", "p", "fake", 0.1, 0.1, available=open_) for i, open_ in enumerate(available)
    )
    return Context(FEATURES, arms)


class Scripted:
    name = "scripted"

    def __init__(self, answer: Decision | Exception) -> None:
        self.answer = answer

    def decide(self, context: Context, rng: Random) -> Decision:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


GOOD = Decision("t0@p", 0.25, {"t0@p": 0.25, "t1@p": 0.75})


def test_decide_returns_what_the_policy_drew_with_its_version() -> None:
    decider = Decider(Scripted(GOOD), UniformPolicy(), Random(1))
    decider.swap(Loaded(Scripted(GOOD), 7, 0.0))
    decided = decider.decide(context(True, True))
    assert (decided.decision, decided.policy, decided.version) == (GOOD, "scripted", 7)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Decision("t0@p", 0.5, {"t0@p": 0.5}), "arm_missing"),
        (Decision("t0@p", 0.5, {"t0@p": 0.5, "t1@p": 0.4}), "bad_sum"),
        (Decision("t0@p", 0.5, {"t0@p": float("nan"), "t1@p": 0.5}), "bad_probability"),
        (Decision("t0@p", 1.5, {"t0@p": 1.5, "t1@p": -0.5}), "bad_probability"),
        (Decision("t0@p", 0.4, {"t0@p": 0.5, "t1@p": 0.5}), "bad_propensity"),
        (Decision("t0@p", 0.0, {"t0@p": 0.0, "t1@p": 1.0}), "bad_propensity"),
        (Decision("nobody", 0.5, {"t0@p": 0.5, "t1@p": 0.5}), "bad_propensity"),
        (Decision("t0@p", 0.5, {"t0@p": 0.5, "t1@p": 0.5, "t9@p": 0.0}), "unknown_arm"),
    ],
)
def test_decide_draws_evenly_when_the_policy_answers_nonsense(answer: Decision, fault: str) -> None:
    assert fault_of(answer, context(True, True)) == fault
    decided = Decider(Scripted(answer), UniformPolicy(), Random(1)).decide(context(True, True))
    assert decided.policy == "fallback:uniform"
    assert decided.decision.probabilities == {"t0@p": 0.5, "t1@p": 0.5}


def test_decide_draws_evenly_when_the_policy_raises() -> None:
    decider = Decider(Scripted(ValueError("no")), UniformPolicy(), Random(1))
    decided = decider.decide(context(True, False, True))
    assert decided.decision.propensity == 0.5
    assert decided.fault == "policy scripted raised ValueError: no"


def test_decide_never_takes_an_unavailable_arm_from_a_policy() -> None:
    assert fault_of(GOOD, context(True, False)) == "unavailable_arm"


def test_decide_without_an_available_arm_raises() -> None:
    with pytest.raises(NoArmAvailable):
        Decider(Scripted(GOOD), UniformPolicy(), Random(1)).decide(context(False, False))


def test_even_draws_available_arms_about_equally_often() -> None:
    rng = Random(3)
    drawn = [even(context(True, False, True), rng).arm for _ in range(2000)]
    assert drawn.count("t1@p") == 0
    assert 900 < drawn.count("t0@p") < 1100


def test_decide_draws_evenly_when_the_fallback_fails_too() -> None:
    decider = Decider(Scripted(ValueError("no")), Scripted(ValueError("neither")), Random(1))
    assert decider.decide(context(True, True)).policy == "fallback:even"


def limited(limits: Limits, *arms: ArmContext) -> Context:
    return Context(FEATURES, arms, limits=limits)


CHEAP = ArmContext("c@p", "c", "p", "fake", 0.1, 2.0)
QUICK = ArmContext("q@p", "q", "p", "fake", 0.9, 0.5, in_flight=1)


@pytest.mark.parametrize(
    ("limits", "arm", "met"),
    [
        (Limits(), QUICK, None),
        (Limits(cost_usd=0.1), CHEAP, True),
        (Limits(cost_usd=0.5), QUICK, False),
        (Limits(latency_s=1.0), QUICK, True),
        (Limits(latency_s=0.9), QUICK, False),  # one request is before this one
        (Limits(latency_s=1.0), CHEAP, False),
        (Limits(latency_s=1.0, cost_usd=0.5), QUICK, False),
    ],
)
def test_meets_limits_of_an_arm_as_the_catalogue_knows_it(limits: Limits, arm: ArmContext, met: bool | None) -> None:
    decision = Decision(arm.name, 1.0, {arm.name: 1.0})
    assert meets_limits(limited(limits, CHEAP, QUICK), decision, arm) is met


def test_meets_limits_believes_the_policy_before_the_catalogue() -> None:
    predicted = Decision("c@p", 1.0, {"c@p": 1.0}, {"c@p": Prediction(0.5, 0.2, 0.1, 0.0)})
    assert meets_limits(limited(Limits(latency_s=0.3), CHEAP), predicted, CHEAP)


def test_even_keeps_to_the_callers_ceilings() -> None:
    decision = even(limited(Limits(cost_usd=0.5), CHEAP, QUICK), Random(1))
    assert decision.probabilities == {"c@p": 1.0, "q@p": 0.0}


def test_try_out_lets_nobody_stand_in() -> None:
    decider = Decider(Scripted(ValueError("no")), UniformPolicy(), Random(1))
    assert decider.try_out(context(True, True), Random(2)) == "policy scripted raised ValueError: no"


def test_stand_in_decides_without_a_fault() -> None:
    decided = Decider(Scripted(GOOD), UniformPolicy(), Random(1)).stand_in(context(True, True))
    assert (decided.policy, decided.fault) == ("fallback:uniform", None)


def test_features_schema_is_the_policys_option() -> None:
    assert (features_schema({}), features_schema({"features_schema": "words-9"})) == ("words-1", "words-9")


def test_build_policy_takes_the_catalogues_floor() -> None:
    policy = build_policy(PolicyChoice(name="fixed", options={"arm": "t0@p"}, floor=0.5))
    assert policy.decide(context(True, True), Random(1)).probabilities == {"t0@p": 0.75, "t1@p": 0.25}
    assert build_policy(PolicyChoice(name="uniform", floor=None)).name == "uniform"
