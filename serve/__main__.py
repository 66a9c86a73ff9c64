"""The command line: python -m serve up | generate | demo | status | evaluate | experiment | validate | manifest
| simulate."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bandit.errors import BanditError
from bandit.journal import Journal

from .catalogue import load_catalogue
from .client import Client, save_images, usable_folder
from .errors import ServeError
from .experiment_commands import app as experiment_commands
from .journal_file import make_private
from .manifest_command import app as manifest_commands
from .preflight import refusal
from .settings import absolute_journal_url, from_environment
from .simulate import app as simulate_commands
from .up import check_port
from .up import up as run

app = typer.Typer(
    help="Text-to-image behind one endpoint; a bandit picks the tier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(experiment_commands, name="experiment")
app.add_typer(manifest_commands, name="manifest")
app.add_typer(simulate_commands, name="simulate")

Url = Annotated[str | None, typer.Option(help="Where the gateway is (env: SWITCHBOARD_URL).", show_default=False)]


@app.command()
def up(
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue file [default: the embedded one].")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on [default: 8000].")] = None,
    journal: Annotated[str | None, typer.Option(help="Journal URL [default: the catalogue's].")] = None,
) -> None:
    """Start Ray and all applications here; Ctrl-C stops all of it."""
    asked_at_s = time.time()
    settings = from_environment(catalogue=catalogue, host=host, port=port, journal_url=journal)
    loaded = load_catalogue(settings.catalogue)
    journal_url = absolute_journal_url(settings.journal_url or loaded.journal.url)
    check_port(settings.host, settings.port)
    make_private(journal_url)
    Journal.open(journal_url).close()
    tiers = ", ".join(tier.name for tier in loaded.tiers)
    print(f"starting gateway, learner, scorer and {tiers} on {settings.host}:{settings.port}", flush=True)
    raise typer.Exit(run(loaded, settings.model_copy(update={"journal_url": journal_url}), asked_at_s))


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    model: Annotated[str, typer.Option(help="auto, a tier, or an arm (tier@preset).")] = "auto",
    n: Annotated[int, typer.Option(help="How many images.")] = 1,
    size: Annotated[str, typer.Option(help="auto or WIDTHxHEIGHT.")] = "auto",
    quality: Annotated[str, typer.Option(help="auto, low, medium or high.")] = "auto",
    output_format: Annotated[str, typer.Option("--format", help="png, webp or jpeg.")] = "png",
    seed: Annotated[int | None, typer.Option(help="The same seed draws the same image.")] = None,
    folder: Annotated[Path, typer.Option(help="Where to save.")] = Path(),
    url: Url = None,
) -> None:
    """Draw images, save them and name the files."""
    body: dict[str, Any] = {
        "prompt": prompt,
        "model": model,
        "n": n,
        "size": size,
        "quality": quality,
        "output_format": output_format,
        "seed": seed,
    }
    client = Client(from_environment(url=url).url)
    usable_folder(folder)
    answer = client.post("/v1/images/generations", body)
    for path in save_images(answer, prompt, folder):
        print(path)
    why = answer["switchboard"]
    print(
        f"{why['arm']} by {why['policy']} ({why['decided_arm']} drawn with probability {why['propensity']:.2f}), "
        f"{why['latency_s']:.2f} s, {why['cost_usd']:.2g} USD, seed {why['seed']}, decision {why['decision_id']}"
    )


@app.command()
def demo(
    count: Annotated[int, typer.Option(help="How many prompts the router gets.")] = 400,
    references: Annotated[
        int | None,
        typer.Option(
            help="How many of the last ones go to every arm too [default: 120, at most a third].", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the prompts.")] = 0,
    quality: Annotated[str, typer.Option(help="What to pay for: auto, low, medium or high.")] = "auto",
    out: Annotated[Path, typer.Option(help="The picture; the numbers go beside it as JSON.")] = Path("demo.png"),
    url: Url = None,
) -> None:
    """Send prompts of mixed difficulty, and show what was learned and what it is worth."""
    from .demo import Plan
    from .demo import demo as run

    raise typer.Exit(run(from_environment(url=url).url, Plan.checked(count, references, seed, quality), out))


@app.command()
def status(url: Url = None) -> None:
    """Say how tiers, journal and policy are. The exit status is 1 if nothing can be served."""
    health = Client(from_environment(url=url).url).get("/healthz")
    print(health["status"])
    for name, tier in health["tiers"].items():
        print(f"  {name:12} {tier['replicas']} replicas, {tier['in_flight']} in flight, circuit {tier['circuit']}")
    policy, journal = health["policy"], health["journal"]
    age = "nothing learned yet"
    if policy["snapshot_version"] is not None:
        age = f"snapshot {policy['snapshot_version']}, {policy['snapshot_age_s']:.0f} s old"
    origin = "" if policy["promoted_by"] is None else f", promoted by experiment {policy['promoted_by']}"
    print(f"  {'policy':12} {policy['name']}{origin}, {age}")
    for experiment in health["experiments"]:
        variants = experiment["variants"].items()
        named = ", ".join(f"{name} ({one['policy']}{', stopped' * one['stopped']})" for name, one in variants)
        print(f"  {'experiment':12} {experiment['experiment_id']}, {experiment['kind']}: {named}")
    print(f"  {'journal':12} {journal['backend']}, {'reachable' if journal['reachable'] else 'NOT reachable'}")
    raise typer.Exit(health["status"] == "down")


@app.command()
def evaluate(
    policy: Annotated[str, typer.Argument(help='A policy, an arm (always that one), or "live".')],
    days: Annotated[float, typer.Option(help="How many days back.")] = 7.0,
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue file [default: the embedded one].")] = None,
    journal: Annotated[str | None, typer.Option(help="Journal URL [default: the catalogue's].")] = None,
    options: Annotated[str | None, typer.Option(help="Options of the policy, as a JSON object.")] = None,
    reward: Annotated[str, typer.Option(help="utility (by each caller's weights) or quality.")] = "utility",
    explored_only: Annotated[
        bool, typer.Option("--explored-only", help="Leave out requests that were drawn without any other chance.")
    ] = False,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the numbers there too.")] = None,
) -> None:
    """Say what a policy would have earned last week. The exit status is 1 if the log cannot answer."""
    from .evaluate import evaluate_days

    settings = from_environment(catalogue=catalogue, journal_url=journal)
    loaded = load_catalogue(settings.catalogue)
    report = evaluate_days(
        loaded,
        absolute_journal_url(settings.journal_url or loaded.journal.url),
        policy,
        days=days,
        options=options,
        reward=reward,
        explored_only=explored_only,
        json_path=json_path,
        said_on=sys.stderr,
    )
    print(report.to_text())
    raise typer.Exit(report.target.valuation is None)


@app.command()
def validate(
    catalogue: Annotated[Path | None, typer.Option(help="Catalogue file [default: the embedded one].")] = None,
) -> None:
    """Say what is wrong with a catalogue, a line each (exit status 2), or what would run where."""
    from .validate import class_problems, deployment_problems, table

    settings = from_environment(catalogue=catalogue)
    loaded = load_catalogue(settings.catalogue)
    problems = list(deployment_problems(loaded, journal_elsewhere=settings.journal_url is not None))
    if problems := problems + class_problems(loaded):
        raise refusal(problems, settings.catalogue)
    print(table(loaded))


def main() -> int:
    """Errors of ours in plain sentences, exit status 2; no trace."""
    try:
        app()
    except (ServeError, BanditError) as error:
        print(error, file=sys.stderr)
    return 2  # app() itself ends with SystemExit


if __name__ == "__main__":
    sys.exit(main())
