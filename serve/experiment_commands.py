"""The command line of experiments: python -m serve experiment create | list | show | report | start | ramp | ...

All go through the gateway's HTTP API, with the admin key of SWITCHBOARD_ADMIN_KEY where one is set.
"""

from __future__ import annotations

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from .client import Client
from .errors import BadSettings
from .experiment_table import print_experiment, print_list, print_report
from .settings import from_environment
from .yaml_source import parse_yaml

app = typer.Typer(help="Compare routing policies on live traffic.", no_args_is_help=True)

Url = Annotated[str | None, typer.Option(help="Where the gateway is (env: SWITCHBOARD_URL).", show_default=False)]
Id = Annotated[str, typer.Argument(metavar="ID", help="The experiment's id.")]
Reason = Annotated[str, typer.Option(help="Why; the history keeps it.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@app.command()
def create(
    file: Annotated[Path, typer.Argument(help="The plan, YAML or JSON; serve/experiment_example.yaml is one.")],
    url: Url = None,
) -> None:
    """Store a plan. Nothing runs before it is started."""
    told = _client(url).post("/v1/experiments", read_plan(file))
    print(f"created {told['experiment_id']}; start it: python -m serve experiment start {told['experiment_id']}")
    for note in told["notes"]:
        print(note)


@app.command("list")
def listed(url: Url = None, as_json: AsJson = False) -> None:
    """Name all experiments, how each stands, and the live policy."""
    told = _client(url).get("/v1/experiments")
    _print_json(told) if as_json else print_list(told)


@app.command()
def show(experiment_id: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Show an experiment's plan, how it stands, and who changed what when."""
    told = _client(url).get(_path(experiment_id))
    _print_json(told) if as_json else print_experiment(told)


@app.command()
def report(experiment_id: Id, url: Url = None, as_json: AsJson = False) -> None:
    """Say what it has shown so far. May be asked at any time: all intervals hold at every look."""
    told = _client(url).get(_path(experiment_id, "report"))
    _print_json(told) if as_json else print_report(told)


@app.command()
def start(experiment_id: Id, url: Url = None) -> None:
    """Let it run, or run again after a stop."""
    _command(url, experiment_id, "start", {})


@app.command()
def ramp(
    experiment_id: Id,
    traffic: Annotated[float | None, typer.Option(help="Share of all units, above 0 and up to 1.")] = None,
    weights: Annotated[str | None, typer.Option(help="Of every variant, as a=0.9,b=0.1.")] = None,
    url: Url = None,
) -> None:
    """Change its traffic or weights; as few units move as can be."""
    if traffic is None and weights is None:
        raise BadSettings("nothing to ramp: give --traffic, --weights or both")
    body: dict[str, Any] = {} if traffic is None else {"traffic": traffic}
    if weights is not None:
        body["weights"] = read_weights(weights)
    _command(url, experiment_id, "ramp", body)


@app.command()
def stop(
    experiment_id: Id,
    reason: Reason = "stopped by hand",
    variant: Annotated[str | None, typer.Option(help="Only this one; the others go on.", show_default=False)] = None,
    url: Url = None,
) -> None:
    """End it, or take one variant out; its users get the live policy."""
    body = {"reason": reason} if variant is None else {"reason": reason, "variant": variant}
    _command(url, experiment_id, "stop", body)


@app.command()
def promote(
    experiment_id: Id,
    variant: Annotated[str, typer.Argument(help="The variant whose policy becomes the live one.")],
    force: Annotated[bool, typer.Option("--force", help="Also without evidence; this is logged.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for the history.", show_default=False)] = None,
    url: Url = None,
) -> None:
    """Make a variant's policy the live one, with what it has learned."""
    body = {"variant": variant, "force": force} | ({} if reason is None else {"reason": reason})
    _command(url, experiment_id, "promote", body)


@app.command()
def rollback(experiment_id: Id, reason: Reason = "rolled back by hand", url: Url = None) -> None:
    """Take a promotion back: live is what was live before it."""
    _command(url, experiment_id, "rollback", {"reason": reason})


def read_plan(file: Path) -> dict[str, Any]:
    """The plan in a YAML or JSON file. Raises BadSettings, CatalogueError with the line."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadSettings(f"{file} cannot be read: {words or error}") from error
    plan = parse_yaml(text, str(file)).value
    if not isinstance(plan, dict):
        raise BadSettings(f"{file} holds no plan: write keys and values, as serve/experiment_example.yaml does")
    return plan


def read_weights(text: str) -> dict[str, float]:
    """`a=0.9,b=0.1` as a mapping. Raises BadSettings."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, sign, value = part.strip().partition("=")
        try:
            share = float(value)
        except ValueError:
            sign = ""
        if not (name and sign) or name in found:
            raise BadSettings(f"--weights {text!r} cannot be read: write each variant once, as a=0.9,b=0.1")
        found[name] = share
    return found


def _command(url: str | None, experiment_id: str, command: str, body: dict[str, Any]) -> None:
    print_experiment(_client(url).post(_path(experiment_id, command), body))


def _client(url: str | None) -> Client:
    settings = from_environment(url=url)
    return Client(settings.url, admin_key=settings.admin_key, actor=_user())


def _user() -> str | None:
    """Who types this, for the history; None where that cannot be told."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        return None
    return name if name.isascii() and name.isprintable() and len(name) <= 200 else None


def _path(experiment_id: str, command: str | None = None) -> str:
    return f"/v1/experiments/{quote(experiment_id, safe='')}" + ("" if command is None else f"/{command}")


def _print_json(told: dict[str, Any]) -> None:
    json.dump(told, sys.stdout, indent=2)
    print()
