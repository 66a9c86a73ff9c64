"""A Serve config of several applications, for `serve deploy` and for KubeRay's `serveConfigV2`.

Its schema is `ray.serve.schema.ServeDeploySchema`, which ignores unknown keys: the tests compare what it read with what
was written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Application:
    """One Serve application of one deployment. `route_prefix` None: reached by handles only."""

    name: str
    import_path: str  # module:builder
    deployment: str
    options: Mapping[str, Any]  # of the deployment; changed in place where Serve can
    args: Mapping[str, Any] = field(default_factory=dict)  # of the builder; a change restarts the application
    route_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Http:
    """Where every node's proxy listens. Serve's own default is all interfaces; here that must be said."""

    host: str = "127.0.0.1"
    port: int = 8000


def serve_config(applications: Sequence[Application], http: Http, *, working_dir: str | None = None) -> dict[str, Any]:
    """The config as a dict. `working_dir`: a remote archive of the code; None: it is on every node already."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": http.host, "port": http.port},
        "applications": [_application(one, working_dir) for one in applications],
    }


def _application(one: Application, working_dir: str | None) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": one.name,
        "route_prefix": one.route_prefix,
        "import_path": one.import_path,
    }
    if working_dir is not None:
        written["runtime_env"] = {"working_dir": working_dir}
    if one.args:
        written["args"] = dict(one.args)
    written["deployments"] = [{"name": one.deployment, **one.options}]
    return written
