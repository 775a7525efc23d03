"""What the pack costs when the host starts, in a process of the host's interpreter."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Host

ROOT = Path(__file__).parents[2]
LATE = ("av", "diffusers", "matplotlib", "pyiqa", "scipy.spatial", "sklearn")
"""Slow to import, or not part of the host: imported when they are needed."""


def test_the_start_takes_no_time_and_imports_nothing_slow(comfyui: Host) -> None:
    program = Path(__file__).with_name("startup.py")
    command = [comfyui.python, str(program), str(comfyui.path), str(ROOT), *LATE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    nodes, seconds, *imported = done.stdout.splitlines()
    assert (nodes, imported) == ("24 nodes", [])
    assert float(seconds) < 0.9  # some 0.3 on an idle machine, 0.5 on a busy one; each of the late ones adds a second
