"""One-Step Enhance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io, ui

from ..hidra_core.enhance import enhance
from ..hidra_core.names import CUTOFF
from . import host
from .schema import advanced, one_of, schema

if TYPE_CHECKING:
    import torch

    from ..hidra_core.enhance import Tile

RESTRAINT_INPUT = {
    "default": True,
    "optional": True,
    "tooltip": "Applies less of the change where the degradation says that an image needs less, so that good images "
    "stay as they are. Works with weights that have a restraint, such as hidra-tiny's; off applies all of the change.",
}
"""What both nodes that enhance say of their restraint."""

TILING: dict[str, Tile] = {"auto": "auto", "off": None, "512": 512, "768": 768, "1024": 1024, "1536": 1536}


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
                advanced(
                    io.Float.Input,
                    "cutoff",
                    default=CUTOFF,
                    min=2.0,
                    max=4096.0,
                    step=1.0,
                    optional=True,
                    tooltip="Period that separates low from high frequencies for low_frequencies, in pixels of the "
                    "result. 64 suits nearly all images.",
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
        model: Any,
        vae: Any,
        image: torch.Tensor,
        upscale: int,
        tiling: str,
        conditioning: list | None = None,
        blend: float = 1.0,
        low_frequencies: float = 1.0,
        cutoff: float = CUTOFF,
        restraint: bool = True,
    ) -> io.NodeOutput:
        backbone = host.HostBackbone(model, vae, conditioning)
        applied = host.applied_to_both(model, vae) if conditioning is None else None
        enhanced = enhance(
            image,
            backbone,
            None if applied is None else applied.degradation,
            strength=1.0 if applied is None else applied.strength,
            upscale=upscale,
            tile=TILING[tiling],
            restraint=restraint,
            blend=blend,
            low_frequencies=low_frequencies,
            cutoff=cutoff,
            progress=host.Progress(),
        )
        return io.NodeOutput(enhanced, ui=ui.PreviewImage(enhanced, cls=cls))
