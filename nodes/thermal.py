"""Load Thermal Image and Save Thermal Image: 16-bit counts in, the same kind of counts out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfy_api.latest import io, ui

from ..hidra_core.images import check_images, to_grey
from ..hidra_core.images.files import atomic_path
from ..hidra_core.scenes import SCENES
from ..hidra_core.thermal import KINDS, LinearKelvin, Mapping, ThermalImage, bring_back, fit, identity, write_thermal
from ..hidra_core.thermal.readers import THERMAL_EXTENSIONS, RawLayout, read_thermal
from ..hidra_core.thermal.readers.y16 import parse_size
from ..hidra_core.thermal.sample import thermal_sample
from . import host
from .schema import one_of, schema

if TYPE_CHECKING:
    import torch

Thermal = io.Custom("HIDRA_THERMAL")
NO_FILE = ""
"""Choice of a file that stands for none: the frontend then shows no picture and asks the host for none."""

MAPPINGS = ["auto", *KINDS]
FORMATS = {"TIFF": ".tiff", "PNG": ".png"}


@dataclass(frozen=True)
class LoadedThermal:
    """What travels on a HIDRA_THERMAL socket: a file's counts, and how they became an IMAGE."""

    image: ThermalImage
    mapping: Mapping


class LoadThermal(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_LoadThermal",
            display_name="Load Thermal Image",
            description="Reads the counts of a thermal camera: 8- and 16-bit PNG and TIFF (several pages become a "
            "batch), FLIR and DJI radiometric JPEG, FLIR FFF, raw Y16. The IMAGE is mapped to the range the networks "
            "know; Save Thermal Image brings it back onto the counts.",
            search_aliases=["hidra", "thermal", "infrared", "16-bit", "radiometric", "flir", "dji", "tiff", "y16"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *host.input_names(THERMAL_EXTENSIONS)],
                    default=NO_FILE,
                    upload=io.UploadType.image,
                    image_folder=io.FolderType.input,
                    tooltip="A file of ComfyUI's input folder. Empty: the sample scene.",
                ),
                io.Combo.Input(
                    "sample",
                    options=list(SCENES),
                    default="street",
                    tooltip="While no file is chosen: a rendered 16-bit frame with noise and stripes, 0.04 K a count.",
                ),
                io.Combo.Input(
                    "mapping",
                    options=MAPPINGS,
                    default="auto",
                    tooltip="How counts become grey. linear: between the extremes of the scene; percentile: linear, "
                    "tails clipped; plateau: plateau equalisation. auto: linear for 16 bits, 8 bits as they are.",
                ),
                io.Float.Input(
                    "clip",
                    default=0.5,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="Percent of the pixels clipped at each end, for percentile and plateau. Save Thermal Image "
                    "restores what was clipped.",
                ),
                io.Float.Input(
                    "plateau",
                    default=3.0,
                    min=0.1,
                    max=100.0,
                    step=0.1,
                    tooltip="Where plateau equalisation cuts the histogram: 1 is nearly linear, large is full.",
                ),
                io.Float.Input(
                    "kelvin_per_count",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.001,
                    round=0.0001,
                    tooltip="For cameras in TLinear mode: 0.04, 0.01 or 0.1 (count 0 is 0 K). 0: what the file says.",
                ),
                io.String.Input(
                    "raw_size",
                    default="",
                    tooltip="Raw Y16 frames only: size in pixels, such as 640x512. Empty: from the name or the length "
                    "of the file.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The counts as grey pictures; pages are a batch."),
                Thermal.Output(display_name="thermal", tooltip="Counts, mapping and metadata, for Save Thermal Image."),
                io.String.Output(display_name="record", tooltip="Camera, encoding, range and constants, as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, file: str | None, sample: str | None, mapping: str | None) -> bool | str:
        if file and not host.input_exists(file):
            return f"'{file}' is not in ComfyUI's input folder. Put it there or upload it, or choose another"
        known = one_of(sample, SCENES, "Choose another")
        return known if known is not True else one_of(mapping, MAPPINGS, "Choose another")

    @classmethod
    def fingerprint_inputs(cls, file: str, **_: object) -> str:
        return host.input_fingerprint(file) if file else NO_FILE

    @classmethod
    def execute(
        cls, file: str, sample: str, mapping: str, clip: float, plateau: float, kelvin_per_count: float, raw_size: str
    ) -> io.NodeOutput:
        if file:
            relation = LinearKelvin(kelvin_per_count) if kelvin_per_count else None
            layout = RawLayout(parse_size(raw_size) if raw_size.strip() else None)
            image = read_thermal(host.input_path(file), raw=layout, relation=relation)
        else:
            image = thermal_sample(sample).image
        loaded = LoadedThermal(image, _mapping(image, mapping, clip, plateau))
        values = loaded.mapping.to_values(image.counts)
        record = json.dumps(image.record(), indent=1)
        host.show_text(image.summary(), cls.hidden.unique_id)
        pictures = _as_image(values)
        return io.NodeOutput(pictures, loaded, record, ui=ui.PreviewImage(pictures, cls=cls))


def _mapping(image: ThermalImage, kind: str, clip: float, plateau: float) -> Mapping:
    if kind == "auto":
        return identity(image.counts.dtype) if image.bit_depth == 8 else fit("linear", image.counts)
    parameters = {} if kind == "linear" else {"low": clip, "high": 100 - clip}
    if kind == "plateau":
        parameters["plateau"] = plateau
    return fit(kind, image.counts, **parameters)


def _as_image(values: torch.Tensor) -> torch.Tensor:
    """``[N, H, W]`` as IMAGE ``[N, H, W, 3]``."""
    return values[..., None].expand(-1, -1, -1, 3).contiguous()


class SaveThermal(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_SaveThermal",
            display_name="Save Thermal Image",
            description="Brings enhanced images back onto the counts of the file they came from and saves them with "
            "its bits and metadata. Radiometric mode keeps temperatures and reports the change.",
            search_aliases=["hidra", "thermal", "infrared", "16-bit", "radiometric", "tiff", "temperature"],
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The enhanced images; a whole multiple of the loaded size is allowed."),
                Thermal.Input("thermal", tooltip="From Load Thermal Image: what the images were made from."),
                io.String.Input(
                    "filename_prefix",
                    default="HiDRA",
                    tooltip="Start of the name in ComfyUI's output folder; folder/name and the host's %placeholders% "
                    "work.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default="TIFF",
                    tooltip="TIFF keeps several pages in one file; PNG makes a file of each.",
                ),
                io.Boolean.Input(
                    "radiometric",
                    default=True,
                    tooltip="Keep temperatures: take noise and stripes off, leave means and contrasts as measured. "
                    "Off: counts as the networks made them.",
                ),
                io.Boolean.Input(
                    "shading",
                    default=False,
                    tooltip="Radiometric mode only: also take off smooth shading around the middle. One image cannot "
                    "tell it from a scene that is warmer there.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="What was saved, as grey pictures."),
                io.String.Output(display_name="report", tooltip="What changed, in counts and kelvin, as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, format: str | None) -> bool | str:
        return one_of(format, FORMATS, "Choose another")

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        thermal: LoadedThermal,
        filename_prefix: str,
        format: str,
        radiometric: bool,
        shading: bool,
    ) -> io.NodeOutput:
        check_images(image)
        source, mapping = thermal.image, thermal.mapping
        progress = host.Progress()
        counts, reports = bring_back(
            to_grey(image)[:, 0].float().cpu(),
            source,
            mapping,
            radiometric=radiometric,
            with_shading=shading and radiometric,
            after_page=lambda done, total: progress(done / total),
        )
        stem = host.output_stem(filename_prefix, image.shape[2], image.shape[1])
        record = {**source.record(), "mapping": mapping.to_dict(), "report": [entry.to_dict() for entry in reports]}
        text = json.dumps(record, indent=1)
        if reports:
            with atomic_path(stem.with_name(f"{stem.name}.json")) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
            host.show_text("\n".join(entry.summary() for entry in reports), cls.hidden.unique_id)
        note = {"mapping": {"kind": mapping.kind, "parameters": mapping.parameters}, "radiometric": radiometric}
        suffix = FORMATS[format]
        if suffix == ".tiff" or len(counts) == 1:
            write_thermal(stem.with_name(f"{stem.name}{suffix}"), counts, source, note=note)
        else:
            for page, plane in enumerate(counts):
                write_thermal(stem.with_name(f"{stem.name}{page:05}_{suffix}"), plane[None], source, note=note)
        pictures = _as_image(mapping.to_values(counts))
        return io.NodeOutput(pictures, text, ui=ui.PreviewImage(pictures, cls=cls))
