"""A catalogue's applications as values, for a manifest: the same that `app.py` makes of objects."""

from __future__ import annotations

from cluster.manifest.serve_config import Application

from .catalogue import Catalogue
from .deployment_options import gateway_options, learner_options, scorer_options, tier_options
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


def serve_applications(catalogue: Catalogue, journal_url: str | None) -> tuple[Application, ...]:
    """Those that take longest to start first. `journal_url` None: SWITCHBOARD_JOURNAL_URL of the nodes.

    The URL must hold no password: whoever reads the manifest would read it too.
    """
    journal = {} if journal_url is None else {"journal_url": journal_url}
    return (
        *(
            Application(
                name=tier_application(tier.name),
                import_path="serve.builders:tier",
                args=tier.source_values(),
                deployment=TIER_DEPLOYMENT,
                options=tier_options(tier),
            )
            for tier in catalogue.tiers
        ),
        Application(
            name=SCORER,
            import_path="serve.builders:scorer",
            args=catalogue.scorer.source_values(),
            deployment=SCORER_DEPLOYMENT,
            options=scorer_options(catalogue.scorer),
        ),
        Application(
            name=GATEWAY,
            import_path="serve.builders:gateway",
            route_prefix="/",
            args={**journal, "max_body_bytes": catalogue.gateway.max_body_bytes},
            deployment=GATEWAY_DEPLOYMENT,
            options=gateway_options(catalogue),
        ),
        Application(
            name=LEARNER,
            import_path="serve.builders:learner",
            args={
                **journal,
                "policy": catalogue.policy.model_dump(mode="json"),
                "learning": catalogue.learning.model_dump(mode="json", exclude={"resources"}),
            },
            deployment=LEARNER_DEPLOYMENT,
            options=learner_options(catalogue),
        ),
    )
