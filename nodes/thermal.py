"""Load Thermal Image and Save Thermal Image: 16-bit counts in, the same kind of counts out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from comfy_api.latest import io

from ..hidra_core.images import to_grey
from ..hidra_core.images.files import write_json
from ..hidra_core.scenes import SCENES
from ..hidra_core.sources import Change, CountsSource, Reading, open_source
from ..hidra_core.thermal.frames import repeated
from ..hidra_core.thermal.readers import THERMAL_EXTENSIONS
from ..hidra_core.thermal.sample import thermal_sample
from ..hidra_core.video import is_clip
from . import host
from .images import taken
from .reading import (
    FrameInputs,
    MappingInputs,
    frame_inputs,
    mapping_inputs,
    reading_of,
)
from .schema import UploadInput, advanced, schema
from .shown import MOST_PAGES, shown

if TYPE_CHECKING:
    from pathlib import Path

    from ..hidra_core.thermal import Unit

Thermal = io.Custom("HIDRA_THERMAL")
NO_FILE = "(sample scene)"
"""Choice of no file. Earlier workflows have an empty name for it."""
"""The choice of no file."""

FORMATS = {"TIFF": ".tiff", "PNG": ".png"}
COUNTS = "counts"
UNITS: dict[str, Unit | None] = {COUNTS: None, "celsius": "celsius", "kelvin": "kelvin"}


class LoadThermal(io.ComfyNode):
    """Reads the counts of a thermal camera as images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "files",
            node_id="HiDRA_LoadThermal",
            display_name="Load Thermal Image (FLIR, 16-bit, Temperature)",
            description="Reads the counts of a thermal camera, or temperatures: grey PNG, PGM and TIFF (also floating "
            "point, GeoTIFF and stacks), FLIR, DJI and InfiRay radiometric JPEG, FLIR FFF, SEQ and CSQ, raw Y16, NumPy "
            "arrays; with optional packages also .irg, .is2, .cptv and .hcc. Pages and frames become a batch. The "
            "image has the range that the networks expect; Save Thermal Image converts it back.",
            search_aliases=[
                *("hidra", "thermal", "infrared", "16-bit", "radiometric", "temperature", "celsius", "kelvin"),
                *("flir", "dji", "infiray", "tiff", "geotiff", "y16", "raw", "seq", "csq", "fff", "npy"),
            ],
            inputs=[*_file_inputs(), *mapping_inputs(), *frame_inputs()],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="The scene as grey images, without borders and telemetry; pages are a batch.",
                ),
                Thermal.Output(display_name="thermal", tooltip="Counts, mapping and metadata, for Save Thermal Image."),
                io.String.Output(
                    display_name="record", tooltip="Camera, encoding, range, constants and what to know, as JSON."
                ),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        if file not in (NO_FILE, "", None) and not host.input_exists(file):
            return f"'{file}' is not in ComfyUI's input folder. Put it there or upload it, or choose another"
        return True

    @classmethod
    def fingerprint_inputs(cls, file: str, **_: object) -> str:
        return host.input_fingerprint(file) if file not in (NO_FILE, "") else NO_FILE

    @classmethod
    def execute(
        cls,
        file: str,
        sample: str,
        mapping: str,
        clip: float,
        plateau: float,
        kelvin_per_count: float,
        raw_size: str,
        **frames: Any,
    ) -> io.NodeOutput:
        file = "" if file == NO_FILE else file
        if is_clip(file):
            raise ValueError(f"{file} is a clip: load it with Load Video, and enhance it with Enhance Thermal Video")
        with host.noting() as warnings:
            counts = MappingInputs(mapping, clip, plateau, kelvin_per_count)
            reading = reading_of(file, counts, FrameInputs(raw_size, **frames))
            source = _opened(host.input_path(file), reading) if file else _sample(sample, reading)
            images = _batch(source)
        also = host.beyond(warnings, source.image)
        report = "\n".join([host.in_words_of_nodes(source.image.summary()), *also])
        record = json.dumps(_in_words(source.image.record(), also), indent=1)
        return io.NodeOutput(images, source, record, ui=shown(cls, report, images[:MOST_PAGES]))


def _file_inputs() -> list[Any]:
    return [
        UploadInput(
            "file",
            THERMAL_EXTENSIONS,
            options=[NO_FILE, *host.input_names(THERMAL_EXTENSIONS)],
            default=NO_FILE,
            tooltip="A file from ComfyUI's input folder; others can be uploaded or dropped onto the node. "
            f"{NO_FILE} takes the sample scene.",
        ),
        io.Combo.Input(
            "sample",
            options=list(SCENES),
            default="street",
            tooltip="Without a file: a rendered 16-bit frame with noise and stripes, 0.04 K per count.",
        ),
    ]


def _opened(path: Path, reading: Reading) -> CountsSource:
    source = open_source(path, reading)
    assert isinstance(source, CountsSource)  # grey pictures are read as counts, and clips were refused
    return source


def _sample(scene: str, reading: Reading) -> CountsSource:
    return reading.source(thermal_sample(scene).image)


def _batch(source: CountsSource) -> torch.Tensor:
    """All pages as one IMAGE ``[N, H, W, 3]``."""
    images = torch.empty(len(source.image.counts), *source.scene.shape, 3)
    for image, page in zip(images, source.pages(), strict=True):
        image[:] = page
    return images


def _in_words(record: dict[str, Any], also: list[str]) -> dict[str, Any]:
    """A record in the words of the nodes, with these notes too."""
    notes = [*also, *map(host.in_words_of_nodes, record.get("notes", ()))]
    return {**record, "notes": notes} if notes else record


class SaveThermal(io.ComfyNode):
    """Writes enhanced images as counts of the camera."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "files",
            node_id="HiDRA_SaveThermal",
            display_name="Save Thermal Image (16-bit, Temperature)",
            description="Converts enhanced images back to the counts of the file they came from, and saves them with "
            "its bit depth and metadata, or as temperatures. What was no scene (telemetry, borders, no data) is saved "
            "as it was. Radiometric mode keeps temperatures and reports the change.",
            search_aliases=["hidra", "16-bit", "radiometric", "tiff", "celsius", "kelvin"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The enhanced images, of the loaded size or a whole multiple of it."),
                Thermal.Input("thermal", tooltip="From Load Thermal Image: the counts that the images were made from."),
                io.String.Input(
                    "filename_prefix",
                    default="HiDRA",
                    tooltip="Start of the file's name in the output folder; folder/name and %placeholders% work.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="TIFF",
                    tooltip="TIFF keeps several pages in one file, and temperatures; PNG makes one file per page, of 8 "
                    "or 16 bits.",
                ),
                io.Boolean.Input(
                    "radiometric",
                    default=True,
                    tooltip="Keep temperatures: remove noise and stripes, keep means and contrasts as measured. Off: "
                    "the counts as the networks made them.",
                ),
                advanced(
                    io.Boolean.Input,
                    "shading",
                    default=False,
                    tooltip="Radiometric mode only: also remove smooth shading around the middle. In a single image it "
                    "cannot be told from a scene that is warmer there.",
                ),
                io.Combo.Input(
                    "unit",
                    options=list(UNITS),
                    default=COUNTS,
                    optional=True,
                    tooltip="What is saved: counts as in the file, or temperatures as 32-bit floating-point TIFF in °C "
                    "or K.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The saved counts, as grey images."),
                io.String.Output(display_name="report", tooltip="The change in counts and kelvin, as JSON."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        thermal: CountsSource,
        filename_prefix: str,
        format: str,  # noqa: A002  the input's identifier in saved workflows
        radiometric: bool,
        shading: bool,
        unit: str = COUNTS,
    ) -> io.NodeOutput:
        image = taken(image)
        stem = host.output_stem(filename_prefix, image.shape[2], image.shape[1])
        progress = host.Progress()
        change = Change(radiometric=radiometric, shading=shading and radiometric)
        grey = to_grey(image)[:, 0].float().cpu()
        with host.noting() as warnings:
            source = CountsSource(thermal.image, thermal.mapping, thermal.scene, UNITS[unit])
            files = _files(stem, FORMATS[format], source)
            counts, reports = source.restore(grey, change, after_page=lambda done, total: progress(done / total))
            workflow = host.workflow_of(cls)
            for path, first, pages in files:
                note = workflow if path.suffix == ".tiff" else None
                one = counts[first : first + len(pages.image.counts)]
                pages.save(path, one, radiometric=radiometric, workflow=note)
                if note is None:
                    host.add_png_texts(path, workflow)
            saved = [path for path, _, _ in files]
            record = _in_words(source.record(reports), []) | {"saved": [host.output_name(path) for path in saved]}
            if reports:
                saved.append(stem.with_name(f"{stem.name}.json"))
                write_json(saved[-1], record)
        text = [*(entry.summary() for entry in reports), *warnings, "saved in the output folder:", *record["saved"]]
        images = _shown(source, counts, grey)
        ui = shown(cls, "\n".join(text), images[:MOST_PAGES], saved)
        return io.NodeOutput(images, json.dumps(record, indent=1), ui=ui)


def _files(stem: Path, suffix: str, source: CountsSource) -> list[tuple[Path, int, CountsSource]]:
    """The files to write: path, index of the first page in it, its pages.

    Raises:
        ValueError: the format cannot hold them.
    """
    if suffix == ".tiff" or len(source.image.counts) == 1:
        files = [(stem.with_name(f"{stem.name}{suffix}"), 0, source)]
    else:
        files = [
            (
                stem.with_name(f"{stem.name}{page:05}_{suffix}"),
                page,
                CountsSource(source.image.pages(page, 1), source.mapping, source.scene, source.unit),
            )
            for page in range(len(source.image.counts))
        ]
    for path, _, pages in files:
        pages.check_writable(path)
    return files


def _shown(source: CountsSource, counts: np.ndarray, grey: torch.Tensor) -> torch.Tensor:
    """The saved counts as IMAGE of the size of the enhanced images ``[N, h, w]``, which stand where no scene is."""
    scene = source.scene
    factor = grey.shape[1] // scene.shape[0]
    rows, columns = (slice(side.start * factor, side.stop * factor) for side in (scene.rows, scene.columns))
    images = torch.empty(*grey.shape, 3)
    for page, plane in enumerate(counts):
        values = source.mapping.to_values(np.nan_to_num(plane[rows, columns]))
        valid = scene.valid(page)
        if valid is not None:
            known = torch.from_numpy(repeated(valid, factor))
            values = torch.where(known, values, grey[page])
        images[page] = values[..., None]
    return images
