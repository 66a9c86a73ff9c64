"""Builders for Serve's YAML: what they take, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.builders import gateway, learner, scorer, tier
from serve.errors import BadSettings
from serve.gateway_app import GatewayPlace

KEY = "correct-horse-battery-staple"


def test_the_gateway_needs_a_key_as_nobody_knows_where_serve_listens(tmp_path: Path) -> None:
    application = gateway({"journal_url": f"sqlite:///{tmp_path}/journal.db"})
    (made,) = application._bound_deployment.init_args
    assert isinstance(made, GatewayPlace)
    assert (made.admin.open_on_loopback, made.body_limit_bytes) == (False, 1_000_000)


def test_secrets_come_from_the_nodes_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/elsewhere.db"
    for name, value in (("JOURNAL_URL", url), ("SALT", "pepper"), ("ADMIN_KEY", KEY)):
        monkeypatch.setenv(f"SWITCHBOARD_{name}", value)
    (made,) = gateway({})._bound_deployment.init_args
    assert (made.journal_url, made.salt) == (url, b"pepper")
    assert made.admin.key_sha256 is not None
    assert learner({"policy": {"name": "uniform"}})._bound_deployment.init_args[2] == url


def test_a_url_in_the_file_goes_before_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWITCHBOARD_JOURNAL_URL", f"sqlite:///{tmp_path}/other.db")
    (made,) = gateway({"journal_url": f"sqlite:///{tmp_path}/journal.db"})._bound_deployment.init_args
    assert made.journal_url.endswith("/journal.db")


def test_without_a_journal_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWITCHBOARD_JOURNAL_URL", raising=False)
    with pytest.raises(BadSettings, match="set SWITCHBOARD_JOURNAL_URL on every node"):
        gateway({})


def test_a_tier_is_built_from_its_class_and_leaves_presets_to_the_options() -> None:
    arguments = {"class": "replicas.fake:FakeTier", "model": "/models/x", "options": {"fail_every": 3}, "threads": None}
    bound = tier(arguments)._bound_deployment
    assert bound.name == "Tier"
    assert bound.init_args == (
        {"import_path": "replicas.fake:FakeTier", "model": "/models/x", "fail_every": 3},
        "cpu",
        None,
    )


@pytest.mark.parametrize(
    ("builder", "arguments", "said"),
    [
        (tier, {}, "args.class: Field required"),
        (tier, {"class": "replicas.fake:FakeTier", "modell": "x"}, "args.modell: Extra inputs are not permitted"),
        (scorer, {"class": "replicas.fake.FakeScorer"}, "args.class: String should match"),
        (gateway, {"max_body_bytes": 1}, "args.max_body_bytes: Input should be greater"),
        (learner, {"learning": {}}, "args.policy: Field required"),
    ],
)
def test_arguments_that_cannot_be_are_named(builder, arguments, said) -> None:
    with pytest.raises(BadSettings, match=said) as caught:
        builder(arguments)
    assert "Write the file anew" in str(caught.value)


def test_a_journal_url_that_cannot_be_is_not_repeated() -> None:
    with pytest.raises(BadSettings) as caught:
        gateway({"journal_url": 7, "password": "hunter2"})
    assert "hunter2" not in str(caught.value)
