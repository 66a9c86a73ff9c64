"""Application builders for Serve's YAML, as `python -m serve manifest serve` writes it: serve.builders:tier and others.

`args` hold what an application is built from: Serve hashes them, and a change restarts that application alone. Options
and `user_config` come from the YAML's `deployments`, where Serve changes them in place. No file is read on a node, so
what runs is what the YAML says; secrets come from SWITCHBOARD_* variables of the nodes (settings.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray.serve import Application

from .app import gateway_application, gateway_place, learner_application, scorer_application, tier_application_of
from .catalogue import Learning, ModelSource, PolicyChoice
from .errors import BadSettings
from .settings import absolute_journal_url, from_environment

_Values = TypeVar("_Values", bound=BaseModel)


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class GatewayArguments(_Arguments):
    """`journal_url` None: SWITCHBOARD_JOURNAL_URL of the nodes, as a URL may hold a password."""

    journal_url: str | None = None
    max_body_bytes: int = Field(default=1_000_000, ge=10_000)


class LearnerArguments(_Arguments):
    """As above."""

    journal_url: str | None = None
    policy: PolicyChoice
    learning: Learning = Learning()


# Serve would read a model's class from the builder's annotation, but not where annotations are postponed: so a mapping.
def gateway(arguments: Mapping[str, Any]) -> Application:
    """The HTTP side. Raises BadSettings."""
    read = _read(GatewayArguments, arguments)
    settings = from_environment()
    return gateway_application(gateway_place(_journal_url(read.journal_url), settings, read.max_body_bytes), {})


def learner(arguments: Mapping[str, Any]) -> Application:
    """What learns from the journal. Raises BadSettings."""
    read = _read(LearnerArguments, arguments)
    return learner_application(read.policy, read.learning, _journal_url(read.journal_url), {})


def scorer(arguments: Mapping[str, Any]) -> Application:
    """What rates images. Raises BadSettings."""
    return scorer_application(_read(ModelSource, arguments), {})


def tier(arguments: Mapping[str, Any]) -> Application:
    """One tier. Raises BadSettings."""
    return tier_application_of(_read(ModelSource, arguments), {})


def _read(kind: type[_Values], arguments: Mapping[str, Any]) -> _Values:
    try:
        return kind.model_validate_json(json.dumps(arguments))
    except ValidationError as error:
        problems = "; ".join(
            f"args.{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)
        )
        raise BadSettings(f"{problems}. Write the file anew with python -m serve manifest.") from None


def _journal_url(given: str | None) -> str:
    url = given or from_environment().journal_url
    if url is None:
        raise BadSettings(
            "no journal: set SWITCHBOARD_JOURNAL_URL on every node, or write the file with the catalogue's journal"
        )
    return absolute_journal_url(url)
