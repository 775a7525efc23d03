"""The ablation: two variants of two iterations, from images to a table; bad input; a second call repeats nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import ROOT
from PIL import Image

from train import ablation
from train.method.data import rendered_scenes

if TYPE_CHECKING:
    from pathlib import Path

QUICK = (
    "solver.iterations=2",
    "solver.warmup_iterations=1",
    "solver.period=2",
    "run.batch=1",
    "run.validation_images=1",
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(rendered_scenes(6, 240, 320)):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def test_variants_end_in_one_table(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "ablation"
    arguments = ["--config", "toy", "--held-out", str(images), "--output", str(output), "--seeds", "1"]
    arguments += ["--variants", "lora", "bilevel", "--", f"data.train={images}", *QUICK]
    assert ablation.main(arguments) == 0
    assert capsys.readouterr().out == (output / "ablation.md").read_text(encoding="utf-8")
    document = json.loads((output / "ablation.json").read_text(encoding="utf-8"))
    rows = document["tasks"]["composite"]
    assert list(rows) == ["input", "hidra-tiny without adaptation", "lora", "bilevel"]
    assert rows["lora"]["psnr"] != rows["bilevel"]["psnr"]  # not the same weights twice
    assert rows["lora"]["psnr"]["mean"] == pytest.approx(
        document["runs"]["means"]["composite"]["lora-0"]["psnr"], abs=1e-4
    )
    assert list(document["probes"]) == ["bilevel"]  # the DEM of lora reads nothing that Σ would use
    written = (output / "lora-0" / "weights.safetensors").stat().st_mtime_ns
    assert ablation.main(arguments) == 0
    assert (output / "lora-0" / "weights.safetensors").stat().st_mtime_ns == written


def test_bad_input_is_refused_before_training(images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    output = tmp_path / "ablation"
    arguments = ["--config", "toy", "--output", str(output), "--held-out"]
    assert ablation.main([*arguments, str(images), "data.train=scenes"]) == 1  # probes need images
    assert ablation.main([*arguments, str(tmp_path / "nothing"), f"data.train={images}"]) == 1
    assert ablation.main([*arguments, str(images), "--seeds", "0", "--", f"data.train={images}"]) == 1
    assert "scenes" in caplog.text
    assert "nothing" in caplog.text
    assert "--seeds" in caplog.text
    assert not output.exists()


def test_summary_over_seeds() -> None:
    assert ablation.summary([20.0, 22.0, 24.0]) == {"mean": 22.0, "deviation": 2.0, "runs": 3}
    rows = {"joint": {"psnr": ablation.summary([20.0, 22.0, 24.0])}, "input": {"psnr": ablation.summary([18.0])}}
    lines = ablation.table(rows, {"psnr": ("PSNR dB", 2), "ssim": ("SSIM", 3)}).splitlines()
    assert lines[2:] == ["| joint | 22.00 ± 2.00 | – |", "| input | 18.00 | – |"]


def test_an_interrupted_run_has_time_to_save(tmp_path: Path) -> None:
    heed = (
        "import signal, sys, time; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells may ignore it
    )
    child = f"{heed}try:\n  print('ready', flush=True)\n  time.sleep(60)\n"
    child += "except KeyboardInterrupt:\n  time.sleep(1)\n  open(sys.argv[1], 'w').close()"
    parent = f"{heed}from train import ablation; ablation.exit_code(sys.argv[1:])"
    saved = tmp_path / "saved"
    command = [sys.executable, "-c", parent, sys.executable, "-c", child, str(saved)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.wait(60) != 0
    assert saved.exists()
