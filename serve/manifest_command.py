"""The command line of manifests: python -m serve manifest serve | kuberay | ray-up.

Each checks the catalogue as `validate` does, then writes to standard output or to a file. No secret is written: the
comments on top say which ones have to be there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.engine import make_url

from cluster.manifest.kuberay import SERVE_PORT, Kube, Redis, ray_service
from cluster.manifest.ray_up import ENVIRONMENT_FILE, TOKEN_FILE, Machines, ray_up
from cluster.manifest.serve_config import Http, serve_config
from cluster.manifest.yaml_text import yaml_text

from .catalogue import EMBEDDED, Catalogue, load_catalogue
from .catalogue_nodes import Problem
from .errors import BadSettings
from .preflight import refusal
from .serve_applications import serve_applications
from .settings import absolute_journal_url, from_environment
from .validate import class_problems, deployment_problems

app = typer.Typer(help="Write what `serve deploy`, KubeRay and `ray up` expect.", no_args_is_help=True)

_KUBE_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,45}[a-z0-9])?")  # KubeRay adds 6 characters, and more for pods

CatalogueFile = Annotated[
    Path | None, typer.Option("--catalogue", help="Catalogue file [default: the embedded one].", show_default=False)
]
Out = Annotated[Path | None, typer.Option(help="Write there [default: standard output].", show_default=False)]
Image = Annotated[str | None, typer.Option(help="Container image with this tree and its packages.", show_default=False)]
Name = Annotated[str, typer.Option(help="Of the cluster.")]


@app.command()
def serve(
    catalogue: CatalogueFile = None,
    host: Annotated[str, typer.Option(help="Address that every node's proxy listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.", min=1, max=65535)] = 8000,
    journal_from_environment: Annotated[
        bool, typer.Option(help="The nodes have SWITCHBOARD_JOURNAL_URL; the file holds no journal.")
    ] = False,
    working_dir: Annotated[
        str | None,
        typer.Option(
            help="Remote archive (https://, s3://, gs://) with this tree, if nodes lack it.", show_default=False
        ),
    ] = None,
    out: Out = None,
) -> None:
    """Write a Serve config: `serve deploy FILE` starts all of it on a Ray that runs."""
    file, loaded = _read(catalogue)
    _refuse(file, [*deployment_problems(loaded, journal_elsewhere=journal_from_environment), *class_problems(loaded)])
    journal_url = None
    if not journal_from_environment:
        _refuse(file, _password_problems(loaded))
        journal_url = absolute_journal_url(loaded.journal.url)
    config = serve_config(serve_applications(loaded, journal_url), Http(host, port), working_dir=working_dir)
    _write(out, _head("Serve config", file, _serve_notes(journal_url)) + yaml_text(config))


@app.command()
def kuberay(
    image: Annotated[str, typer.Option(help="Container image with this tree and its packages.")],
    catalogue: CatalogueFile = None,
    name: Name = "switchboard",
    namespace: Annotated[str, typer.Option(help="Of Kubernetes.")] = "default",
    secret: Annotated[  # only its name
        str, typer.Option(help="Secret with the keys journal-url, salt, admin-key.")
    ] = "switchboard",  # noqa: S107
    token_secret: Annotated[
        str | None,
        typer.Option(help="Secret with the key auth_token [default: KubeRay makes one].", show_default=False),
    ] = None,
    redis_address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Redis that keeps the head's state.", show_default=False)
    ] = None,
    redis_secret: Annotated[
        str | None, typer.Option(help="Secret with the key password, of that Redis.", show_default=False)
    ] = None,
    operator_namespace: Annotated[
        str | None, typer.Option(help="Where KubeRay's operator runs [default: anywhere].", show_default=False)
    ] = None,
    out: Out = None,
) -> None:
    """Write a RayService (ray.io/v1) with a worker group per node type, and its NetworkPolicy."""
    if redis_secret is not None and redis_address is None:
        raise BadSettings("--redis-secret without --redis-address: say which Redis the password is for")
    if not _KUBE_NAME.fullmatch(name):
        raise BadSettings(f"--name {name!r} should be a-z, 0-9 and -, begin with a letter, at most 47 characters")
    file, loaded = _read(catalogue)
    _refuse(file, [*_node_problems(loaded, "memory_gib", "a pod needs its size"), *class_problems(loaded)])
    kube = Kube(
        image=image,
        ray_version=version("ray"),
        name=name,
        namespace=namespace,
        secret=secret,
        token_secret=token_secret,
        operator_namespace=operator_namespace,
        redis=None if redis_address is None else Redis(redis_address, redis_secret),
    )
    config = serve_config(serve_applications(loaded, None), Http("0.0.0.0", SERVE_PORT))  # noqa: S104 - inside a pod
    notes = [
        f"Before it, in namespace {namespace}: Secret {secret} with journal-url, salt and, if wanted, admin-key"
        + ("" if token_secret is None else f"; Secret {token_secret} with auth_token")
        + ("" if redis_secret is None else f"; Secret {redis_secret} with password")
        + ".",
        f"Requests go to the Service {name}-serve-svc, port {SERVE_PORT}.",
    ]
    _write(out, _head("KubeRay", file, notes) + yaml_text(*ray_service(kube, loaded.nodes, config)))


@app.command("ray-up")
def ray_up_command(
    provider: Annotated[str, typer.Option(help="aws, gcp, azure, ... as Ray knows it.")],
    catalogue: CatalogueFile = None,
    provider_option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE of the provider, as region=eu-west-1; may be repeated.")
    ] = None,
    name: Name = "switchboard",
    ssh_user: Annotated[str, typer.Option(help="Whose home the machines have.")] = "ubuntu",
    image: Image = None,
    out: Out = None,
) -> None:
    """Write a cluster file for `ray up`; what runs on it comes by `manifest serve` and `serve deploy`."""
    file, loaded = _read(catalogue)
    _refuse(file, _node_problems(loaded, "node_config", f"{provider} needs it to make the machine"))
    if not any(node.head for node in loaded.nodes):
        _refuse(file, [(("nodes",), "has no head: `ray up` makes its machine too; add one with head: true")])
    machines = Machines(
        {"type": provider, **_options(provider_option or [])}, name=name, ssh_user=ssh_user, image=image
    )
    notes = [
        f"Before it: `ray get-auth-token --generate` ({TOKEN_FILE}), and {ENVIRONMENT_FILE} beside this file with "
        "SWITCHBOARD_JOURNAL_URL=..., SWITCHBOARD_SALT=..., SWITCHBOARD_ADMIN_KEY=..., a line each.",
        "Then: ray up FILE; ray dashboard FILE; RAY_AUTH_MODE=token serve deploy SERVE_CONFIG (written with "
        "--journal-from-environment).",
    ]
    _write(out, _head("ray up", file, notes) + yaml_text(ray_up(machines, loaded.nodes)))


def _read(catalogue: Path | None) -> tuple[Path, Catalogue]:
    file = from_environment(catalogue=catalogue).catalogue or EMBEDDED
    return file, load_catalogue(file)


def _refuse(file: Path, problems: Iterable[Problem]) -> None:
    if found := list(problems):
        raise refusal(found, file)


def _password_problems(catalogue: Catalogue) -> Iterator[Problem]:
    url = make_url(catalogue.journal.url)
    if url.password is not None or any("pass" in key.lower() for key in url.query):
        yield (
            ("journal", "url"),
            "holds a password, which everyone would see who sees the manifest: leave it out here, set "
            "SWITCHBOARD_JOURNAL_URL on the nodes and write --journal-from-environment",
        )


def _node_problems(catalogue: Catalogue, key: str, why: str) -> Iterator[Problem]:
    if not catalogue.nodes:
        yield (), "has no nodes: say which node types there are, and how many of each"
    for index, node in enumerate(catalogue.nodes):
        if not getattr(node, key):
            yield ("nodes", index), f"{node.name} has no {key}: {why}"


def _options(given: list[str]) -> Mapping[str, str]:
    pairs = [option.partition("=") for option in given]
    if wrong := [option for option, (key, _, value) in zip(given, pairs, strict=True) if not key or not value]:
        raise BadSettings(f"--provider-option {wrong[0]!r} is no KEY=VALUE, as region=eu-west-1")
    return {key: value for key, _, value in pairs}


def _serve_notes(journal_url: str | None) -> list[str]:
    needed = ["SWITCHBOARD_SALT"] if journal_url is None or not journal_url.startswith("sqlite") else []
    if journal_url is None:
        needed.insert(0, "SWITCHBOARD_JOURNAL_URL")
    if not needed:
        return []
    return [f"Every node needs in its environment: {', '.join(needed)}; an operator's routes SWITCHBOARD_ADMIN_KEY."]


def _head(what: str, file: Path, notes: list[str]) -> str:
    lines = [
        f"{what}: written by python -m serve manifest from {file.name}. Change that file and write this anew.",
        *notes,
    ]
    return "".join(f"# {line}\n" for line in lines)


def _write(out: Path | None, text: str) -> None:
    if out is None:
        print(text, end="")
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadSettings(f"{out}: cannot be written: {error.strerror or error}") from error
