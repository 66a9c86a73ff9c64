"""The Serve applications of a catalogue, for `python -m serve up`; `builders.py` makes the same from Serve's YAML.

Each is an application of its own, so that one tier can change without a restart of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ray import serve
from ray.serve import Application

from .admin import admin_of, is_loopback
from .catalogue import Catalogue, Learning, ModelSource, PolicyChoice
from .deployment_options import Options, gateway_options, learner_options, scorer_options, tier_options
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
from .settings import Settings, absolute_journal_url, salt_beside
from .tier_app import TierReplica

_CONSTRUCTOR_TRIES = 3


@dataclass(frozen=True, slots=True)
class Deployable:
    """One application with its route; None: reached by handles only."""

    application: Application
    route_prefix: str | None = None


def applications(catalogue: Catalogue, settings: Settings) -> Mapping[str, Deployable]:
    """All of them by name, those that take longest to start first, for a Serve that listens where `settings` say."""
    url = journal_url(catalogue, settings)
    place = gateway_place(url, settings, catalogue.gateway.max_body_bytes, open_on_loopback=is_loopback(settings.host))
    learner = learner_application(catalogue.policy, catalogue.learning, url, learner_options(catalogue))
    return {
        **{
            tier_application(entry.name): Deployable(tier_application_of(entry, tier_options(entry)))
            for entry in catalogue.tiers
        },
        SCORER: Deployable(scorer_application(catalogue.scorer, scorer_options(catalogue.scorer))),
        GATEWAY: Deployable(gateway_application(place, gateway_options(catalogue)), "/"),
        LEARNER: Deployable(learner),
    }


def gateway_place(
    journal_url: str, settings: Settings, max_body_bytes: int, *, open_on_loopback: bool = False
) -> GatewayPlace:
    """What a gateway is built from. `open_on_loopback`: Serve is known to listen on a loopback address only.

    From Serve's YAML it is not known: there an operator's routes need the admin key.
    """
    make_private(journal_url)
    return GatewayPlace(
        journal_url=journal_url,
        salt=settings.salt.encode() if settings.salt else salt_beside(journal_url),
        keep_prompts=settings.keep_prompts,
        body_limit_bytes=max_body_bytes,
        admin=admin_of(settings.admin_key, open_on_loopback=open_on_loopback),
    )


def gateway_application(place: GatewayPlace, options: Options) -> Application:
    """The HTTP side."""
    return serve.deployment(
        serve.ingress()(GatewayReplica),
        name=GATEWAY_DEPLOYMENT,
        max_constructor_retry_count=_CONSTRUCTOR_TRIES,
        **options,
    ).bind(place)


def learner_application(policy: PolicyChoice, learning: Learning, journal_url: str, options: Options) -> Application:
    """What learns from the journal."""
    make_private(journal_url)
    return serve.deployment(
        LearnerReplica, name=LEARNER_DEPLOYMENT, max_constructor_retry_count=_CONSTRUCTOR_TRIES, **options
    ).bind(policy, learning, journal_url)


def scorer_application(source: ModelSource, options: Options) -> Application:
    """What rates images."""
    return serve.deployment(
        ScorerReplica, name=SCORER_DEPLOYMENT, max_constructor_retry_count=_CONSTRUCTOR_TRIES, **options
    ).bind(source.load_arguments(), source.device, source.threads)


def tier_application_of(source: ModelSource, options: Options) -> Application:
    """One tier. Its presets come by the options' `user_config`."""
    return serve.deployment(
        TierReplica, name=TIER_DEPLOYMENT, max_constructor_retry_count=_CONSTRUCTOR_TRIES, **options
    ).bind(source.load_arguments(), source.device, source.threads)


def journal_url(catalogue: Catalogue, settings: Settings) -> str:
    """The settings' journal before the catalogue's; a SQLite path made absolute."""
    return absolute_journal_url(settings.journal_url or catalogue.journal.url)
