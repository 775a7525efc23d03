"""One-Step Enhance."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..hidra_core.enhance import Runner, check_options
from ..hidra_core.images import blend as fidelity
from ..hidra_core.images import check_images
from . import host
from .schema import one_of, schema

RESTRAINT_INPUT = {
    "default": True,
    "optional": True,
    "tooltip": "Takes less of the change where the degradation says that an image needs less, so that good images stay "
    "as they are. Only with weights that carry a restraint, as hidra-tiny's do; off takes all of it.",
}
"""What both nodes that enhance say of their restraint."""

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
                io.Float.Input(
                    "blend",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="Share of the change that is taken: 0 gives the input back, 1 is the result as it is. (The "
                    "strength of Apply changes what the model computes.)",
                ),
                io.Float.Input(
                    "low_frequencies",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    tooltip="The same for low frequencies alone: 0 keeps the brightness of wide areas, and any "
                    "shading, as the input has it.",
                ),
                io.Float.Input(
                    "cutoff",
                    default=fidelity.CUTOFF,
                    min=2.0,
                    max=4096.0,
                    step=1.0,
                    optional=True,
                    tooltip="Period at which low frequencies end, in pixels of the result.",
                ),
                io.Boolean.Input("restraint", **RESTRAINT_INPUT),
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
        blend: float = 1.0,
        low_frequencies: float = 1.0,
        cutoff: float = fidelity.CUTOFF,
        restraint: bool = True,
    ) -> io.NodeOutput:
        pictures = check_images(image)
        check_options(1.0, upscale, TILING[tiling])
        fidelity.check_blend(blend, low_frequencies, cutoff)
        restrained_by = None
        if conditioning is None:
            applied = host.applied_to_both(model, vae)
            applied.degradation.check_serves(len(pictures))
            text_embedding = applied.text_embedding
            restrained_by = applied.degradation if restraint else None
        else:
            text_embedding = host.text_embedding(model, vae, conditioning)
        backbone = host.HostBackbone(model, vae)
        runner = Runner(backbone, text_embedding, None, upscale, TILING[tiling], host.Progress(), restrained_by)
        if blend == 0:
            results = fidelity.untouched(pictures, upscale)
        else:
            bands = {"low_frequencies": low_frequencies, "cutoff": cutoff}
            results = fidelity.blend_all(pictures, runner.run(pictures), blend, **bands)
        enhanced = torch.stack(results)
        return io.NodeOutput(enhanced, ui=ui.PreviewImage(enhanced, cls=cls))
