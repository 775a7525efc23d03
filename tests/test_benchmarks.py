"""The programs that need another machine run on this one in miniature."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(sys.platform == "win32", reason="the program forks, which Windows cannot do")
def test_figures_of_a_gpu(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    pytest.importorskip("accelerate")
    file = tmp_path / "gpu.md"
    options = ("--miniature", "--parts", "sd-turbo", "tiny", "training", "--seconds", "600")
    run = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", file, *options], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    lines = file.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert all(float(row[5]) > 0 for row in rows), f"each row has a time:\n{run.stdout}{run.stderr}"
    measured = {(row[0], row[1]) for row in rows}
    assert {("sd-turbo", way) for way in ("plain", "hooked", "folded", "folded, thin decoder")} <= measured
    assert {("tiny", call) for call in ("hidra_core.estimate", "hidra_core.enhance")} <= measured
    assert {("training", f"{order}, ordinary") for order in ("this project", "published order")} <= measured
