"""Compare Thermal Images, and Measure Thermal Image Quality."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from comfy_api.latest import io

from ..hidra_core.vectors import image_lines
from . import host
from .images import taken
from .schema import Degradation, schema
from .shown import shown

if TYPE_CHECKING:
    from PIL import Image

    from ..hidra_core.enhance import DegradationVectors

NUMBERS = {
    "PSNR": "psnr",
    "PSNR after gain and offset": "psnr_after_gain_and_offset",
    "SSIM": "ssim",
    "MS-SSIM": "ms_ssim",
    "noise": "noise",
    "stripes": "stripes",
}


class TrustReport(io.ComfyNode):
    """Compares images before and after enhancement."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "report",
            node_id="HiDRA_TrustReport",
            display_name="Compare Thermal Images (Trust Report)",
            description="Compares thermal images with their enhanced versions: what was changed, and which edges of "
            "the output the input does not support (possible hallucination). Returns an overview as an image, a "
            "mask and numbers.",
            search_aliases=["hidra", "compare & trust report", "hallucination", "residual", "before and after"],
            inputs=[
                io.Image.Input("image", tooltip="The images before enhancement."),
                io.Image.Input("enhanced", tooltip="The same images enhanced, in this order; they may be larger."),
                Degradation.Input(
                    "degradation",
                    optional=True,
                    tooltip="From Estimate TIR Degradation, of the images before enhancement; its report is added.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="picture",
                    tooltip="Side by side: input, output, residual, and output with its unsupported edges.",
                ),
                io.Mask.Output(
                    display_name="possible hallucination",
                    tooltip="0: supported by the input, or undecidable; 1: contradicted. Above 0.5 counts as flagged.",
                ),
                io.String.Output(display_name="report", tooltip="JSON, one entry per image."),
                io.Float.Output(
                    display_name="score", tooltip="0 to 1, the mean over the images; the report has one per image."
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, enhanced: torch.Tensor, degradation: DegradationVectors | None = None
    ) -> io.NodeOutput:
        # SciPy takes a while to import and would slow the host's start
        from ..hidra_core.trust import check_pair, compare, trust_picture

        pairs = _pairs(image, enhanced)
        for before, after in pairs:
            check_pair(before, after)
        if degradation is not None:
            degradation.check_serves(len(pairs))
        progress = host.Progress()
        pictures, masks, entries, texts, scores = [], [], [], [], []
        for index, (before, after) in enumerate(pairs):
            comparison = compare(before, after)
            entry, text = comparison.to_dict(), comparison.summary()
            if degradation is not None:
                vector = degradation.vectors[index if len(degradation) > 1 else 0]
                lines = image_lines(before, vector, degradation.weights)
                entry["degradation"] = lines
                text += "\ndegradation: " + "\n".join(lines)
            pictures.append(_tensor(trust_picture(before, after, comparison)))
            masks.append(torch.from_numpy(comparison.hallucination))
            entries.append(entry)
            texts.append(text if len(pairs) == 1 else f"image {index + 1}\n{text}")
            scores.append(comparison.score)
            progress((index + 1) / len(pairs))
        text = "\n\n".join(texts)
        batch = torch.stack(pictures)
        report = json.dumps(entries, indent=1, ensure_ascii=False)
        return io.NodeOutput(batch, torch.stack(masks), report, sum(scores) / len(scores), ui=shown(cls, text, batch))


class QualityMetrics(io.ComfyNode):
    """Measures images, with or without a reference."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "report",
            node_id="HiDRA_QualityMetrics",
            display_name="Measure Thermal Image Quality",
            description="Measures thermal images: PSNR (also after the best gain and offset), SSIM and MS-SSIM against "
            "a reference; noise and stripes without one.",
            search_aliases=["hidra", "tir quality metrics", "psnr", "ssim", "ms-ssim", "noise level"],
            inputs=[
                io.Image.Input("image", tooltip="The images to measure, converted to grey and rounded to 8 bits."),
                io.Combo.Input(
                    "number",
                    options=list(NUMBERS),
                    default="PSNR",
                    tooltip="What the output number gives. All but noise and stripes need a reference.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="The true images: as many, of the same size, or one for all. Without it, only noise and "
                    "stripes are measured.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="A table, one line per image."),
                io.String.Output(display_name="report", tooltip="JSON: each image, and the mean."),
                io.Float.Output(display_name="number", tooltip="The chosen metric, its mean over the images."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: torch.Tensor, number: str, reference: torch.Tensor | None = None) -> io.NodeOutput:
        from ..hidra_core.evaluation.metrics import MS_SSIM_SIDE, SSIM_SIDE
        from ..hidra_core.evaluation.quality_report import measure_all

        key = NUMBERS[number]
        if reference is None and key not in ("noise", "stripes"):
            raise ValueError(f"{number} compares with a reference: connect one, or choose noise or stripes")
        progress = host.Progress()
        image, reference = taken(image), None if reference is None else taken(reference)
        quality = measure_all(image, reference, after_image=lambda done, total: progress(done / total))
        value = quality.mean[key]
        if math.isnan(value):
            height, width = image.shape[1:3]
            least = {"ssim": SSIM_SIDE, "ms_ssim": MS_SSIM_SIDE}.get(key)
            needed = "" if least is None else f", it needs {least} a side"
            raise ValueError(f"{number} cannot be measured on {width}×{height} pixels{needed}: choose another metric")
        text = quality.text()
        return io.NodeOutput(text, json.dumps(quality.to_dict(), indent=1), value, ui=shown(cls, text))


def _pairs(image: torch.Tensor, enhanced: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    before, after = list(taken(image)), list(taken(enhanced))
    if len(before) != len(after):
        raise ValueError(
            f"{len(before)} images and {len(after)} enhanced ones: connect the same images before and after enhancement"
        )
    return list(zip(before, after, strict=True))


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).float() / 255
