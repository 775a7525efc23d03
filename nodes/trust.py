"""Compare & Trust Report, and TIR Quality Metrics."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..hidra_core.images import check_images
from ..hidra_core.vectors import image_lines
from . import host
from .schema import Degradation, one_of, schema

if TYPE_CHECKING:
    from PIL import Image

NUMBERS = {
    "PSNR": "psnr",
    "PSNR after gain and offset": "psnr_after_gain_and_offset",
    "SSIM": "ssim",
    "MS-SSIM": "ms_ssim",
    "noise": "noise",
    "stripes": "stripes",
}


class TrustReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_TrustReport",
            display_name="Compare & Trust Report",
            description="Compares thermal images with their enhanced versions: what was changed, and which edges of "
            "the output the input does not support (possible hallucination). A picture, a mask, numbers.",
            search_aliases=["hidra", "thermal", "infrared", "compare", "trust", "hallucination", "residual", "report"],
            inputs=[
                io.Image.Input("image", tooltip="The images before."),
                io.Image.Input("enhanced", tooltip="The same images after, in the same order; enlarged ones too."),
                Degradation.Input(
                    "degradation",
                    optional=True,
                    tooltip="From Estimate TIR Degradation on the images before: its report joins this one.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="picture",
                    tooltip="Input, output, residual, and the output with its unsupported edges; one for each image.",
                ),
                io.Mask.Output(
                    display_name="possible hallucination",
                    tooltip="0 supported or not to be told, 1 contradicted by the input; above 0.5 counts as flagged.",
                ),
                io.String.Output(display_name="report", tooltip="JSON, one entry an image."),
                io.Float.Output(
                    display_name="score", tooltip="0 to 1, the mean of all images; each image's is in the report."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, image: torch.Tensor, enhanced: torch.Tensor, degradation: object = None) -> io.NodeOutput:
        # SciPy's import takes a while: not when the host starts
        from ..hidra_core.trust import check_pair, compare, trust_picture

        pairs = _pairs(image, enhanced)
        for before, after in pairs:
            check_pair(before, after)
        if degradation is not None:
            degradation.check_serves(len(pairs))
        progress = host.Progress()
        pictures, masks, entries, texts, scores = [], [], [], [], []
        for index, (before, after) in enumerate(pairs):
            found = compare(before, after)
            entry, text = found.to_dict(), found.summary()
            if degradation is not None:
                vector = degradation.vectors[index if len(degradation) > 1 else 0]
                lines = image_lines(before, vector, degradation.weights)
                entry["degradation"] = lines
                text += "\ndegradation: " + "\n".join(lines)
            pictures.append(_tensor(trust_picture(before, after, found)))
            masks.append(torch.from_numpy(found.hallucination))
            entries.append(entry)
            texts.append(text if len(pairs) == 1 else f"image {index + 1}\n{text}")
            scores.append(found.score)
            progress((index + 1) / len(pairs))
        shown = "\n\n".join(texts)
        host.show_text(shown, cls.hidden.unique_id)
        pictures = torch.stack(pictures)
        preview = ui.PreviewImage(pictures, cls=cls).as_dict() | ui.PreviewText(shown).as_dict()
        report = json.dumps(entries, indent=1, ensure_ascii=False)
        return io.NodeOutput(pictures, torch.stack(masks), report, sum(scores) / len(scores), ui=preview)


class QualityMetrics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_QualityMetrics",
            display_name="TIR Quality Metrics",
            description="Measures thermal images: PSNR (also after the best gain and offset), SSIM and MS-SSIM against "
            "a reference; noise and stripes without one.",
            search_aliases=["hidra", "thermal", "infrared", "psnr", "ssim", "ms-ssim", "metrics", "quality", "noise"],
            inputs=[
                io.Image.Input("image", tooltip="The images to measure; colour is read as grey, rounded to 8 bits."),
                io.Combo.Input(
                    "number", options=list(NUMBERS), default="PSNR", tooltip="Which metric the number output gives."
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="What they should be: as many images of the same size, or one for all. Without it, noise "
                    "and stripes only.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="text", tooltip="A table, one line an image."),
                io.String.Output(display_name="report", tooltip="JSON: each image, and the mean."),
                io.Float.Output(display_name="number", tooltip="The chosen metric, mean of all images."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, number: str | None) -> bool | str:
        return one_of(number, NUMBERS, "Choose another")

    @classmethod
    def execute(cls, image: torch.Tensor, number: str, reference: torch.Tensor | None = None) -> io.NodeOutput:
        from ..hidra_core.evaluation.quality_report import measure_all

        key = NUMBERS[number]
        if reference is None and key not in ("noise", "stripes"):
            raise ValueError(f"{number} compares with a reference: connect one, or choose noise or stripes")
        progress = host.Progress()
        found = measure_all(image, reference, after_image=lambda done, total: progress(done / total))
        value = found.mean[key]
        if math.isnan(value):
            height, width = image.shape[1:3]
            raise ValueError(f"{number} cannot be measured on {width}×{height} pixels: choose another metric")
        text = found.text()
        host.show_text(text, cls.hidden.unique_id)
        return io.NodeOutput(text, json.dumps(found.to_dict(), indent=1), value, ui=ui.PreviewText(text))


def _pairs(image: torch.Tensor, enhanced: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
    before, after = check_images(image), check_images(enhanced)
    if len(before) != len(after):
        raise ValueError(
            f"{len(before)} images and {len(after)} enhanced ones: connect the same images before and after enhancement"
        )
    return list(zip(before, after, strict=True))


def _tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).float() / 255
