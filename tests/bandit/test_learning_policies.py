"""What every policy that learns must keep, whatever its model: one contract, run over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import inf, nan
from random import Random
from statistics import mean

import pytest

from bandit.context import ArmContext, Context, Decision, PromptFeatures, Record, Weights
from bandit.errors import BadContext, BadRecord, BadState, NoArmAvailable
from bandit.features import extract
from bandit.policies import build
from bandit.policy import Policy
from bandit.simulation import ARMS, CLASSES, MANY_CALLERS, MORE_ARMS, prompt, run

SMALL = {"bits": 12}  # loads and saves in a millisecond
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "factored": ("factored", SMALL),
    "factored paced": ("factored", {**SMALL, "budget_usd": 0.012}),
    "factored ridge": ("factored", {"quality_model": "ridge", "buckets": 16}),
    "vowpal": ("vowpal", SMALL),
    **{f"vowpal {one}": ("vowpal", {**SMALL, "exploration": one}) for one in ("epsilon", "softmax", "bag")},
    "vowpal named": ("vowpal", {**SMALL, "arm_features": "named"}),
    "epsilon_greedy": ("epsilon_greedy", {}),
    "moving_average": ("moving_average", {}),
    "linucb": ("linucb", {"buckets": 16}),
    "thompson": ("thompson", {"buckets": 16}),
}

pytestmark = pytest.mark.parametrize("name", CASES)


def make(name: str, **options: object) -> Policy:
    """A fresh policy of one case. Without a floor: with the least that a bag of models may have."""
    policy, small = CASES[name]
    if options.get("floor") == 0 and small.get("exploration") == "bag":
        options["floor"] = 1e-9
    return build(policy, {**small, **options})


def records(count: int, seed: int = 1) -> list[Record]:
    """Records of drawn arms under load, some served by a fallback, some rated, some with an arm away."""
    rng = Random(seed)
    made = []
    for number in range(count):
        arms = tuple(
            replace(arm, in_flight=rng.randrange(4), available=rng.random() < 0.9 or arm is MORE_ARMS[0])
            for arm in MORE_ARMS
        )
        context = Context(extract(prompt(rng.choice(CLASSES), rng)), arms, rng.choice(MANY_CALLERS))
        drawn = rng.choice([arm for arm in arms if arm.available])
        served = rng.choice(arms) if rng.random() < 0.1 else drawn
        made.append(
            Record(
                decision_id=str(number),
                context=context,
                decision=Decision(drawn.name, rng.uniform(0.05, 1.0), {}),
                served_arm=served.name,
                latency_s=rng.uniform(0.01, 3.0),
                cost_usd=served.price_usd,
                quality=rng.random(),
                quality_is_default=rng.random() < 0.1,
                rating=rng.choice([None, 0.0, 1.0]),
                images=rng.choice([1, 1, 1, 4]),
                late=((rng.choice(arms).name, rng.uniform(0.01, 3.0)),) if rng.random() < 0.1 else (),
            )
        )
        if rng.random() < 0.2:
            earlier = rng.choice(made)
            made.append(replace(earlier, rating=rng.random(), amends=True))
    return made[:count]


def fold(policy: Policy, folded: list[Record]) -> Policy:
    for record in folded:
        policy.learn(record)
    return policy


CONTEXT = Context(extract("two cats above a red car"), MORE_ARMS)
RECORD = Record("1", CONTEXT, Decision("gan@one", 0.5, {}), "gan@one", 0.02, 0.001, 0.9)


@cache
def whole_state(name: str) -> bytes:
    return fold(make(name), records(200)).state()


@pytest.mark.parametrize("cut", [0, 1, 57, 199, 200])
def test_state_is_the_same_wherever_the_fold_was_cut(name: str, cut: int) -> None:
    """A restart of the learner (newest snapshot and the tail) must end in the bytes of a run that never stopped."""
    folded, whole = records(200), whole_state(name)
    first = fold(make(name), folded[:cut])
    resumed = make(name)
    resumed.restore(first.state())
    assert fold(resumed, folded[cut:]).state() == whole
    assert fold(first, folded[cut:]).state() == whole  # to be asked for its state disturbs nothing either


def test_state_is_the_same_at_the_full_table_size(name: str) -> None:
    policy, small = CASES[name]
    options = {option: value for option, value in small.items() if option not in ("bits", "buckets")}
    folded = records(120)
    whole = fold(build(policy, options), folded).state()
    resumed = build(policy, options)
    resumed.restore(fold(build(policy, options), folded[:60]).state())
    assert fold(resumed, folded[60:]).state() == whole


def test_state_does_not_depend_on_what_was_asked_in_between(name: str) -> None:
    asked, silent = make(name), make(name)
    rng = Random(0)
    for record in records(60):
        asked.decide(record.context, rng)
        asked.learn(record)
        asked.decide(CONTEXT, rng)
        silent.learn(record)
    assert asked.state() == silent.state()


def test_restored_policy_decides_like_the_one_that_learned(name: str) -> None:
    learned = fold(make(name), records(200))
    restored = make(name)
    restored.restore(learned.state())
    for record in records(50, seed=2):
        assert restored.decide(record.context, Random(7)) == learned.decide(record.context, Random(7))


def test_options_that_shape_only_decisions_take_the_same_state(name: str) -> None:
    learned = fold(make(name), records(20))
    other = make(name, floor=0.5)
    other.restore(learned.state())
    assert other.state() == learned.state()


def test_decide_gives_the_same_answer_to_the_same_seed(name: str) -> None:
    policy = fold(make(name), records(60))
    for record in records(20, seed=9):
        assert policy.decide(record.context, Random(4)) == policy.decide(record.context, Random(4))


def test_every_policy_that_learns_earns_more_than_the_uniform_choice(name: str) -> None:
    later = [one for seed in range(2) for one in run(make(name), 600, seed)[300:]]
    assert mean(one.expected for one in later) > mean(one.uniform for one in later) + 0.01


def damaged(state: bytes) -> list[bytes]:
    flips = [bytes([*state[:at], state[at] ^ 0x10, *state[at + 1 :]]) for at in range(0, len(state), len(state) // 60)]
    cuts = [state[:length] for length in (0, 1, 8, 15, 16, 40, len(state) // 2, len(state) - 1)]
    huge = state[:8] + (2**62).to_bytes(8, "big") + state[16:]
    nested = state[:8] + (200_000).to_bytes(8, "big") + b"[" * 200_000
    return [*flips, *cuts, state + b"\0", huge, nested, b"garbage" * 100, b"\x80\x04N."]


def test_restore_refuses_damage_and_stays_as_it_was(name: str) -> None:
    policy = fold(make(name), records(30))
    before = policy.state()
    for bad in damaged(fold(make(name), records(40, seed=3)).state()):
        with pytest.raises(BadState):
            policy.restore(bad)
    assert policy.state() == before


def test_restore_refuses_other_options_and_other_policies(name: str) -> None:
    policy = make(name)
    changes: tuple[dict[str, object], ...] = ({"rating_share": 0.4}, {"latency_share": 0.1})
    if "bits" in CASES[name][1]:
        changes += ({"bits": 13}, {"learning_rate": 0.2})
    for other in (*(make(name, **change) for change in changes), build("uniform"), build("round_robin")):
        with pytest.raises(BadState):
            policy.restore(other.state())


Change = Callable[[Record], Record]

BAD_RECORDS: dict[str, Change] = {
    **{f"quality {bad}": lambda r, bad=bad: replace(r, quality=bad) for bad in (nan, inf, -inf, -0.1, 1.1, 1e308)},
    **{f"rating {bad}": lambda r, bad=bad: replace(r, rating=bad) for bad in (nan, inf, 2.0)},
    **{f"latency {bad}": lambda r, bad=bad: replace(r, latency_s=bad) for bad in (nan, inf, -1.0, 1e308)},
    **{f"cost {bad}": lambda r, bad=bad: replace(r, cost_usd=bad) for bad in (nan, inf, -1.0, 1e308)},
    **{
        f"propensity {bad}": lambda r, bad=bad: replace(r, decision=replace(r.decision, propensity=bad))
        for bad in (nan, inf, -inf)
    },
    **{f"late {bad}": lambda r, bad=bad: replace(r, late=(("flow@full", bad),)) for bad in (nan, inf, -1.0)},
    "no images": lambda r: replace(r, images=0),
    "batch below zero": lambda r: replace(r, context=replace(r.context, arms=(replace(MORE_ARMS[0], batch=-1),))),
    "amends without a rating": lambda r: replace(r, amends=True),
    "unknown served arm": lambda r: replace(r, served_arm="flow@gone"),
    "other schema": lambda r: with_features(r, PromptFeatures("words-0", {}, ())),
    "infinite feature": lambda r: with_features(r, PromptFeatures("words-1", {"length": inf}, ())),
    "huge feature": lambda r: with_features(r, PromptFeatures("words-1", {"length": 1e30}, ())),
    "label as a token": lambda r: with_features(r, PromptFeatures("words-1", {}, ("|A 0:-100:0.01",))),
    "newline as a name": lambda r: with_features(r, PromptFeatures("words-1", {"x\n0:1:1": 1.0}, ())),
    "nan weight": lambda r: replace(r, context=replace(r.context, weights=Weights(nan))),
    "arm twice": lambda r: replace(r, context=replace(r.context, arms=(*MORE_ARMS, MORE_ARMS[0]))),
    "nan price": lambda r: replace(r, context=replace(r.context, arms=(replace(MORE_ARMS[0], price_usd=nan),))),
    "infinite service": lambda r: replace(r, context=replace(r.context, arms=(replace(MORE_ARMS[0], service_s=inf),))),
}


def with_features(record: Record, features: PromptFeatures) -> Record:
    return replace(record, context=replace(record.context, features=features))


@cache
def ten_learned(name: str) -> tuple[Policy, bytes]:
    """One for all bad records: each must leave it as it was."""
    policy = fold(make(name), records(10))
    return policy, policy.state()


@pytest.mark.parametrize("what", BAD_RECORDS)
def test_learn_refuses_a_bad_record_and_stays_as_it_was(name: str, what: str) -> None:
    policy, before = ten_learned(name)
    with pytest.raises(BadRecord, match="decision 1"):
        policy.learn(BAD_RECORDS[what](RECORD))
    assert policy.state() == before


def test_decide_refuses_names_that_features_never_makes(name: str) -> None:
    context = replace(CONTEXT, features=PromptFeatures("words-1", {"length": 0.5}, ("a|b",)))
    with pytest.raises(BadContext):
        make(name).decide(context, Random(0))


def test_decide_gives_unavailable_arms_no_probability(name: str) -> None:
    policy = fold(make(name), records(100))
    for away in range(len(MORE_ARMS)):
        arms = tuple(replace(arm, available=index != away) for index, arm in enumerate(MORE_ARMS))
        decision = policy.decide(replace(CONTEXT, arms=arms), Random(0))
        assert decision.probabilities[arms[away].name] == 0
        assert sum(decision.probabilities.values()) == pytest.approx(1)
        assert decision.arm != arms[away].name


def test_decide_treats_an_unavailable_arm_like_an_absent_one(name: str) -> None:
    policy = make(name, floor=0.0)
    for _ in range(200):
        policy.learn(replace(RECORD, served_arm="flow@full", decision=Decision("flow@full", 0.5, {}), quality=1.0))
    for away in range(len(MORE_ARMS)):
        arms = tuple(replace(arm, available=index != away) for index, arm in enumerate(MORE_ARMS))
        absent = tuple(arm for arm in arms if arm.available)
        masked = policy.decide(replace(CONTEXT, arms=arms), Random(0)).probabilities
        assert {arm.name: masked[arm.name] for arm in absent} == pytest.approx(
            policy.decide(replace(CONTEXT, arms=absent), Random(0)).probabilities
        )


def test_decide_is_sure_where_one_arm_is_left(name: str) -> None:
    arms = (MORE_ARMS[0], *(replace(arm, available=False) for arm in MORE_ARMS[1:]))
    decision = make(name).decide(replace(CONTEXT, arms=arms), Random(0))
    assert (decision.arm, decision.propensity) == ("gan@one", 1.0)


@pytest.mark.parametrize("arms", [(), tuple(replace(arm, available=False) for arm in ARMS)])
def test_decide_raises_where_no_arm_is_left(name: str, arms: tuple[ArmContext, ...]) -> None:
    with pytest.raises(NoArmAvailable):
        make(name).decide(replace(CONTEXT, arms=arms), Random(0))


def test_decide_keeps_the_floor_and_logs_the_mixed_propensity(name: str) -> None:
    if name.startswith("factored"):
        pytest.skip("spreads its floor by what exploring costs, see test_factored.py and test_pacing.py")
    policy = fold(make(name, floor=0.2), records(300))
    for record in records(30, seed=5):
        decision = policy.decide(record.context, Random(1))
        shown = [arm.name for arm in record.context.arms if arm.available]
        assert min(decision.probabilities[arm] for arm in shown) >= 0.2 / len(shown) - 1e-12
        assert decision.propensity == decision.probabilities[decision.arm]


def test_decide_predicts_every_part_of_utility_per_arm(name: str) -> None:
    weights = Weights(2.0, 0.5, 3.0)
    decision = fold(make(name), records(50)).decide(replace(CONTEXT, weights=weights), Random(0))
    assert set(decision.predictions) == {arm.name for arm in MORE_ARMS}
    for arm in MORE_ARMS:
        one = decision.predictions[arm.name]
        assert one.quality is not None
        assert 0 <= one.quality <= 1
        assert one.cost_usd == pytest.approx(arm.price_usd)
        assert one.utility == pytest.approx(2 * one.quality - 0.5 * one.latency_s - 3 * one.cost_usd)


@pytest.mark.parametrize("change", ["fallback", "propensity zero", "propensity above one"])
def test_a_record_without_a_true_propensity_still_teaches_quality(name: str, change: str) -> None:
    served = replace(RECORD, quality=1.0)
    changed = {
        "fallback": replace(served, served_arm="flow@full"),
        "propensity zero": replace(served, decision=replace(served.decision, propensity=0.0)),
        "propensity above one": replace(served, decision=replace(served.decision, propensity=1.5)),
    }[change]
    policy = make(name)
    before = policy.decide(CONTEXT, Random(0))
    fold(policy, [changed] * 20)
    after = policy.decide(CONTEXT, Random(0))
    assert after.predictions[changed.served_arm].quality > before.predictions[changed.served_arm].quality + 0.1
    if name.startswith("vowpal"):
        assert after.probabilities == before.probabilities


@pytest.mark.parametrize("rating", [0.0, 1.0])
def test_an_amending_record_moves_quality_towards_the_vote_and_leaves_latency(name: str, rating: float) -> None:
    policy = make(name)
    fold(policy, [replace(RECORD, quality=0.5)] * 20)
    before = policy.decide(CONTEXT, Random(0)).predictions["gan@one"]
    fold(policy, [replace(RECORD, quality=0.5, rating=rating, latency_s=9.0, amends=True)] * 5)
    after = policy.decide(CONTEXT, Random(0)).predictions["gan@one"]
    assert (after.quality - before.quality) * (rating - 0.5) > 0.01
    assert after.latency_s == before.latency_s


def test_bad_votes_make_their_arm_less_probable(name: str) -> None:
    policy = make(name, floor=0.0)
    drawn = Decision("gan@one", 0.25, {})
    others = [
        replace(RECORD, quality=0.5, served_arm=arm.name, decision=replace(drawn, arm=arm.name)) for arm in MORE_ARMS
    ]
    fold(policy, [replace(RECORD, quality=0.6), *others] * 10)
    before = policy.decide(CONTEXT, Random(0)).probabilities
    fold(policy, [replace(RECORD, quality=0.6, rating=0.0, amends=True)] * 20)
    assert policy.decide(CONTEXT, Random(0)).probabilities["gan@one"] < before["gan@one"] - 0.05


def test_a_default_quality_teaches_latency_and_no_quality(name: str) -> None:
    policy = make(name, floor=0.0)
    fold(policy, [replace(RECORD, quality=0.9)] * 30)
    before = policy.decide(CONTEXT, Random(0))
    fold(policy, [replace(RECORD, quality=0.0, quality_is_default=True, latency_s=0.06)] * 30)
    after = policy.decide(CONTEXT, Random(0))
    assert after.predictions["gan@one"].quality == before.predictions["gan@one"].quality
    assert after.predictions["gan@one"].latency_s > 0.04
    if name.startswith("vowpal"):  # and its squarecb counts no further round
        same = make(name, floor=0.0)
        fold(same, [replace(RECORD, quality=0.9)] * 30)
        assert all(policy._members[one].serialize() == same._members[one].serialize() for one in policy._members)


@pytest.mark.parametrize("amends", [True, False])
def test_a_rating_beside_a_default_quality_is_learned_alone(name: str, amends: bool) -> None:
    rated = replace(RECORD, rating=0.9, amends=amends)
    twin, policy = make(name), make(name)
    fold(policy, [replace(rated, quality=0.1, quality_is_default=True)] * 5)
    fold(twin, [replace(rated, quality=0.9)] * 5)
    quality = policy.decide(CONTEXT, Random(0)).predictions["gan@one"].quality
    assert quality == twin.decide(CONTEXT, Random(0)).predictions["gan@one"].quality > 0.5


def test_latency_of_several_images_is_not_learned(name: str) -> None:
    policy = make(name)
    before = policy.decide(CONTEXT, Random(0)).predictions["gan@one"]
    fold(policy, [replace(RECORD, images=4, latency_s=9.0, late=(("flow@full", 9.0),))] * 5)
    after = policy.decide(CONTEXT, Random(0)).predictions
    assert after["gan@one"].latency_s == before.latency_s
    assert after["flow@full"].latency_s == 0.5
    assert after["gan@one"].quality > before.quality


def test_an_arm_that_was_given_up_as_late_is_expected_to_take_longer(name: str) -> None:
    policy = make(name)
    late = (("flow@full", 2.0), ("diffusion@20", 0.01), ("gone@one", 5.0))
    fold(policy, [replace(RECORD, late=late)] * 5)
    after = policy.decide(CONTEXT, Random(0)).predictions
    assert 1.0 < after["flow@full"].latency_s <= 2.0
    assert after["diffusion@20"].latency_s == 0.2, "given up sooner than expected, so it says nothing"
    fold(policy, [replace(RECORD, late=(("flow@full", 9.0),), rating=1.0, amends=True)])
    assert policy.decide(CONTEXT, Random(0)).predictions["flow@full"].latency_s == after["flow@full"].latency_s


def test_measured_latency_replaces_the_catalogues_estimate(name: str) -> None:
    policy = make(name)
    fold(policy, [replace(RECORD, latency_s=0.06)] * 40)
    free = policy.decide(CONTEXT, Random(0)).predictions
    busy = tuple(replace(arm, in_flight=3, replicas=2) for arm in MORE_ARMS)
    loaded = policy.decide(replace(CONTEXT, arms=busy), Random(0)).predictions
    assert free["gan@one"].latency_s == pytest.approx(0.06, rel=0.05)
    assert loaded["gan@one"].latency_s == pytest.approx(2 * free["gan@one"].latency_s)
    assert free["flow@full"].latency_s == 0.5


def test_arm_names_of_any_letters_are_told_apart(name: str) -> None:
    """An operator's names reach VW's text format too: they must neither break it nor run together."""
    names = ("x|p 0:1", "x_p 0:1", "X|p 0:1", "größe:\n1")
    arms = tuple(ArmContext(one, one, one, one, 0.001, 0.1) for one in names)
    policy = make(name)
    context = replace(CONTEXT, arms=arms)
    for _ in range(30):
        for arm in names:
            quality = 1.0 if arm == names[0] else 0.0
            policy.learn(Record("1", context, Decision(arm, 0.25, {}), arm, 0.1, 0.001, quality))
    decision = policy.decide(context, Random(0))
    qualities = [decision.predictions[arm].quality for arm in names]
    assert qualities[0] > 0.8
    assert max(qualities[1:]) < 0.2
