"""The README's Python runs as it stands, against a gateway on another port."""

import re
from pathlib import Path

import pytest

from tests.e2e.cluster import Served

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]


def test_readme_python_runs(served: Served, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    assert found
    for block in found:
        assert "http://127.0.0.1:8000" in block
        exec(compile(block.replace("http://127.0.0.1:8000", served.url), "README.md", "exec"), {})  # noqa: S102
    tier, cost_usd, decision_id = capsys.readouterr().out.split()
    assert tier in ("small", "slow", "narrow")
    assert float(cost_usd) > 0
    assert served.journal.read_decision(decision_id) is not None
