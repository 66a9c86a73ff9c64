"""What docs/deploying.md shows is what a catalogue takes, and what validate prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serve.catalogue import EMBEDDED, parse_catalogue
from serve.validate import table
from tests.serve.cluster_catalogue import CLUSTER


@pytest.fixture
def page(root: Path) -> str:
    return (root / "docs" / "deploying.md").read_text(encoding="utf-8")


def test_its_node_types_and_resources_are_taken(page: str) -> None:
    nodes, resources = re.findall(r"^```yaml\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    tier = "  - name: cluster-only\n    class: replicas.fake:FakeTier\n    family: fake\n    device: cuda\n"
    tier += "    presets: {fast: {price_usd: 0.001, service_s: 0.1}}\n"
    embedded = EMBEDDED.read_text(encoding="utf-8")
    assert "nodes: []\n" in embedded
    catalogue = parse_catalogue(embedded.replace("nodes: []\n", nodes) + tier + resources, "page.yaml")
    assert [node.name for node in catalogue.nodes] == ["head", "cpu", "l4", "a100"]
    assert len(catalogue.tier("cluster-only").resources.selectors()) == 2


def test_its_table_is_what_validate_prints(page: str) -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert shown.rstrip() == table(parse_catalogue(CLUSTER, "tiers.yaml")).split("\n\n")[0]
