"""ParetoBandit 0.1.1 as its own demo uses it: LinUCB with forgetting on 25 components, budget pacer, shipped priors.

On its own three models it starts from its shipped priors and list prices; otherwise from nothing, with its tuned
options for that case. An arm without a prior is drawn 20 times first, as its paper's experiment on newcomers does: its
own bonus is too small to try an arm of which it knows nothing. It is fed our vectors through its hook for a custom
encoder; the projection is its own, which fits MiniLM's 384 numbers; other vectors go in as they are.

`make` keeps its default static penalty on prices (0.3); `make_without_penalty` sets it to zero, as its paper's
experiments on budgets do, so that under a ceiling only the pacer speaks. Where a trial charges cost or seconds
by weight, which it does not know, it learns the utility itself, moved into [0, 1], without priors or penalty.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from bandit.context import ArmContext, Context, Decision, Record
from bandit.utility import utility

from .entrants import Start
from .peers import certain, check_start, library
from .table import Floats

PROMPT = "a prompt"  # it asks its encoder for the vector of a text; ours answers with the one at hand
MINILM = 384
FORCED_DRAWS = 20  # BURNIN_PULLS in its repository, experiments/04_model_onboarding/run_model_onboarding.py
TOKENS = 1000  # of an answer, where a price per token has to be made up from a price per answer


def make(start: Start) -> ParetoBanditRouter:
    """Raises UnknownPolicy."""
    return ParetoBanditRouter(start, penalty=0.3)


def make_without_penalty(start: Start) -> ParetoBanditRouter:
    """Raises UnknownPolicy."""
    return ParetoBanditRouter(start, penalty=0.0)


class ParetoBanditRouter:
    """`BanditRouter.route` and `process_feedback`, told true costs, with arms registered as they come."""

    def __init__(self, start: Start, penalty: float) -> None:
        check_start(start, "paretobandit", paces=True)
        self._package = library("pareto_bandit", "paretobandit")
        # It warns on every ceiling that its pacer relaxes, thousands of times.
        logging.getLogger("pareto_bandit").setLevel(logging.ERROR)
        self._start, self._penalty = start, penalty
        self._vector: Sequence[float] = ()
        self._router: Any = None
        self._log: Any = None
        self._priced: dict[str, float] = {}
        self._forced: dict[str, int] = {}
        self._span = 0.0

    def decide(self, context: Context, rng: Random) -> Decision:
        self._follow(context)
        self._vector = context.features.vector
        waiting = [name for name, draws in self._forced.items() if draws]
        if waiting:
            arm, self._log = waiting[0], None
            self._forced[arm] -= 1
        else:
            arm, self._log = self._router.route(PROMPT)
        return Decision(arm, 1.0, certain(context, arm))

    def learn(self, record: Record) -> None:
        weights = record.context.weights
        worth = utility(weights, record.quality, record.latency_s, record.cost_usd)
        reward = min(max((worth + self._span) / (weights.quality + self._span), 0.0), 1.0)
        if self._log is None:
            self._router.update(record.served_arm, PROMPT, reward)
            if self._router.budget_pacer is not None:
                self._router.budget_pacer.observe(record.cost_usd)
        else:
            self._log.cost_usd = record.cost_usd
            self._router.process_feedback(self._log.request_id, reward=reward)

    def _encode(self, _: str) -> Floats:
        return np.asarray(self._vector, dtype=np.float64)

    def _follow(self, context: Context) -> None:
        """Register arms that came, forget those that went, pass on new prices."""
        weights, arms = context.weights, {arm.name: arm for arm in context.arms}
        dearest = max(weights.latency_per_s * a.service_s + weights.cost_per_usd * a.price_usd for a in context.arms)
        self._span = max(self._span, dearest)
        if self._router is None:
            with warnings.catch_warnings():
                # Its projection was pickled by an older scikit-learn; what is read of it, two arrays, is the same.
                warnings.simplefilter("ignore")
                self._router = self._create(context)
        else:
            for name in arms.keys() - self._priced.keys():
                self._router.register_model(name, speed="balanced", **_prices(arms[name]))
                self._forced[name] = FORCED_DRAWS
            for name in self._priced.keys() - arms.keys():
                self._router.bandit.delete_arm(name)
                self._forced.pop(name, None)
                del self._router.registry[name]
            for name in arms.keys() & self._priced.keys():
                if arms[name].price_usd != self._priced[name]:
                    times = arms[name].price_usd / self._priced[name]
                    known = self._router.registry[name]
                    self._router.update_model_pricing(
                        name,
                        input_cost_per_m=known["input_cost_per_m"] * times,
                        output_cost_per_m=known["output_cost_per_m"] * times,
                    )
        self._priced = {name: arm.price_usd for name, arm in arms.items()}

    def _create(self, context: Context) -> Any:
        config = library("pareto_bandit.config", "paretobandit")
        service = library("pareto_bandit.feature_service", "paretobandit").FeatureService
        shipped = _shipped(config.DEFAULT_MODEL_REGISTRY_PATH)
        own = all(arm.name in shipped for arm in context.arms)
        width = self._start.first_vectors.shape[1]
        own_projection = {"pca_path": config.DEFAULT_PCA_PATH} if width == MINILM else {}
        features = service(custom_encoder=self._encode, embedding_dim=width, **own_projection)
        charged = context.weights.cost_per_usd or context.weights.latency_per_s
        primed = own and width == MINILM and not charged
        tuned = config.BEST_K3_HPARAMS if primed else config.BEST_K3_TABULA_RASA_HPARAMS
        if not primed:
            self._forced = {arm.name: FORCED_DRAWS for arm in context.arms}
        ceiling_usd = self._start.trial.ceiling_usd
        pacer = None
        if ceiling_usd is not None:
            pacing = library("pareto_bandit.budget_pacer", "paretobandit")
            pacer = pacing.BudgetPacer(target_avg_spend_usd=ceiling_usd)
        return self._package.BanditRouter.create(
            model_registry={arm.name: shipped[arm.name] if own else _prices(arm) for arm in context.arms},
            feature_service=features,
            priors="warmup" if primed else "none",
            prior_n_effective=tuned["prior_n_effective"],
            alpha=tuned["alpha"],
            forgetting_factor=tuned["forgetting_factor"],
            cost_penalty=0.0 if charged else self._penalty,
            budget_pacer=pacer,
            bandit_seed=self._start.seed,
        )


def _prices(arm: ArmContext) -> dict[str, float]:
    per_million = arm.price_usd / TOKENS * 1e6
    return {"input_cost_per_m": per_million, "output_cost_per_m": per_million}


def _shipped(path: Path) -> dict[str, dict[str, Any]]:
    with path.open(encoding="utf-8") as text:
        return {model["model_id"]: model for model in json.load(text)["models"]}
