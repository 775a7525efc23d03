"""One-Step Enhance."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..hidra_core.enhance import Runner, check_options
from ..hidra_core.images import check_images
from . import host
from .schema import one_of, schema

TILING = {"auto": "auto", "off": None, "512": 512, "768": 768, "1024": 1024, "1536": 1536}


class OneStepEnhance(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_OneStepEnhance",
            display_name="One-Step Enhance",
            description="Runs thermal images through the adapted backbone: encode, one step, decode. Any size; large "
            "images go in overlapping tiles.",
            search_aliases=["hidra", "thermal", "infrared", "enhance", "denoise", "destripe", "super resolution"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="From Apply Degradation-Guided LoRA; or with a baked LoRA, with conditioning connected.",
                ),
                io.Vae.Input("vae", tooltip="From the same node; or the baked one."),
                io.Image.Input("image", tooltip="The images whose degradation was estimated."),
                io.Int.Input(
                    "upscale", default=1, min=1, max=4, tooltip="Enlarges the image by this factor before the network."
                ),
                io.Combo.Input(
                    "tiling",
                    options=list(TILING),
                    default="auto",
                    tooltip="Side of the tiles in pixels. auto tiles images of more than one megapixel, and whenever "
                    "memory runs out.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="For a baked MODEL and VAE: from Load Baked VAE, or SD-Turbo's CLIP with an empty prompt.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="Grey, in as many channels as came in.")],
        )

    @classmethod
    def validate_inputs(cls, tiling: str | None) -> bool | str:
        return one_of(tiling, TILING, "Choose another")

    @classmethod
    def execute(
        cls,
        model: object,
        vae: object,
        image: torch.Tensor,
        upscale: int,
        tiling: str,
        conditioning: list | None = None,
    ) -> io.NodeOutput:
        pictures = check_images(image)
        check_options(1.0, upscale, TILING[tiling])
        if conditioning is None:
            applied = host.applied_to_both(model, vae)
            applied.degradation.check_serves(len(pictures))
            text_embedding = applied.text_embedding
        else:
            text_embedding = host.text_embedding(model, vae, conditioning)
        backbone = host.HostBackbone(model, vae)
        runner = Runner(backbone, text_embedding, None, upscale, TILING[tiling], host.Progress())
        enhanced = torch.stack(runner.run(pictures))
        return io.NodeOutput(enhanced, ui=ui.PreviewImage(enhanced, cls=cls))
