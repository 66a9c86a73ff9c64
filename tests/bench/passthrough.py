"""A bare Serve passthrough to one tier: what somebody writes first, and what the gateway is measured against.

Without postponed annotations: Serve rebuilds the routes of a class, and FastAPI then sees only their names.
"""

import time
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve

from serve.tier_app import Work

bare = FastAPI()


class Asked(BaseModel):
    """Its whole body."""

    prompt: str


@serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=100)
@serve.ingress(bare)
class Passthrough:
    """One route, one handle."""

    def __init__(self) -> None:
        self._tier = serve.get_deployment_handle("Tier", "tier-noop")

    @bare.post("/images")
    async def images(self, asked: Asked) -> dict[str, Any]:
        drawn = await self._tier.generate.remote(Work(asked.prompt, 1, "only"))
        return {"created": int(time.time()), "data": [{"b64_json": drawn.file_base64.decode()}]}
