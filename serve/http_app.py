"""The routes of the HTTP API and their errors, all in OpenAI's shape. What they do is `gateway.py`.

Those of experiments are in `experiments_http.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bandit.errors import JournalAway

from .admin import Admin
from .api import FeedbackRequest, ImageRequest
from .body import BodyLimit, read_json
from .experiments_api import ExperimentsApi
from .experiments_http import experiments_router
from .gateway import Gateway
from .openai_errors import Refusal, unavailable

logger = logging.getLogger("ray.serve")


def http_app(
    gateway: Callable[[], Gateway], experiments: Callable[[], ExperimentsApi], admin: Admin, body_limit_bytes: int
) -> FastAPI:
    """The ASGI app. `gateway` and `experiments` give what is in use, which may be replaced while requests run."""
    app = FastAPI(title="Switchboard", version="1", docs_url=None, redoc_url=None)  # their pages load scripts from afar

    @app.post("/v1/images/generations", response_model=None, openapi_extra=_takes(ImageRequest))
    async def images(request: Request) -> Response:
        body = await read_json(request)
        answer = await gateway().images(body, request.headers.get("x-request-timeout-seconds"))
        return Response(
            answer.body,
            media_type="application/json",
            headers=dict(answer.headers),
            background=BackgroundTask(_call, answer.after),
        )

    @app.post("/v1/feedback", response_model=None, openapi_extra=_takes(FeedbackRequest))
    async def feedback(request: Request) -> Response:
        return JSONResponse(await gateway().feedback(await read_json(request)))

    @app.get("/v1/models", response_model=None)
    async def models() -> Response:
        return JSONResponse(gateway().models())

    @app.get("/v1/models/{name}", response_model=None)
    async def model(name: str) -> Response:
        return JSONResponse(gateway().model(name))

    @app.get("/v1/decisions/{decision_id}", response_model=None)
    async def decision(decision_id: str) -> Response:
        return JSONResponse(await gateway().decision(decision_id))

    @app.get("/healthz", response_model=None)
    async def health() -> Response:
        up, body = await gateway().health.read()
        return JSONResponse(body, status_code=200 if up else 503)

    app.include_router(experiments_router(experiments, admin))

    @app.exception_handler(Refusal)
    async def refused(_: Request, refusal: Refusal) -> Response:
        return refusal.response()

    @app.exception_handler(JournalAway)
    async def journal_away(_: Request, error: JournalAway) -> Response:
        logger.error("journal: %s", error)
        return unavailable("The journal cannot be read now.", "journal_unavailable").response()

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        return _route_refusal(request, error).response()

    app.add_middleware(BodyLimit, limit_bytes=body_limit_bytes)
    app.add_middleware(LastResort)
    return app


class LastResort:
    """ASGI middleware: what nobody caught becomes a 500 that says nothing of the inside; the log has it all."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def watched_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched_send)
        except Exception:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if started:
                raise
            refusal = Refusal(500, "Something went wrong on our side; it is in the log.", code="internal_error")
            await refusal.response()(scope, receive, send)


async def _call(after: Callable[[], None]) -> None:
    after()  # on the event loop: a plain function would be sent to a thread


def _route_refusal(request: Request, error: HTTPException) -> Refusal:
    path = request.url.path[:100]
    if error.status_code == 404:
        return Refusal(404, f"There is no {path!a} here; see /openapi.json.", code="not_found")
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return Refusal(
            405,
            f"{path!a} takes {allowed}, not {request.method}.",
            code="method_not_allowed",
            headers={"allow": allowed},
        )
    return Refusal(error.status_code, str(error.detail), code="http_error")


def _takes(model: type[ImageRequest] | type[FeedbackRequest]) -> dict[str, Any]:
    """How /openapi.json describes a body that the route reads by itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}
