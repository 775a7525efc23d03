"""Load Thermal Image and Save Thermal Image: 16-bit counts in, the same kind of counts out."""

from __future__ import annotations

import json

import torch
from comfy_api.latest import io, ui

from ..hidra_core.images import check_images, to_grey
from ..hidra_core.images.files import write_json
from ..hidra_core.names import MAPPINGS
from ..hidra_core.scenes import SCENES
from ..hidra_core.sources import Change, CountsSource, Reading, open_source
from ..hidra_core.thermal import LinearKelvin
from ..hidra_core.thermal.readers import THERMAL_EXTENSIONS, RawLayout, parse_size
from ..hidra_core.thermal.sample import thermal_sample
from . import host
from .schema import one_of, schema

Thermal = io.Custom("HIDRA_THERMAL")
NO_FILE = ""
"""The choice of no file: the frontend then neither shows an image nor asks the host for one."""

AUTO = "auto"
MAPPING_OPTIONS = [AUTO, *MAPPINGS]
FORMATS = {"TIFF": ".tiff", "PNG": ".png"}


class LoadThermal(io.ComfyNode):
    """Reads the counts of a thermal camera as images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_LoadThermal",
            display_name="Load Thermal Image",
            description="Reads the counts of a thermal camera: 8- and 16-bit PNG and TIFF (several pages become a "
            "batch), FLIR and DJI radiometric JPEG, FLIR FFF, raw Y16. The image has the range that the networks "
            "expect; Save Thermal Image converts it back to counts.",
            search_aliases=["hidra", "thermal", "infrared", "16-bit", "radiometric", "flir", "dji", "tiff", "y16"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *host.input_names(THERMAL_EXTENSIONS)],
                    default=NO_FILE,
                    upload=io.UploadType.image,
                    image_folder=io.FolderType.input,
                    tooltip="A file from ComfyUI's input folder. Empty: the sample scene.",
                ),
                io.Combo.Input(
                    "sample",
                    options=list(SCENES),
                    default="street",
                    tooltip="Without a file: a rendered 16-bit frame with noise and stripes, 0.04 K per count.",
                ),
                io.Combo.Input(
                    "mapping",
                    options=MAPPING_OPTIONS,
                    default=AUTO,
                    tooltip="How counts become grey. linear: between the extremes of the scene; percentile: linear, "
                    "with clipped tails; plateau: plateau equalisation; auto: linear for 16 bits, 8 bits unchanged.",
                ),
                io.Float.Input(
                    "clip",
                    default=0.5,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="Percentage of pixels clipped at each end by percentile and plateau. Save Thermal Image "
                    "restores the clipped counts.",
                ),
                io.Float.Input(
                    "plateau",
                    default=3.0,
                    min=0.1,
                    max=100.0,
                    step=0.1,
                    tooltip="Where plateau equalisation cuts the histogram: 1 is nearly linear, 100 nearly full.",
                ),
                io.Float.Input(
                    "kelvin_per_count",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.001,
                    round=0.0001,
                    tooltip="For cameras in TLinear mode: 0.04, 0.01 or 0.1 (count 0 is 0 K). 0: as the file says.",
                ),
                io.String.Input(
                    "raw_size",
                    default="",
                    tooltip="Raw Y16 frames only: size in pixels, such as 640x512. Empty: read from the file's name or "
                    "guessed from its length.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The counts as grey images; pages are a batch."),
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
        return known if known is not True else one_of(mapping, MAPPING_OPTIONS, "Choose another")

    @classmethod
    def fingerprint_inputs(cls, file: str, **_: object) -> str:
        return host.input_fingerprint(file) if file else NO_FILE

    @classmethod
    def execute(
        cls, file: str, sample: str, mapping: str, clip: float, plateau: float, kelvin_per_count: float, raw_size: str
    ) -> io.NodeOutput:
        reading = Reading(
            raw=RawLayout(parse_size(raw_size) if file and raw_size.strip() else None),
            relation=LinearKelvin(kelvin_per_count) if kelvin_per_count else None,
            mapping=None if mapping == AUTO else mapping,
            parameters=_parameters(mapping, clip, plateau),
            as_counts=True,
        )
        source = open_source(host.input_path(file), reading) if file else _sample(sample, reading)
        if not isinstance(source, CountsSource):
            raise ValueError(f"{file} is a clip: load it with Load Video, and enhance it with Enhance Thermal Video")
        record = json.dumps(source.image.record(), indent=1)
        host.show_text(source.image.summary(), cls.hidden.unique_id)
        images = _as_image(torch.cat(list(source.pages()), -1).movedim(-1, 0))
        return io.NodeOutput(images, source, record, ui=ui.PreviewImage(images, cls=cls))


def _parameters(mapping: str, clip: float, plateau: float) -> dict[str, float]:
    if mapping in (AUTO, "linear"):
        return {}
    tails = {"low": clip, "high": 100 - clip}
    return {**tails, "plateau": plateau} if mapping == "plateau" else tails


def _sample(scene: str, reading: Reading) -> CountsSource:
    return reading.source(thermal_sample(scene).image)


def _as_image(values: torch.Tensor) -> torch.Tensor:
    """``[N, H, W]`` as IMAGE ``[N, H, W, 3]``."""
    return values[..., None].expand(-1, -1, -1, 3).contiguous()


class SaveThermal(io.ComfyNode):
    """Writes enhanced images as counts of the camera."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_SaveThermal",
            display_name="Save Thermal Image",
            description="Converts enhanced images back to the counts of the file they came from, and saves them with "
            "its bit depth and metadata. Radiometric mode keeps temperatures and reports the change.",
            search_aliases=["hidra", "thermal", "infrared", "16-bit", "radiometric", "tiff", "temperature"],
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
                    tooltip="TIFF keeps several pages in one file; PNG makes one file per page.",
                ),
                io.Boolean.Input(
                    "radiometric",
                    default=True,
                    tooltip="Keep temperatures: remove noise and stripes, keep means and contrasts as measured. Off: "
                    "the counts as the networks made them.",
                ),
                io.Boolean.Input(
                    "shading",
                    default=False,
                    tooltip="Radiometric mode only: also remove smooth shading around the middle. In a single image it "
                    "cannot be told from a scene that is warmer there.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The saved counts, as grey images."),
                io.String.Output(display_name="report", tooltip="The change in counts and kelvin, as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, format: str | None) -> bool | str:  # noqa: A002  the input's identifier in saved workflows
        return one_of(format, FORMATS, "Choose another")

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        thermal: CountsSource,
        filename_prefix: str,
        format: str,  # noqa: A002  the input's identifier in saved workflows
        radiometric: bool,
        shading: bool,
    ) -> io.NodeOutput:
        check_images(image)
        progress = host.Progress()
        change = Change(radiometric=radiometric, shading=shading and radiometric)
        counts, reports = thermal.restore(
            to_grey(image)[:, 0].float().cpu(), change, after_page=lambda done, total: progress(done / total)
        )
        stem = host.output_stem(filename_prefix, image.shape[2], image.shape[1])
        record = thermal.record(reports)
        if reports:
            write_json(stem.with_name(f"{stem.name}.json"), record)
            host.show_text("\n".join(entry.summary() for entry in reports), cls.hidden.unique_id)
        suffix = FORMATS[format]
        if suffix == ".tiff" or len(counts) == 1:
            thermal.save(stem.with_name(f"{stem.name}{suffix}"), counts, radiometric=radiometric)
        else:
            for page, plane in enumerate(counts):
                path = stem.with_name(f"{stem.name}{page:05}_{suffix}")
                thermal.save(path, plane[None], radiometric=radiometric)
        images = _as_image(thermal.mapping.to_values(counts))
        return io.NodeOutput(images, json.dumps(record, indent=1), ui=ui.PreviewImage(images, cls=cls))
