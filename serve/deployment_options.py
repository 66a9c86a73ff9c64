"""Options of the Serve deployments: what Serve takes for each of them, in code and in its YAML alike.

Whatever may change while requests run is here and nowhere else: `autoscaling_config` and queue limits, which Serve
changes in place, and `user_config`, which a replica takes without a restart. What a replica is built from comes as
arguments of its application, so that changing one restarts that application and no other. `autoscaling_config` is set
from the first day, because adding it later restarts an application.
"""

from __future__ import annotations

from typing import Any

from .catalogue import Catalogue, ScorerEntry, TierEntry

Options = dict[str, Any]

_STOPS_IN_ORDER: Options = {
    "graceful_shutdown_timeout_s": 10.0,  # for a replica to end what it does
    "health_check_period_s": 3.0,  # a dead replica is noticed, and replaced, at the next look
}


def gateway_options(catalogue: Catalogue) -> Options:
    """The gateway: all of the catalogue that it needs comes by `user_config`."""
    limits = catalogue.gateway
    return {
        # It counts and refuses by itself, in OpenAI's shape; Serve's limit answers in plain text: it lies above.
        "max_ongoing_requests": 2 * (limits.max_ongoing_requests + limits.max_queued_requests) + 100,
        "autoscaling_config": limits.scaling.autoscaling_config(),
        "ray_actor_options": limits.resources.ray_actor_options(),
        "user_config": {"catalogue": catalogue.gateway_values()},
        **_STOPS_IN_ORDER,
    }


def learner_options(catalogue: Catalogue) -> Options:
    """The learner. One replica: a second would only wait for the lease."""
    return {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 1},
        "ray_actor_options": catalogue.learning.resources.ray_actor_options(),
        **_STOPS_IN_ORDER,
    }


def scorer_options(entry: ScorerEntry) -> Options:
    """The scorer."""
    return _model_options(entry)


def tier_options(entry: TierEntry) -> Options:
    """One tier."""
    return {
        **_model_options(entry),
        "user_config": {
            "presets": {name: dict(preset.options) for name, preset in entry.presets.items()},
            "max_batch_size": entry.batch.max_size,
            "batch_wait_s": entry.batch.wait_s,
        },
    }


def _model_options(entry: ScorerEntry | TierEntry) -> Options:
    return {
        "max_ongoing_requests": entry.max_ongoing_requests,
        "max_queued_requests": entry.max_queued_requests,
        "autoscaling_config": entry.scaling.autoscaling_config(),
        "ray_actor_options": entry.resources.ray_actor_options(),
        **_STOPS_IN_ORDER,
    }
