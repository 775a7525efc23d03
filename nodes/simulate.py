"""Simulate Thermal Degradation and Degradation by Hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..hidra_core import degradations
from ..hidra_core.degradations import batches as simulation
from ..hidra_core.images import from_grey, to_grey
from .images import taken
from .schema import SEED, SLIDER, advanced, schema

if TYPE_CHECKING:
    import torch

PRESETS = list(degradations.PRESETS)
BATCHES = list(simulation.BATCHES)
STRIPES = ["none", "column", "row", "both"]
_OPTICS = "Smooth non-uniformity of the optics"
_ALPHA, _BETA, _SIGMA = ("\N{GREEK SMALL LETTER ALPHA}", "\N{GREEK SMALL LETTER BETA}", "\N{GREEK SMALL LETTER SIGMA}")


class SimulateDegradation(io.ComfyNode):
    """Degrades clean images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "simulation",
            node_id="HiDRA_SimulateDegradation",
            display_name="Simulate Thermal Degradation",
            description="Degrades clean thermal images as the method's training does: low contrast, blur, low "
            "resolution, non-uniformity, stripes, noise. Returns the parameters too, which repeat it exactly.",
            search_aliases=["hidra", "simulate tir degradation", "degrade", "add stripes", "add noise", "benchmark"],
            inputs=[
                io.Image.Input("image", tooltip="Clean images; colour is converted to grey."),
                io.Combo.Input(
                    "preset",
                    options=PRESETS,
                    default="composite",
                    tooltip="The preset whose ranges the parameters are drawn from. composite: the one that the method "
                    "trains with; fpn: stripes and noise; sr-x2, sr-x4: low resolution; mild to extreme: four "
                    "severities; field: imitates today's cameras.",
                ),
                io.Int.Input(
                    "seed",
                    **SEED,
                    tooltip="Each seed draws other parameters, stripes and noise; the same seed repeats them.",
                ),
                io.Combo.Input(
                    "batch",
                    options=BATCHES,
                    default="one camera",
                    tooltip="What the images of a batch share. one camera: parameters, stripes and dead pixels, but "
                    "not noise; own fields: parameters only; own draws: nothing; same: everything.",
                ),
                io.String.Input(
                    "parameters",
                    display_name="parameters (JSON)",
                    default="",
                    optional=True,
                    multiline=True,
                    tooltip="JSON from Degradation by Hand, or from this node to repeat its result: one set for "
                    "all images, varied as batch says, or a list with one set per image, used unchanged. Replaces "
                    "preset.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="degraded", tooltip="The images with the degradation, as many channels as the input."
                ),
                io.String.Output(display_name="parameters", tooltip="JSON: a list with one set per image."),
            ],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, preset: str, seed: int, batch: str, parameters: str = "") -> io.NodeOutput:
        image = taken(image)
        count = len(image)
        records = simulation.records_from_json(parameters) if parameters.strip() else preset
        if isinstance(records, list):
            if len(records) != count:
                raise ValueError(
                    f"parameters has {len(records)} sets for {count} images: give one set, or a list with one per image"
                )
        else:
            records = simulation.sample_batch(records, count, seed, batch)
        degraded = degradations.apply(to_grey(image).float().cpu(), records)
        used = json.dumps([record.to_dict() for record in records], indent=1)
        return io.NodeOutput(from_grey(degraded, image.cpu()), used)


class DegradationByHand(io.ComfyNode):
    """Sets the parameters of a degradation one by one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "simulation",
            node_id="HiDRA_DegradationByHand",
            display_name="Degradation by Hand (Thermal)",
            description="Sets every parameter of a degradation, as JSON for Simulate Thermal Degradation. By default "
            "all stages are off.",
            search_aliases=["hidra", "tir degradation by hand", "degrade", "parameters"],
            inputs=_stages(),
            outputs=[io.String.Output(display_name="parameters", tooltip="JSON for Simulate Thermal Degradation.")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(json.dumps(simulation.record_by_hand(**values).to_dict(), indent=1))


def _stages() -> list[Any]:
    """The inputs of Degradation by Hand, in the order of the pipeline: what turns a stage on is always shown."""
    return [*_optics(), *_sensor()]


def _optics() -> list[Any]:
    filters = tuple(degradations.FILTERS)
    return [
        _number(
            "contrast_alpha",
            f"contrast {_ALPHA} (factor)",
            1.0,
            (0.0, 2.0, 0.01),
            "Grey values are multiplied by it.",
            1,
        ),
        _rare(
            "contrast_beta",
            f"contrast {_BETA} (share of the range)",
            0.0,
            (-1.0, 1.0, 0.01),
            "Added to all grey values.",
        ),
        advanced(
            io.Int.Input,
            "blur_kernel",
            display_name="blur kernel (pixels)",
            default=15,
            min=3,
            max=99,
            step=2,
            tooltip=f"Side of the blur's kernel, odd: wide enough for six {_SIGMA}.",
        ),
        _number(
            "blur_sigma_x", f"blur {_SIGMA} along the angle (pixels)", 0.0, (0.0, 20.0, 0.1), "Blur along its angle.", 0
        ),
        _number(
            "blur_sigma_y",
            f"blur {_SIGMA} across the angle (pixels)",
            0.0,
            (0.0, 20.0, 0.1),
            "Blur across its angle.",
            0,
        ),
        _rare("blur_angle", "blur angle (degrees)", 0.0, (-90.0, 90.0, 1.0), "From columns towards rows."),
        io.Combo.Input(
            "low_resolution",
            display_name="low resolution (factor)",
            options=["1", "2", "4"],
            default="1",
            tooltip="Factor by which the image is smaller on the sensor; 1 is off.",
        ),
        _choice("shrink_filter", filters, "Low resolution: filter by which the image is made small."),
        _choice("enlarge_filter", filters, "Low resolution: filter by which it is enlarged to the old size again."),
        _number("optical_strength", "optical strength (grey levels)", 0.0, (0.0, 255.0, 1.0), f"{_OPTICS}.", 0),
        _rare(
            *("optical_centre_x", "optical centre x (share of the width)", 0.5, (0.0, 1.0, 0.01)),
            f"{_OPTICS}: where its centre is.",
            display_mode=SLIDER,
        ),
        _rare(
            *("optical_centre_y", "optical centre y (share of the height)", 0.5, (0.0, 1.0, 0.01)),
            f"{_OPTICS}: where its centre is.",
            display_mode=SLIDER,
        ),
        advanced(io.Boolean.Input, "optical_inverted", default=False, tooltip=f"{_OPTICS}: bright and dark swapped."),
        _choice("optical_form", degradations.OPTICAL_FORMS, f"{_OPTICS}: mirror has a dark centre, cos4 a bright one."),
    ]


def _sensor() -> list[Any]:
    return [
        io.Combo.Input(
            "stripes",
            options=STRIPES,
            default=STRIPES[0],
            tooltip="Fixed-pattern stripes: a gain and an offset per column, per row, or both.",
        ),
        _rare(
            "stripe_gain", f"stripe gain ({_SIGMA})", 0.05, (0.0, 1.0, 0.005), "Spread of the stripes' gain around 1."
        ),
        _rare(
            "stripe_offset", f"stripe offset ({_SIGMA}, grey levels)", 3.0, (0.0, 255.0, 0.1), "Spread of their offset."
        ),
        _number(
            "gaussian_sigma",
            f"Gaussian noise ({_SIGMA}, grey levels)",
            0.0,
            (0.0, 255.0, 0.5),
            "The same everywhere.",
            0,
        ),
        _rare(
            "poisson_scale",
            f"shot noise ({_SIGMA} / \N{SQUARE ROOT}grey level)",
            0.0,
            (0.0, 10.0, 0.01),
            "Grows with brightness; 0: off.",
        ),
        _number("dead_fraction", "dead pixels (share)", 0.0, (0.0, 1.0, 0.0005), "Share of stuck pixels.", 0),
        _rare("sharpen_amount", "sharpening (factor)", 0.0, (0.0, 10.0, 0.1), "Unsharp masking makes halos; 0: off."),
        _rare(
            "sharpen_sigma",
            f"sharpening {_SIGMA} (pixels)",
            1.0,
            (0.1, 20.0, 0.1),
            f"Unsharp masking: {_SIGMA} of its blur.",
        ),
        advanced(
            io.Int.Input,
            "jpeg_quality",
            display_name="JPEG quality",
            default=0,
            min=0,
            max=95,
            tooltip="Quality at which the image is compressed, 1 to 95; 0 is off.",
        ),
        io.Int.Input("seed", **SEED, tooltip="Of stripes, noise and dead pixels: the same seed repeats them."),
    ]


def _number(
    name: str, shown: str, default: float, span: tuple[float, float, float], tooltip: str, off: float
) -> io.Float.Input:
    """What turns a stage on; ``span`` is the least value, the largest and the step."""
    low, high, step = span
    said = f"{tooltip} {off} is off."
    return io.Float.Input(name, display_name=shown, default=default, min=low, max=high, step=step, tooltip=said)


def _rare(name: str, shown: str, default: float, span: tuple[float, float, float], tooltip: str, **more: Any) -> Any:
    low, high, step = span
    options = {"default": default, "min": low, "max": high, "step": step, "tooltip": tooltip, **more}
    return advanced(io.Float.Input, name, display_name=shown, **options)


def _choice(name: str, options: tuple[str, ...], tooltip: str) -> Any:
    return advanced(io.Combo.Input, name, options=list(options), default=options[0], tooltip=tooltip)
