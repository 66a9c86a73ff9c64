"""Names of the Serve applications and deployments, for those who deploy them and those who call them."""

from __future__ import annotations

GATEWAY = "gateway"
LEARNER = "learner"
SCORER = "scorer"

GATEWAY_DEPLOYMENT = "Gateway"
LEARNER_DEPLOYMENT = "Learner"
SCORER_DEPLOYMENT = "Scorer"
TIER_DEPLOYMENT = "Tier"


def tier_application(tier: str) -> str:
    """The application of one tier."""
    return f"tier-{tier}"
