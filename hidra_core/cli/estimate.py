"""``hidra estimate``: the degradation of images, as JSON, as text or as a map."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .console import FAILED, OK, UsageError, log, reason, report, say
from .inputs import check_file, check_model_paths, find_files, require
from .model import pick
from .options import add_command, add_device, add_inputs, add_overwrite, add_quiet, add_weights
from .progress import progress
from .reading import add_raw, reading_of

if TYPE_CHECKING:
    import argparse

    import torch

    from ..sources import Reading, Source
    from ..weights import Weights


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "estimate",
        run,
        "estimate the degradation of images, as JSON, text or a t-SNE map",
        "Estimate the degradation vectors of images with the DEM and write them as JSON: the weights used and, for "
        "each image, its file, size, bit depth, the 256 numbers of the vector and their Euclidean norm. Where the "
        "weights have probes, the JSON also says what degrades the image and how much. Of files with several pages the "
        "first page is used. Counts are stretched to their own range first, as by 'hidra enhance'.",
        "  hidra estimate frame.png --text\n"
        "  hidra estimate flight/ --output vectors.json\n"
        "  hidra estimate monday/ tuesday/ --tsne map.png --output vectors.json",
    )
    add_inputs(parser)
    add_weights(parser)
    add_device(parser)
    add_raw(parser)
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="file for the JSON or the text (default: the standard output)"
    )
    parser.add_argument(
        "--text",
        action="store_true",
        help="write a report to read instead of JSON, with bars where the weights have probes",
    )
    parser.add_argument(
        "--tsne",
        metavar="FILE",
        type=Path,
        help="also draw a map of the vectors (t-SNE), coloured by folder, as .png, .pdf or .svg, and add positions and "
        "silhouette to the JSON; needs pip install 'hidra-thermal[embedding]'",
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        type=Path,
        help="colour the map by labels from a CSV file with 'file,label' on each line; files without a label are grey",
    )
    add_overwrite(parser, "replace files that exist (default: refuse)")
    add_quiet(parser)


@dataclass(frozen=True)
class Estimated:
    """The result for one file; of several pages the first is estimated."""

    source: Source
    size: tuple[int, int]  # width and height
    vector: torch.Tensor
    report: list[str]
    correction: dict[str, float] | None = None  # what the corrector takes off, if the weights have one


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    check_model_paths(arguments.weights, arguments.dem_backbone)
    files = [source for source, _ in find_files(arguments.inputs)]
    labels = _check_map(arguments, files)
    if arguments.output is not None:
        if arguments.output.suffix.lower() == ".safetensors":
            raise UsageError(
                f"--output {arguments.output}: JSON or text is written, no file for Load Degradation or hidra bake; "
                "give it .json or .txt. Vectors as .safetensors are written by the node Save Degradation, and by "
                "save_degradation() of the library"
            )
        check_file(arguments.output, arguments.overwrite, files)
        if arguments.tsne is not None and arguments.output.absolute() == arguments.tsne.absolute():
            raise UsageError(f"--output and --tsne are both {arguments.output}: give each a file of its own")
    reading = reading_of(arguments)
    require("tqdm")
    from ..weights import load_weights

    device, _ = pick(arguments.device)
    weights = load_weights(arguments.weights, dem_backbone=arguments.dem_backbone)
    weights.estimator.to(device)
    results = []
    with progress(len(files), arguments) as shown:
        for index, source in enumerate(files):
            shown.begin(f"{index + 1}/{len(files)} {source.name}")
            try:
                results.append(_estimate(source, weights, reading, arguments.text))
                shown.done()
            except Exception as error:  # noqa: BLE001  one bad file must not stop the others
                report(error, arguments, source)
            shown.advance(index + 1)
    if not results:
        log.error("none of %d files could be estimated, and nothing is written", len(files))
        return FAILED

    drawn = _draw_map(arguments, results, [labels[result.source.path] for result in results]) if labels else None
    text = _as_text(results, weights) if arguments.text else _as_json(results, weights, drawn)
    failed = len(files) - len(results)
    if arguments.output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
    else:
        from ..images.files import atomic_path

        with atomic_path(arguments.output) as temporary:
            temporary.write_text(text, encoding="utf-8")
        say(f"{len(results)} estimated, {failed} failed", arguments)
    return FAILED if failed else OK


def _estimate(path: Path, weights: Weights, reading: Reading, with_report: bool) -> Estimated:
    from ..enhance import estimate
    from ..images import to_grey
    from ..images.search import check_entry
    from ..sources import open_images
    from ..vectors import image_lines

    check_entry(path)
    source = open_images(path, reading)
    page = next(source.pages())
    vector = estimate([page], weights).vectors[0]
    height, width = page.shape[:2]
    lines = image_lines(page, vector, weights) if with_report else []
    correction = None
    if weights.corrector is not None:
        [correction] = weights.corrector.read(to_grey(page[None]).float()).to_dicts()
    return Estimated(source, (width, height), vector, lines, correction)


def _as_text(results: list[Estimated], weights: Weights) -> str:
    blocks = [[f"weights: {weights.source} (for {weights.backbone})"]]
    for result in results:
        first, *rest = result.report
        name = str(result.source.path).encode("utf-8", "backslashreplace").decode()  # a name may be any bytes
        blocks.append([f"{name}: {first}", *rest])
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _as_json(results: list[Estimated], weights: Weights, drawn: Map | None) -> str:
    about = {"source": weights.source, "backbone": weights.backbone, "training": weights.training}
    entries = [_entry(result, weights) for result in results]
    silhouette = ""
    if drawn is not None:
        for entry, label, point in zip(entries, drawn.labels, drawn.points, strict=True):
            entry["label"], entry["tsne"] = label, point
        silhouette = f'"silhouette": {json.dumps(drawn.silhouette)},\n'
    images = ",\n".join(json.dumps(entry) for entry in entries)
    return f'{{\n"weights": {json.dumps(about)},\n{silhouette}"images": [\n{images}\n]\n}}\n'


def _entry(result: Estimated, weights: Weights) -> dict[str, Any]:
    from ..readouts import PARTS

    vector, (width, height) = result.vector, result.size
    entry = {
        "file": str(result.source.path),
        "width": width,
        "height": height,
        "bit_depth": result.source.bit_depth,
        "norm": _float32(vector.norm().item()),
    }
    if weights.probes is not None:
        entry["degradation"] = weights.probes.read(vector[None])[0].to_dict()
    if weights.restraint is not None:
        shares = weights.restraint.shares(vector[None])[0].tolist()
        entry["restraint"] = {band: round(share, 4) for band, share in zip(PARTS, shares, strict=False)}
    if result.correction is not None:
        entry["corrector"] = result.correction
    return entry | {"vector": [_float32(value) for value in vector.tolist()]}


def _float32(value: float) -> float:
    """The same float32, rounded to the nine digits that tell it from all others."""
    return float(f"{value:.9g}")


# ---------------------------------------------------------------- the map


@dataclass(frozen=True)
class Map:
    """The positions and labels of the images on the map, in their order."""

    points: list[list[float]]
    labels: list[str]
    silhouette: float | None


def _check_map(arguments: argparse.Namespace, files: list[Path]) -> dict[Path, str]:
    """The label of every file, none if no map is wanted; raises UsageError before any work."""
    path = arguments.tsne
    if path is None:
        if arguments.labels is not None:
            raise UsageError("--labels colours the map: give --tsne too")
        return {}
    from ..vectors import FEWEST, SUFFIXES, check_packages

    check_packages()
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--tsne {path}: a map is written as {', '.join(SUFFIXES)}; give it one of these suffixes")
    check_file(path, arguments.overwrite, files, "--tsne")
    if len(files) < FEWEST:
        raise UsageError(f"--tsne needs at least {FEWEST} files, got {len(files)}")
    if arguments.labels is None:
        return {source: str(source.parent) for source in files}
    return _read_labels(arguments.labels, files)


def _read_labels(listing: Path, files: list[Path]) -> dict[Path, str]:
    """Labels by file, empty where the list does not name it; the list may have paths or file names."""
    try:
        with open(listing, newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--labels {listing} cannot be read: {reason(error)}") from error
    by_name = {}
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise UsageError(f"--labels {listing}, entry {number}: expected 'file,label', got '{','.join(row)}'")
        by_name[row[0].strip()] = row[1].strip()
    labels = {source: by_name.get(str(source), by_name.get(source.name, "")) for source in files}
    if not any(labels.values()):
        raise UsageError(f"--labels {listing} names none of the {len(files)} files, the first {files[0]}")
    return labels


def _draw_map(arguments: argparse.Namespace, results: list[Estimated], labels: list[str]) -> Map | None:
    import numpy as np

    from ..vectors import FEWEST, draw, silhouette, tsne

    if len(results) < FEWEST:  # some failed; the vectors of the others are still worth writing
        log.error("no map %s: it needs at least %d images, %d could be read", arguments.tsne, FEWEST, len(results))
        return None
    vectors = np.stack([result.vector.numpy() for result in results])
    points = tsne(vectors)
    named = np.array([bool(label) for label in labels])
    score = silhouette(vectors[named], [label for label in labels if label])
    title = f"degradation vectors of {len(results)} images ({arguments.weights})"
    colouring = "label" if arguments.labels is not None else "folder"
    if score is not None:
        colouring += f", silhouette {score:.2f}"
    draw(points, {colouring: labels}, arguments.tsne, title)
    return Map([[round(float(value), 3) for value in point] for point in points], labels, score)
