"""Counts of thermal cameras for ``hidra enhance``: options, names of results, and one file enhanced on its counts."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from . import fidelity
from .console import UsageError, log, reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from ..enhance import Progress
    from ..images import Picture
    from ..thermal import LinearKelvin, Mapping, ThermalImage
    from ..thermal.readers import RawLayout

KINDS = ("linear", "percentile", "plateau")  # hidra_core.thermal.mapping.KINDS, which only PyTorch's import gives


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("thermal counts")
    group.add_argument(
        "--mapping",
        choices=KINDS,
        help="how counts are brought to the networks' range and back: linear between the extremes of the scene, linear "
        "between two percentiles, or plateau equalisation (default: linear; 8-bit pictures as they are)",
    )
    group.add_argument(
        "--limits",
        metavar=("LOW", "HIGH"),
        nargs=2,
        type=float,
        help="limits of the mapping: counts for linear, percent for percentile (default: 0.5 99.5) and plateau "
        "(default: 0.1 99.9)",
    )
    group.add_argument(
        "--plateau",
        metavar="N",
        type=float,
        help="where plateau equalisation cuts the histogram, in multiples of an even one; 1 is nearly linear, large is "
        "full equalisation (default: 3)",
    )
    group.add_argument(
        "--radiometric",
        action="store_true",
        help="keep temperatures: take noise and stripes off, and leave means and contrasts as measured; also writes "
        "NAME-radiometric.json with the change, its bias and its largest value",
    )
    group.add_argument(
        "--shading",
        action="store_true",
        help="with --radiometric: also take off smooth shading around the middle, which one image cannot tell from a "
        "scene that is warmer there",
    )
    group.add_argument(
        "--kelvin",
        metavar="SCALE[,OFFSET]",
        type=_kelvin,
        help="kelvin a count and at count 0, for cameras in TLinear mode (0.04, 0.01); reports are then in kelvin too",
    )
    group.add_argument(
        "--raw-size",
        metavar="WIDTHxHEIGHT",
        type=_size,
        help="size of raw Y16 frames (.raw, .y16) (default: from the name, else from the length of the file)",
    )
    group.add_argument(
        "--raw-order",
        choices=("auto", "little", "big"),
        default="auto",
        help="byte order of raw Y16 frames; auto: the smoother one (default: auto)",
    )


def check_options(arguments: argparse.Namespace) -> None:
    if arguments.shading and not arguments.radiometric:
        raise UsageError("--shading is a part of radiometric mode: give --radiometric too")
    if arguments.plateau is not None and arguments.mapping != "plateau":
        raise UsageError("--plateau belongs to --mapping plateau: give that too")
    import numpy as np

    from ..thermal import fit

    try:  # ranges are the library's business; a small slope shows what it thinks of them
        fit(arguments.mapping or "linear", np.arange(64, dtype=np.uint16).reshape(1, 8, 8), **_parameters(arguments))
        _relation(arguments)
        _layout(arguments)
    except ValueError as error:
        raise UsageError(reason(error)) from error


def result_name(source: Path, name: Path, arguments: argparse.Namespace) -> Path:
    """What the result of a picture is called: like it, but 16-bit TIFF for counts out of a JPEG, FFF or raw file."""
    from ..thermal.readers import is_radiometric

    if arguments.format:
        return name.with_suffix(f".{arguments.format}")
    return name.with_suffix(".tiff") if is_radiometric(source) else name


def read(source: Path, arguments: argparse.Namespace) -> ThermalImage | Picture:
    """The file as counts, where it holds them or an option asks for them; else as a picture."""
    from ..thermal.readers import read_input, read_thermal

    asked = arguments.radiometric or arguments.mapping is not None or arguments.limits is not None
    return (read_thermal if asked else read_input)(source, raw=_layout(arguments), relation=_relation(arguments))


def enhance_counts(
    image: ThermalImage,
    output: Path,
    enhanced: Callable[[torch.Tensor, Progress], torch.Tensor],
    arguments: argparse.Namespace,
    progress: Progress,
    look: Callable[[torch.Tensor, torch.Tensor], None],
) -> None:
    """Enhance counts page by page and write them, the report of radiometric mode before them.

    Args:
        enhanced: makes one page, ``[H, W, 1]`` in [0, 1], its enhanced version.
        look: called with the first page before and after, as the networks see it, before anything is written.
    """
    import torch

    from ..thermal import bring_back, check_thermal_writable, write_thermal

    check_thermal_writable(output, image)
    mapping = _mapping(image, arguments)
    pages = mapping.to_values(image.counts)[..., None]
    results = []

    def shared(share: float, picture: torch.Tensor | None) -> None:
        progress((len(results) + share) / len(pages), picture)

    for page in pages:
        results.append(enhanced(page, shared))
    counts, reports = bring_back(
        torch.stack(results)[..., 0],
        image,
        mapping,
        radiometric=arguments.radiometric,
        with_shading=arguments.shading,
    )
    counts = fidelity.blended_counts(image.counts, counts, arguments)
    look(pages[0], mapping.to_values(counts[0])[..., None])
    note: dict[str, Any] = {"mapping": {"kind": mapping.kind, "parameters": mapping.parameters}}
    if reports:
        note["radiometric"] = True
        record = {**image.record(), "mapping": mapping.to_dict(), "report": [entry.to_dict() for entry in reports]}
        _write_json(report_path(output), record)
        for number, entry in enumerate(reports, 1):
            log.info("%s, page %d: %s", image.path, number, entry.summary())
    if fidelity.gives_back(image.path, output, arguments):
        fidelity.copy(image.path, output)
    else:
        write_thermal(output, counts, image, note=note)


def report_path(output: Path) -> Path:
    """Where the report of radiometric mode on this result goes."""
    return output.with_name(f"{output.stem}-radiometric.json")


def _mapping(image: ThermalImage, arguments: argparse.Namespace) -> Mapping:
    from ..thermal import fit, identity

    parameters = _parameters(arguments)
    if arguments.mapping is None and not parameters and image.bit_depth == 8:
        return identity(image.counts.dtype)
    return fit(arguments.mapping or "linear", image.counts, **parameters)


def _parameters(arguments: argparse.Namespace) -> dict[str, float]:
    found = {} if arguments.limits is None else dict(zip(("low", "high"), arguments.limits, strict=True))
    return found if arguments.plateau is None else {**found, "plateau": arguments.plateau}


def _relation(arguments: argparse.Namespace) -> LinearKelvin | None:
    from ..thermal import LinearKelvin

    return None if arguments.kelvin is None else LinearKelvin(*arguments.kelvin)


def _layout(arguments: argparse.Namespace) -> RawLayout:
    from ..thermal.readers import RawLayout

    return RawLayout(arguments.raw_size, arguments.raw_order)


def _write_json(path: Path, record: dict[str, Any]) -> None:
    from ..images.files import atomic_path

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _kelvin(text: str) -> tuple[float, ...]:
    parts = text.split(",")
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected SCALE or SCALE,OFFSET such as 0.04 or 0.01,0, got '{text}'")
    return numbers


def _size(text: str) -> tuple[int, int]:
    from ..thermal.readers.y16 import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
