from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from serve.processes import descendants

FAMILY = """
import subprocess, sys, time
from serve.processes import adopt_orphans, descendants, end_descendants
adopt_orphans()
# A child that starts a grandchild in a session of its own and leaves it behind; both ignore polite signals.
grandchild = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}], start_new_session=True)"
subprocess.run([sys.executable, "-c", child], check=True)
left = descendants()
assert len(left) == 1, left
print(left[0], flush=True)
assert end_descendants(0.1) == left
assert descendants() == []
"""


def test_end_descendants_ends_orphans_of_another_session(root: Path) -> None:
    run = subprocess.run([sys.executable, "-c", FAMILY], cwd=root, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert not Path(f"/proc/{int(run.stdout)}").exists()


def test_descendants_finds_children_but_not_strangers() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = descendants()
        assert child.pid in found
        assert os.getpid() not in found
        assert os.getppid() not in found
        child.communicate(b"\n")
    assert child.pid not in descendants()
