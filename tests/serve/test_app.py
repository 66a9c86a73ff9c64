from __future__ import annotations

from pathlib import Path

import pytest

from serve.app import applications
from serve.catalogue import load_catalogue
from serve.gateway_app import GatewayPlace
from serve.settings import Settings

KEY = "correct-horse-battery-staple"


def place(tmp_path: Path, **settings: object) -> GatewayPlace:
    given = Settings.model_validate({"journal_url": f"sqlite:///{tmp_path}/journal.db", **settings})
    application = applications(load_catalogue(), given)["gateway"].application
    (made,) = application._bound_deployment.init_args
    assert isinstance(made, GatewayPlace)
    return made


@pytest.mark.parametrize(("host", "open_on_loopback"), [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False)])  # noqa: S104
def test_applications_open_an_operators_routes_only_where_serve_listens_on_loopback(
    tmp_path: Path, host: str, open_on_loopback: bool
) -> None:
    admin = place(tmp_path, host=host).admin
    assert (admin.open_on_loopback, admin.key_sha256) == (open_on_loopback, None)


def test_applications_hand_replicas_the_keys_hash_alone(tmp_path: Path) -> None:
    made = place(tmp_path, admin_key=KEY)
    assert made.admin.key_sha256 is not None
    assert KEY not in repr(made)
    assert KEY.encode() not in made.admin.key_sha256
