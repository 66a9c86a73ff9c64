"""`python -m serve manifest`: what it writes, what it refuses, and that no secret is in it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve.__main__ import main
from tests.serve.cluster_catalogue import CLUSTER

URL = "postgresql+psycopg://switchboard@db.internal/switchboard"
ANYWHERE = "0.0.0.0"  # noqa: S104 - written into a file, not bound


class Command:
    """Runs `python -m serve manifest ...` in this process on a catalogue."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "tiers.yaml"
        self.file.write_text(CLUSTER)
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        self._monkeypatch.setattr("sys.argv", ["serve", "manifest", *arguments, "--catalogue", str(self.file)])
        try:
            status = main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *self._capsys.readouterr()

    def documents(self, *arguments: str) -> tuple[list[str], list[dict[str, Any]]]:
        """The comments on top, and what follows."""
        status, out, err = self(*arguments)
        assert (status, err) == (0, "")
        comments = [line for line in out.splitlines() if line.startswith("#")]
        return comments, list(yaml.safe_load_all(out))

    def refused(self, *arguments: str) -> str:
        """Why."""
        status, out, err = self(*arguments)
        assert (status, out) == (2, "")
        return err


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def test_a_serve_config_has_every_application_and_the_journal(command: Command) -> None:
    comments, (config,) = command.documents("serve", "--host", ANYWHERE, "--port", "8080")
    read = ServeDeploySchema.model_validate(config)
    names = [one.name for one in read.applications]
    assert names == ["tier-small", "tier-medium", "tier-large", "scorer", "gateway", "learner"]
    assert (read.http_options.host, read.http_options.port) == (ANYWHERE, 8080)
    assert [one.args.get("journal_url") for one in read.applications] == [None, None, None, None, URL, URL]
    assert "from tiers.yaml" in comments[0]
    assert "Every node needs in its environment: SWITCHBOARD_SALT;" in comments[1]


def test_a_serve_config_listens_on_loopback_unless_told(command: Command) -> None:
    _, (config,) = command.documents("serve")
    assert config["http_options"] == {"host": "127.0.0.1", "port": 8000}


def test_a_journal_of_the_nodes_environment_is_in_no_file(command: Command) -> None:
    comments, (config,) = command.documents("serve", "--journal-from-environment")
    assert "journal_url" not in str(config)
    assert "SWITCHBOARD_JOURNAL_URL, SWITCHBOARD_SALT" in comments[1]


def test_the_code_may_come_as_an_archive(command: Command) -> None:
    _, (config,) = command.documents("serve", "--working-dir", "https://example.org/tree.zip")
    environments = [one["runtime_env"] for one in config["applications"]]
    assert environments == [{"working_dir": "https://example.org/tree.zip"}] * 6
    ServeDeploySchema.model_validate(config)


@pytest.mark.parametrize("arguments", [("serve", "--journal-from-environment"), ("kuberay", "--image", "x")])
def test_an_option_that_a_replica_would_refuse_is_refused_here(command: Command, arguments: tuple[str, ...]) -> None:
    command.file.write_text(CLUSTER.replace("service_s: 0.1}", "service_s: 0.1, options: {stepz: 3}}"))
    assert "stepz" in command.refused(*arguments)


@pytest.mark.parametrize(
    "url", ["switchboard:hunter2@db.internal/switchboard", "db.internal/switchboard?user=u&password=hunter2"]
)
def test_a_password_in_the_journals_url_is_refused_and_not_repeated(command: Command, url: str) -> None:
    command.file.write_text(CLUSTER.replace(URL, f'"postgresql+psycopg://{url}"'))
    said = command.refused("serve")
    assert ":8: journal.url: holds a password" in said
    assert "hunter2" not in said
    for arguments in (("serve", "--journal-from-environment"), ("kuberay", "--image", "x")):
        assert "hunter2" not in command(*arguments)[1]


def test_sqlite_on_many_nodes_is_refused(command: Command) -> None:
    command.file.write_text(CLUSTER.replace(URL, "sqlite:///here.db"))
    assert ":8: journal.url: SQLite is a file of one machine" in command.refused("serve")
    assert command("serve", "--journal-from-environment")[0] == 0


def test_kuberay_gets_a_ray_service_and_its_network_policy(command: Command) -> None:
    given = ("--image", "registry.example/sb:1", "--namespace", "serving", "--name", "images", "--secret", "keys")
    redis = ("--redis-address", "redis:6379", "--redis-secret", "redis", "--token-secret", "token")
    comments, (service, policy) = command.documents("kuberay", *given, *redis)
    assert (service["kind"], policy["kind"]) == ("RayService", "NetworkPolicy")
    assert service["metadata"] == {"name": "images", "namespace": "serving"}
    cluster = service["spec"]["rayClusterConfig"]
    assert cluster["rayVersion"] == version("ray")
    assert [group["groupName"] for group in cluster["workerGroupSpecs"]] == ["cpu", "l4", "a100"]
    assert cluster["gcsFaultToleranceOptions"]["redisAddress"] == "redis:6379"
    config = ServeDeploySchema.model_validate(yaml.safe_load(service["spec"]["serveConfigV2"]))
    assert len(config.applications) == 6
    assert URL not in str(service)
    assert "Secret keys with journal-url, salt" in comments[1]
    assert "images-serve-svc, port 8000" in comments[2]


def test_kuberay_needs_nodes_with_a_size(command: Command) -> None:
    command.file.write_text(CLUSTER.replace("num_cpus: 8, memory_gib: 32,", "num_cpus: 8,"))
    assert ":12: nodes[1]: cpu has no memory_gib: a pod needs its size" in command.refused("kuberay", "--image", "x")
    start, end = CLUSTER.index("nodes:\n"), CLUSTER.index("tiers:")
    command.file.write_text(CLUSTER[:start] + CLUSTER[end:])
    assert ":1: has no nodes: say which node types there are" in command.refused("kuberay", "--image", "x")


def test_a_redis_password_without_a_redis_is_refused(command: Command) -> None:
    assert "--redis-secret without --redis-address" in command.refused("kuberay", "--image", "x", "--redis-secret", "r")


@pytest.mark.parametrize("name", ["Images", "1st", "images-", "i" * 48, ""])
def test_a_name_that_kubernetes_refuses_is_refused_here(command: Command, name: str) -> None:
    assert f"--name {name!r} should be" in command.refused("kuberay", "--image", "x", "--name", name)


def test_ray_up_gets_provider_machines_and_head(command: Command) -> None:
    config = "node_config: {InstanceType: some}"
    text = CLUSTER.replace("name: head,", f"name: head, {config},").replace("name: cpu,", f"name: cpu, {config},")
    command.file.write_text(
        text.replace("name: a100,", f"name: a100, {config},").replace("  - name: l4\n", f"  - name: l4\n    {config}\n")
    )
    given = ("ray-up", "--provider", "aws", "--provider-option", "region=eu-west-1", "--ssh-user", "admin")
    comments, (cluster,) = command.documents(*given)
    assert cluster["provider"] == {"type": "aws", "region": "eu-west-1"}
    assert list(cluster["available_node_types"]) == ["head", "cpu", "l4", "a100"]
    assert (cluster["head_node_type"], cluster["max_workers"]) == ("head", 9)
    assert any("switchboard.env" in comment for comment in comments)
    assert "is no KEY=VALUE" in command.refused("ray-up", "--provider", "aws", "--provider-option", "eu-west-1")
    command.file.write_text(command.file.read_text().replace("head: true, ", ""))
    assert "nodes: has no head" in command.refused("ray-up", "--provider", "aws")


def test_ray_up_needs_a_machine_for_every_node_type(command: Command) -> None:
    said = command.refused("ray-up", "--provider", "aws").splitlines()
    assert len(said) == 4
    assert said[0].endswith(":11: nodes[0]: head has no node_config: aws needs it to make the machine")


def test_a_file_is_written_where_it_is_asked_for(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "serve.yaml"
    assert command("serve", "--out", str(out)) == (0, "", "")
    ServeDeploySchema.model_validate(yaml.safe_load(out.read_text()))
    assert "cannot be written" in command.refused("serve", "--out", str(tmp_path / "none" / "serve.yaml"))
