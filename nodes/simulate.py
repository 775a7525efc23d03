"""Simulate TIR Degradation and TIR Degradation by Hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..hidra_core import degradations
from ..hidra_core.degradations import batches as simulation
from ..hidra_core.images import check_images, from_grey, to_grey
from .schema import one_of, schema

if TYPE_CHECKING:
    import torch

PRESETS = list(degradations.PRESETS)
BATCHES = list(simulation.BATCHES)
STRIPES = ["none", "column", "row", "both"]


class SimulateDegradation(io.ComfyNode):
    """Degrades clean images."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_SimulateDegradation",
            display_name="Simulate TIR Degradation",
            description="Degrades clean thermal images as the method's training does: low contrast, blur, low "
            "resolution, non-uniformity, stripes, noise. Returns the parameters too, which repeat it exactly.",
            search_aliases=["hidra", "thermal", "infrared", "degrade", "noise", "stripes", "blur", "benchmark"],
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
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    control_after_generate=True,
                    tooltip="Each seed draws other parameters, stripes and noise.",
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
                    default="",
                    optional=True,
                    multiline=True,
                    tooltip="JSON from TIR Degradation by Hand, or from this node to repeat its result: one set for "
                    "all images, varied as batch says, or a list with one set per image, used unchanged. Replaces "
                    "preset.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="degraded"),
                io.String.Output(display_name="parameters", tooltip="JSON: a list with one set per image."),
            ],
        )

    @classmethod
    def validate_inputs(cls, preset: str | None, batch: str | None) -> bool | str:
        known = one_of(preset, PRESETS, "Choose another")
        return known if known is not True else one_of(batch, BATCHES, "Choose another")

    @classmethod
    def execute(cls, image: torch.Tensor, preset: str, seed: int, batch: str, parameters: str = "") -> io.NodeOutput:
        count = len(check_images(image))
        records = simulation.records_from_json(parameters) if parameters.strip() else preset
        if isinstance(records, list):
            if len(records) != count:
                raise ValueError(
                    f"parameters has {len(records)} sets for {count} images: give one set, or a list with one per image"
                )
        else:
            records = simulation.sample_batch(records, count, seed, batch)
        degraded = degradations.apply(to_grey(image).float().cpu().clamp(0, 1), records)
        used = json.dumps([record.to_dict() for record in records], indent=1)
        return io.NodeOutput(from_grey(degraded, image.cpu()), used)


class DegradationByHand(io.ComfyNode):
    """Sets the parameters of a degradation one by one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        def number(name: str, default: float, low: float, high: float, step: float, tooltip: str) -> io.Float.Input:
            return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)

        def choice(name: str, options: tuple[str, ...] | list[str], tooltip: str) -> io.Combo.Input:
            return io.Combo.Input(name, options=list(options), default=options[0], tooltip=tooltip)

        return schema(
            node_id="HiDRA_DegradationByHand",
            display_name="TIR Degradation by Hand",
            description="Sets every parameter of a degradation, as JSON for Simulate TIR Degradation. By default all "
            "stages are off.",
            search_aliases=["hidra", "thermal", "infrared", "degrade", "noise", "stripes", "blur", "parameters"],
            inputs=[
                number(
                    "contrast_alpha", 1.0, 0.0, 2.0, 0.01, "Low contrast: grey values are multiplied by this; 1 is off."
                ),
                number("contrast_beta", 0.0, -1.0, 1.0, 0.01, "Low contrast: this share of the full range is added."),
                io.Int.Input(
                    "blur_kernel", default=15, min=3, max=99, step=2, tooltip="Blur: side of the kernel in pixels."
                ),
                number("blur_sigma_x", 0.0, 0.0, 20.0, 0.1, "Blur: σ along the angle in pixels; 0 is off."),
                number("blur_sigma_y", 0.0, 0.0, 20.0, 0.1, "Blur: σ across the angle in pixels; 0 is off."),
                number("blur_angle", 0.0, -90.0, 90.0, 1.0, "Blur: angle in degrees, from columns towards rows."),
                choice(
                    "low_resolution", ["1", "2", "4"], "Factor by which the image is smaller on the sensor; 1 is off."
                ),
                choice("shrink_filter", tuple(degradations.FILTERS), "Low resolution: filter for shrinking."),
                choice(
                    "enlarge_filter",
                    tuple(degradations.FILTERS),
                    "Low resolution: filter for enlarging to the old size.",
                ),
                number(
                    "optical_strength", 0.0, 0.0, 255.0, 1.0, "Non-uniformity of the optics in grey levels; 0 is off."
                ),
                number("optical_centre_x", 0.5, 0.0, 1.0, 0.01, "Non-uniformity: its centre, as a share of the width."),
                number(
                    "optical_centre_y", 0.5, 0.0, 1.0, 0.01, "Non-uniformity: its centre, as a share of the height."
                ),
                io.Boolean.Input("optical_inverted", default=False, tooltip="Non-uniformity: bright and dark swapped."),
                choice(
                    "optical_form",
                    degradations.OPTICAL_FORMS,
                    "Non-uniformity: mirror has a dark centre, cos4 a bright one.",
                ),
                choice("stripes", STRIPES, "Fixed-pattern stripes: a gain and an offset per column, per row, or both."),
                number("stripe_gain", 0.05, 0.0, 1.0, 0.005, "σ of the stripes' gain."),
                number("stripe_offset", 3.0, 0.0, 255.0, 0.1, "σ of the stripes' offset in grey levels."),
                number("gaussian_sigma", 0.0, 0.0, 255.0, 0.5, "Gaussian noise: σ in grey levels; 0 is off."),
                number("poisson_scale", 0.0, 0.0, 10.0, 0.01, "Shot noise: σ is this times √grey level; 0 is off."),
                number("dead_fraction", 0.0, 0.0, 1.0, 0.0005, "Share of stuck pixels; 0 is off."),
                number("sharpen_amount", 0.0, 0.0, 10.0, 0.1, "Unsharp masking, the cause of halos; 0 is off."),
                number("sharpen_sigma", 1.0, 0.1, 20.0, 0.1, "Unsharp masking: σ of its blur in pixels."),
                io.Int.Input("jpeg_quality", default=0, min=0, max=95, tooltip="JPEG compression; 0 is off."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=2**31 - 1,
                    control_after_generate=True,
                    tooltip="Seed of stripes and noise.",
                ),
            ],
            outputs=[io.String.Output(display_name="parameters", tooltip="JSON for Simulate TIR Degradation.")],
        )

    @classmethod
    def execute(cls, **values: Any) -> io.NodeOutput:
        return io.NodeOutput(json.dumps(simulation.record_by_hand(**values).to_dict(), indent=1))
