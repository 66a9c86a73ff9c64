"""The routes of experiments, an operator's alone. What they do is `experiments_api.py`, who may is `admin.py`."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel, TypeAdapter
from starlette.responses import JSONResponse, Response

from bandit.experiments.plan import Plan

from .admin import Admin, actor_of
from .body import read_json
from .experiments_api import (
    ExperimentsApi,
    PromoteRequest,
    RampRequest,
    RollBackRequest,
    StartRequest,
    StopRequest,
)

_Command = Callable[[ExperimentsApi, str, Mapping[str, Any], str], Awaitable[dict[str, Any]]]
_COMMANDS: Mapping[str, tuple[type[BaseModel], _Command]] = {
    "start": (StartRequest, ExperimentsApi.start),
    "ramp": (RampRequest, ExperimentsApi.ramp),
    "stop": (StopRequest, ExperimentsApi.stop),
    "promote": (PromoteRequest, ExperimentsApi.promote),
    "rollback": (RollBackRequest, ExperimentsApi.roll_back),
}


# For /openapi.json alone: it refuses nobody, `Admin.check` does.
_ADMIN_KEY = HTTPBearer(
    scheme_name="admin_key",
    description="SWITCHBOARD_ADMIN_KEY of the gateway; without one only its own machine may use these routes.",
    auto_error=False,
)


class _Answer(JSONResponse):
    """In ASCII, so that no text of a stored row, such as half of a surrogate pair, breaks the answer."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


def experiments_router(experiments: Callable[[], ExperimentsApi], admin: Admin) -> APIRouter:
    """`experiments` gives what is in use, which may be replaced while requests run."""
    router = APIRouter(prefix="/v1/experiments", dependencies=[Security(_ADMIN_KEY)])

    @router.post("", response_model=None, openapi_extra=_takes(TypeAdapter(Plan).json_schema()))
    async def create(request: Request) -> Response:
        admin.check(request)
        body = await read_json(request)
        return _Answer(await experiments().create(body, actor_of(request)), status_code=201)

    @router.get("", response_model=None)
    async def listed(request: Request) -> Response:
        admin.check(request)
        return _Answer(await experiments().experiments())

    @router.get("/{experiment_id}", response_model=None)
    async def one(request: Request, experiment_id: str) -> Response:
        admin.check(request)
        return _Answer(await experiments().experiment(experiment_id))

    @router.get("/{experiment_id}/report", response_model=None)
    async def report(request: Request, experiment_id: str) -> Response:
        admin.check(request)
        return _Answer(await experiments().report(experiment_id))

    for name, (kind, command) in _COMMANDS.items():
        router.add_api_route(
            f"/{{experiment_id}}/{name}",
            _endpoint(command, experiments, admin),
            methods=["POST"],
            name=name,
            response_model=None,
            openapi_extra=_takes(kind.model_json_schema()),
        )
    return router


def _endpoint(
    command: _Command, experiments: Callable[[], ExperimentsApi], admin: Admin
) -> Callable[..., Awaitable[Response]]:
    async def endpoint(request: Request, experiment_id: str) -> Response:
        admin.check(request)
        body = await read_json(request)  # also where it is empty: no web page can send JSON here from elsewhere
        return _Answer(await command(experiments(), experiment_id, body, actor_of(request)))

    return endpoint


def _takes(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
