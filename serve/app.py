"""Builders of the Serve applications, for `python -m serve up` and for Serve's YAML (import_path: serve.app:gateway).

Each is an application of its own, so that one tier can change without a restart of the others. `autoscaling_config` is
set from the first day, because adding it later restarts an application; behaviour changes by `user_config` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from .admin import admin_of, is_loopback
from .catalogue import Catalogue, TierEntry, load_catalogue
from .gateway_app import GatewayPlace, GatewayReplica
from .journal_file import make_private
from .learner_app import LearnerReplica
from .names import (
    GATEWAY,
    GATEWAY_DEPLOYMENT,
    LEARNER,
    LEARNER_DEPLOYMENT,
    SCORER,
    SCORER_DEPLOYMENT,
    TIER_DEPLOYMENT,
    tier_application,
)
from .scorer_app import ScorerReplica
from .settings import Settings, absolute_journal_url, from_environment, salt_beside
from .tier_app import TierReplica

_STOP_S = 10.0  # for a replica to end what it does
_HEALTH_EVERY_S = 3.0  # a dead replica is noticed, and replaced, at the next look
_CONSTRUCTOR_TRIES = 3


class Arguments(BaseModel):
    """`args` of an application in Serve's YAML. Absent values come from SWITCHBOARD_* variables and the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalogue: Path | None = None
    journal_url: str | None = None
    tier: str | None = None  # of `serve.app:tier`


@dataclass(frozen=True, slots=True)
class Deployable:
    """One application with its route; None: reached by handles only."""

    application: Application
    route_prefix: str | None = None


def gateway(arguments: Arguments) -> Application:
    """The HTTP side."""
    catalogue, settings = _read(arguments)
    return gateway_application(catalogue, settings)


def learner(arguments: Arguments) -> Application:
    """What learns from the journal."""
    catalogue, settings = _read(arguments)
    return learner_application(catalogue, settings)


def scorer(arguments: Arguments) -> Application:
    """What rates images."""
    catalogue, _ = _read(arguments)
    return scorer_application(catalogue)


def tier(arguments: Arguments) -> Application:
    """One tier; `tier` names it."""
    catalogue, _ = _read(arguments)
    names = [entry.name for entry in catalogue.tiers]
    if arguments.tier not in names:
        raise ValueError(f"args.tier is {arguments.tier!r}; the catalogue has: {', '.join(names)}")
    return tier_application_of(catalogue.tier(arguments.tier))


def applications(catalogue: Catalogue, settings: Settings) -> Mapping[str, Deployable]:
    """All of them by name, those that take longest to start first, for a Serve that listens where `settings` say."""
    return {
        **{tier_application(entry.name): Deployable(tier_application_of(entry)) for entry in catalogue.tiers},
        SCORER: Deployable(scorer_application(catalogue)),
        GATEWAY: Deployable(gateway_application(catalogue, settings, open_on_loopback=is_loopback(settings.host)), "/"),
        LEARNER: Deployable(learner_application(catalogue, settings)),
    }


def gateway_application(catalogue: Catalogue, settings: Settings, *, open_on_loopback: bool = False) -> Application:
    """See `gateway`. `open_on_loopback`: Serve is known to listen on a loopback address only.

    From Serve's YAML it is not known: there an operator's routes need the admin key.
    """
    url = _private_journal_url(catalogue, settings)
    limits = catalogue.gateway
    place = GatewayPlace(
        journal_url=url,
        salt=settings.salt.encode() if settings.salt else salt_beside(url),
        keep_prompts=settings.keep_prompts,
        body_limit_bytes=limits.max_body_bytes,
        admin=admin_of(settings.admin_key, open_on_loopback=open_on_loopback),
    )
    # The gateway counts and refuses by itself, in OpenAI's shape; Serve's limit answers in plain text: it lies above.
    above = 2 * (limits.max_ongoing_requests + limits.max_queued_requests) + 100
    return serve.deployment(
        serve.ingress()(GatewayReplica),
        name=GATEWAY_DEPLOYMENT,
        max_ongoing_requests=above,
        autoscaling_config=limits.scaling.autoscaling_config(),
        ray_actor_options=limits.resources.ray_actor_options(),
        user_config={"catalogue": catalogue.to_json()},
        graceful_shutdown_timeout_s=_STOP_S,
        health_check_period_s=_HEALTH_EVERY_S,
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
    ).bind(place)


def learner_application(catalogue: Catalogue, settings: Settings) -> Application:
    """See `learner`. One replica: a second would only wait for the lease."""
    return serve.deployment(
        LearnerReplica,
        name=LEARNER_DEPLOYMENT,
        autoscaling_config={"min_replicas": 1, "max_replicas": 1},
        ray_actor_options=catalogue.learning.resources.ray_actor_options(),
        graceful_shutdown_timeout_s=_STOP_S,
        health_check_period_s=_HEALTH_EVERY_S,
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
    ).bind(catalogue.to_json(), _private_journal_url(catalogue, settings))


def scorer_application(catalogue: Catalogue) -> Application:
    """See `scorer`."""
    entry = catalogue.scorer
    return serve.deployment(
        ScorerReplica,
        name=SCORER_DEPLOYMENT,
        max_ongoing_requests=entry.max_ongoing_requests,
        max_queued_requests=entry.max_queued_requests,
        autoscaling_config=entry.scaling.autoscaling_config(),
        ray_actor_options=entry.resources.ray_actor_options(),
        graceful_shutdown_timeout_s=_STOP_S,
        health_check_period_s=_HEALTH_EVERY_S,
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
    ).bind({"import_path": entry.class_path, **entry.class_options()}, entry.device, entry.threads)


def tier_application_of(entry: TierEntry) -> Application:
    """See `tier`."""
    return serve.deployment(
        TierReplica,
        name=TIER_DEPLOYMENT,
        max_ongoing_requests=entry.max_ongoing_requests,
        max_queued_requests=entry.max_queued_requests,
        autoscaling_config=entry.scaling.autoscaling_config(),
        ray_actor_options=entry.resources.ray_actor_options(),
        user_config={
            "presets": {name: dict(preset.options) for name, preset in entry.presets.items()},
            "max_batch_size": entry.batch.max_size,
            "batch_wait_s": entry.batch.wait_s,
        },
        graceful_shutdown_timeout_s=_STOP_S,
        health_check_period_s=_HEALTH_EVERY_S,
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
    ).bind(entry.build_arguments(), entry.device, entry.threads)


def journal_url(catalogue: Catalogue, settings: Settings) -> str:
    """The settings' journal before the catalogue's; a SQLite path made absolute."""
    return absolute_journal_url(settings.journal_url or catalogue.journal.url)


def _private_journal_url(catalogue: Catalogue, settings: Settings) -> str:
    url = journal_url(catalogue, settings)
    make_private(url)
    return url


def _read(arguments: Arguments) -> tuple[Catalogue, Settings]:
    settings = from_environment(catalogue=arguments.catalogue, journal_url=arguments.journal_url)
    return load_catalogue(settings.catalogue), settings
