"""Train the corrector of brightness and shading, and store it in a weights file.

    python train/corrector.py --images CLEAN --held-out OTHERS --pack views.npz           # measure the images, once
    python train/corrector.py --pack views.npz --output run                               # train; again: resumes
    python train/corrector.py --output run --weights hidra-tiny --into corrected.safetensors
    python train/corrector.py --images CLEAN --held-out OTHERS --pack views.npz --output run --into …     # all at once

Clean images are reduced to small frames and degraded on the fly, so that the network sees millions of them in minutes:
parts of images in other tones, mirrored, partly covered by others, and synthetic skies and grounds. ``run`` receives
``log.csv`` with the figures on images of the training and on the held-out ones, ``checkpoint.pt`` and, with the
averaged weights, ``corrector.safetensors``. ``--into`` writes a copy of a weights file with the corrector in it;
everything else stays bit for bit. ``--with`` names networks of other runs: the corrections of all are averaged.

Source: none, this is an addition to HiDRA.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import logging
import sys
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

import torch

from hidra_core.cli.console import reason
from hidra_core.images.files import atomic_path, read_safetensors, write_safetensors
from hidra_core.readouts import Corrector, CorrectorEnsemble, CorrectorNetwork
from hidra_core.weights import add_corrector, corrector_tensors, read_corrector
from train.correcting.pack import Pack
from train.correcting.training import CUTOFF, Settings, Training, describe

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("train")


def work(options: argparse.Namespace) -> None:
    """Do what the options ask for.

    Raises:
        ValueError: options that do not belong together, or files that are not as expected.
        OSError: a file cannot be read or written.
    """
    if not (options.images or options.output):
        raise ValueError("nothing to do: give --images and --pack, or --output, or all of them")
    if options.into is not None and options.into.exists() and not options.overwrite:
        raise ValueError(f"--into {options.into} exists; --overwrite replaces it")
    if options.images is not None:
        if options.held_out is None or options.pack is None:
            raise ValueError("--images needs --held-out, other images to measure on, and --pack, the file to write")
        Pack.of(options.images, options.held_out, options.per_source).save(options.pack)
        log.info("wrote %s, %.1f MB", options.pack, options.pack.stat().st_size / 1e6)
    if options.output is None:
        return
    trained = options.output / "corrector.safetensors"
    if options.pack is not None:
        options.output.mkdir(parents=True, exist_ok=True)
        settings = Settings(**{field.name: getattr(options, field.name) for field in fields(Settings)})
        training = Training(Pack.load(options.pack), settings, torch.device(options.device))
        checkpoint = options.output / "checkpoint.pt"
        if checkpoint.exists():
            training.load(checkpoint)
            log.info("continuing after %.0f seconds", training.seconds)
        training.run(checkpoint, partial(_write, training, options.output, trained))
        log.info("wrote %s: %s", trained, json.dumps(describe(training)["figures"]))
    if options.into is not None:
        add_corrector(options.weights, _joined([trained, *options.others]), options.into)
        log.info("wrote %s", options.into)


def _joined(paths: Sequence[Path]) -> Corrector:
    """The corrector of a file, or the mean of those of several.

    Raises:
        ValueError: a file that is none, or that is already a mean, or other cut-offs than that of the first.
        OSError: a file cannot be read.
    """
    correctors = [read_corrector(path, *read_safetensors(path)) for path in paths]
    first, *others = correctors
    if not others:
        return first
    networks = []
    for path, corrector in zip(paths, correctors, strict=True):
        if not isinstance(corrector.network, CorrectorNetwork) or corrector.cutoff != first.cutoff:
            raise ValueError(
                f"{path} cannot be averaged: expected one network with a cut-off of {first.cutoff:g} cells"
            )
        networks.append(corrector.network)
    fitted = {"members": [corrector.fitted for corrector in correctors]}
    return Corrector(CorrectorEnsemble.of(networks), first.cutoff, fitted)


def _write(training: Training, folder: Path, trained: Path) -> None:
    with atomic_path(folder / "log.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(training.history[-1]))
        rows.writeheader()
        rows.writerows(training.history)
    corrector = Corrector(copy.deepcopy(training.average), CUTOFF, describe(training))
    write_safetensors(corrector_tensors(corrector), trained, {"corrector": json.dumps(corrector.header())})


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("Clean images")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, help="folder of clean thermal images to train on; writes --pack")
    parser.add_argument("--held-out", type=Path, help="folder of other clean images, to measure on")
    parser.add_argument("--pack", type=Path, help="the .npz with what was measured of the images")
    parser.add_argument(
        "--per-source",
        type=int,
        default=10**6,
        help="largest number of images whose names begin alike, up to their first underscore (default: all)",
    )
    parser.add_argument("--output", type=Path, help="folder of the run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    for field in fields(Settings):
        kind = type(field.default)
        name = f"--{field.name.replace('_', '-')}"
        parser.add_argument(name, type=kind, default=field.default, help=f"(default: {field.default})")
    parser.add_argument("--weights", default="hidra-tiny", help="weights file that gets the corrector")
    parser.add_argument(
        "--with",
        dest="others",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="corrector.safetensors of other runs: --into gets the mean of all",
    )
    parser.add_argument(
        "--into", type=Path, help="copy of --weights to write, with the corrector; may be that file, with --overwrite"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --into if it exists")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        work(options)
    except (ValueError, OSError) as error:
        log.error("error: %s", reason(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
