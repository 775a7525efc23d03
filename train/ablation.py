"""What each part of the training is worth: all strategies from the same start, equally many iterations, one table.

    python train/ablation.py --config hidra-tiny --held-out CLEAN --output runs/ablation data.train=/my/images
    python train/ablation.py … --variants joint bilevel --seeds 5 solver.iterations=1000   # any value of the config
    python train/ablation.py …                                                      # again: continues where it stopped

Runs ``train/run.py`` for every variant and seed, one after the other, then ``hidra evaluate`` with all of their
weights and the bare backbone on ``--held-out``, and fits linear probes to the vectors of every DEM, as
``train/probing/embedding.py`` does. ``--output`` receives one folder per run, ``weights/``, ``evaluation/``,
``ablation.json`` and ``ablation.md``: mean and standard deviation over the seeds. An iteration that moves the upper
level costs four ordinary ones; the table compares equal numbers of iterations, not equal time.

Source: HiDRA (CVPR 2026), ablations of training strategy and of the DEM.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.backbone import pick_device
from hidra_core.evaluation.provenance import machine
from hidra_core.images.files import atomic_path
from hidra_core.weights import load_weights
from train.method.config import add_options, read_config
from train.probing.embedding import GROUPS, separation
from train.probing.labelled import ALONE, SEVERITIES, degraded_vectors, load_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from train.method.config import Config

log = logging.getLogger("train")

ROOT = Path(__file__).resolve().parents[1]

FRAME, DRAWS = (240, 320), 2
"""Of the probes: size of the frames in pixels, and degradations of each held-out image."""

VARIANTS = {
    "lora": ["solver.strategy=lora"],
    "joint": ["solver.strategy=joint"],
    "alternating": ["solver.strategy=alternating"],
    "bilevel": ["solver.strategy=bilevel"],
    "bilevel-without-mia": ["solver.strategy=bilevel", "model.mia=false"],
}
"""Overrides of the configuration by which the rows of the table differ."""

METRICS = {"psnr": ("PSNR dB", 2), "psnr_affine": ("PSNR dB after gain and offset", 2), "ssim": ("SSIM", 3)}
"""Columns of the evaluation's tables: titles and digits."""

PROBES = {group: (f"{group} told apart", 3) for group in GROUPS}
"""Columns of the table of linear probes: titles and digits."""

Figures = dict[str, dict[str, float]]
"""For each column what :func:`summary` gives."""


def exit_code(command: list[str]) -> int:
    """Run a program to its end. Ctrl-C reaches the program as well, and it gets the time to save its state.

    Args:
        command: the program and its arguments.

    Returns:
        Its exit code.

    Raises:
        KeyboardInterrupt: after the program has ended.
    """
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def run_one(config: str, overrides: list[str], output: Path) -> Path:
    """Run ``train/run.py``, unless it has already come to its end.

    Args:
        config: name or file of the configuration.
        overrides: of its values.
        output: folder of the run.

    Returns:
        Its weights file.

    Raises:
        RuntimeError: the run failed or was stopped; it has said why.
    """
    weights = output / "weights.safetensors"
    if not weights.exists():
        command = [sys.executable, str(ROOT / "train" / "run.py"), "--config", config, *overrides]
        code = exit_code([*command, f"run.output={output}"])
        if code:
            raise RuntimeError(f"{output.name} ended with exit code {code}; the same command continues from there")
    return weights


def evaluate(weights: list[Path], config: Config, held_out: Path, output: Path, tasks: str) -> dict[str, Any]:
    """Run ``hidra evaluate``, with the bare backbone too, in fp32, so that rounding decides nothing.

    Args:
        weights: the files.
        config: of the runs; names the backbone.
        held_out: folder of clean images.
        output: folder for its results.
        tasks: as on its command line.

    Returns:
        Means by task and row.

    Raises:
        subprocess.CalledProcessError: it failed; it has said why.
    """
    command = [sys.executable, "-m", "hidra_core", "evaluate", str(held_out.resolve())]
    command += ["--output", str(output.resolve())]
    command += ["--tasks", tasks, "--metrics", ",".join(METRICS), "--baselines", "none", "--bare", "--overwrite"]
    command += ["--dtype", "fp32", "--backbone", config.model.backbone, "--sheet-rows", "0"]
    command += [part for path in weights for part in ("--weights", str(path.resolve()))]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    document = json.loads((output / "evaluation.json").read_text(encoding="utf-8"))
    return {task["name"]: task["means"] for task in document["tasks"]}


def told_apart(
    weights: list[Path], fitting: Sequence[np.ndarray], held: Sequence[np.ndarray]
) -> dict[str, dict[str, float]]:
    """How well linear probes of each DEM's vectors tell presets apart.

    Args:
        weights: the files.
        fitting: clean images to fit the probes on.
        held: clean images to measure on.

    Returns:
        Accuracy by name of the file and group of presets.
    """
    presets, accuracies = ALONE | SEVERITIES, {}
    for path in weights:
        estimator = load_weights(path).estimator.to(pick_device("auto"))
        known, measured = (
            degraded_vectors(images, presets, dict.fromkeys(presets, draws), estimator, FRAME, seed)
            for images, draws, seed in ((fitting, 1, 0), (held, DRAWS, 1))
        )
        accuracies[path.stem] = {
            group: separation(known, measured, names)["accuracy"] for group, names in GROUPS.items()
        }
    return accuracies


def summary(values: list[float]) -> dict[str, float]:
    """Mean and standard deviation of the values of all seeds, rounded to four digits, and how many there are."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": round(statistics.fmean(values), 4), "deviation": round(spread, 4), "runs": len(values)}


def table(rows: Mapping[str, Figures], columns: dict[str, tuple[str, int]]) -> str:
    """A Markdown table of means and standard deviations; a dash where a row has no such number.

    Args:
        rows: for each row the numbers of its columns, of :func:`summary`.
        columns: title and digits of each column.

    Returns:
        The table.
    """
    lines = [
        "| variant | " + " | ".join(title for title, _ in columns.values()) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, row in rows.items():
        cells = []
        for key, (_, digits) in columns.items():
            value = row.get(key)
            spread = f" ± {value['deviation']:.{digits}f}" if value and value["runs"] > 1 else ""
            cells.append(f"{value['mean']:.{digits}f}{spread}" if value else "–")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def evaluated(by_method: dict[str, dict[str, float]], runs: dict[str, list[str]]) -> dict[str, Figures]:
    """The rows of one task.

    Args:
        by_method: means of the metrics of every row of ``hidra evaluate``.
        runs: for each variant the names of its runs.

    Returns:
        The input, the bare backbone and each variant over its runs.
    """
    bare = next(method for method in by_method if method.endswith("without adaptation"))
    sources = {"input": ["input"], bare: [bare]} | runs
    return {
        row: {key: summary([by_method[name][key] for name in names]) for key in METRICS}
        for row, names in sources.items()
    }


def train_all(options: argparse.Namespace) -> tuple[dict[str, list[str]], list[Path]]:
    """Train every variant with every seed.

    Args:
        options: of the command line.

    Returns:
        For each variant the names of its runs, and the weights of all runs, copied into one folder.

    Raises:
        RuntimeError: a run failed or was stopped.
    """
    folder = options.output / "weights"
    folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, list[str]] = {variant: [] for variant in options.variants}
    files: list[Path] = []
    # seeds outermost: a table of fewer seeds can be made of a run that was stopped
    for seed in range(options.seeds):
        for variant in options.variants:
            name = f"{variant}-{seed}"
            log.info("%s", name)
            overrides = [*options.overrides, *VARIANTS[variant], f"run.seed={seed}"]
            file = folder / f"{name}.safetensors"
            shutil.copyfile(run_one(options.config, overrides, options.output / name), file)
            runs[variant].append(name)
            files.append(file)
    return runs, files


def compare(options: argparse.Namespace, config: Config) -> str:
    """Train, measure, and write the results.

    Args:
        options: of the command line.
        config: of the runs.

    Returns:
        The tables, as in ``ablation.md``.

    Raises:
        ValueError: too few images.
        OSError: images are missing, or the results cannot be written.
        RuntimeError: a run failed or was stopped.
        subprocess.CalledProcessError: the evaluation failed.
    """
    images = argparse.Namespace(
        images=Path(config.data.train), held_out=options.held_out, frame=FRAME, count=150, draws=DRAWS, seed=0
    )
    fitting, held = load_split(images)
    runs, files = train_all(options)
    means = evaluate(files, config, options.held_out, options.output / "evaluation", options.tasks)
    # the DEM of lora is not trained, and Σ does not read it
    read_by = {variant: names for variant, names in runs.items() if variant != "lora"}
    reading = {name for names in read_by.values() for name in names}
    probes = told_apart([file for file in files if file.stem in reading], fitting, held)
    parts = {task: evaluated(by_method, runs) for task, by_method in means.items()}
    tables = [f"## {task}\n\n{table(rows, METRICS)}" for task, rows in parts.items()]
    read = {
        variant: {group: summary([probes[name][group] for name in names]) for group in GROUPS}
        for variant, names in read_by.items()
    }
    tables.append(f"## linear probes of P, share right on held-out images\n\n{table(read, PROBES)}")
    document = {
        "command": shlex.join(sys.argv),
        "machine": machine(),
        "config": config.model_dump(mode="json"),
        "seeds": options.seeds,
        "tasks": parts,
        "probes": read,
        "runs": {"means": means, "probes": probes},
    }
    heading = f"{config.solver.iterations} iterations each, {options.seeds} seeds"
    text = "\n\n".join(("# Ablation", heading, *tables))
    for name, content in (("ablation.json", json.dumps(document, indent=1)), ("ablation.md", text)):
        with atomic_path(options.output / name) as temporary:
            temporary.write_text(content + "\n", encoding="utf-8")
    return text


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code: 130 where Ctrl-C ended it.
    """
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("Runs ``train")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--held-out", type=Path, required=True, help="folder of clean images that no run sees")
    parser.add_argument("--output", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant (default: 3)")
    parser.add_argument("--tasks", default="composite", help="of hidra evaluate (default: composite)")
    options = parser.parse_intermixed_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    log.setLevel(logging.INFO)
    try:
        if options.seeds < 1:
            raise ValueError("--seeds must be 1 or more")
        text = compare(options, read_config(options.config, options.overrides))
    except (ValueError, OSError, RuntimeError, subprocess.CalledProcessError) as error:
        log.error("error: %s", error)
        return 1
    except KeyboardInterrupt:
        log.info("interrupted; the same command continues from there")
        return 130
    sys.stdout.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
