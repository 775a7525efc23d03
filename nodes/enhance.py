"""One-Step Enhance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..hidra_core.enhance import enhance
from ..hidra_core.names import CUTOFF, UPSCALES
from . import host
from .images import colour_doubts, taken
from .schema import SLIDER, advanced, schema
from .shown import shown

if TYPE_CHECKING:
    import torch

    from ..hidra_core.enhance import Tile

RESTRAINT_INPUT = {
    "default": True,
    "optional": True,
    "tooltip": "Applies less of the change to images whose degradation says that they need less, so that good images "
    "stay nearly unchanged. Needs weights with a restraint, such as hidra-tiny's. Off: applies all of the change. "
    "With conditioning, of baked files, it has no effect.",
}
"""The input ``restraint`` of both nodes that enhance."""

CORRECTOR_INPUT = {
    "default": True,
    "optional": True,
    "tooltip": "Puts brightness and shading right by what the whole image looks like. Needs weights with a corrector, "
    "such as hidra-tiny's. Off: leaves them as the networks give them. With conditioning, of "
    "baked files, it has no effect.",
}
"""The input ``corrector`` of both nodes that enhance."""

DECODER_INPUT = {
    "optional": True,
    "tooltip": "A VAE that decodes in the place of the backbone's own: taesd of Load VAE takes most of the time off "
    "SD-Turbo, and some of its detail. Not for hidra-tiny, whose own is thin.",
}
"""The input ``decoder`` of both nodes that enhance."""

SHARE = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05, "display_mode": SLIDER, "optional": True}
"""A share of the change."""

TILING: dict[str, Tile] = {"auto": "auto", "off": None, "512": 512, "768": 768, "1024": 1024, "1536": 1536}


class OneStepEnhance(io.ComfyNode):
    """Enhances images with an adapted or baked backbone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_OneStepEnhance",
            display_name="One-Step Enhance (Infrared Denoise, Destripe)",
            description="Runs thermal images through the adapted backbone: encode, one step, decode. Any size; large "
            "images go in overlapping tiles.",
            search_aliases=[
                *("hidra", "thermal", "infrared", "thermal infrared", "denoise", "denoising", "destripe", "deblur"),
                *("restore", "super resolution", "fixed pattern noise"),
            ],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="From Apply Degradation-Guided LoRA; or with a baked LoRA, with conditioning connected.",
                ),
                io.Vae.Input("vae", tooltip="From the same node; or the baked one."),
                io.Image.Input("image", tooltip="The images whose degradation was estimated."),
                io.Int.Input(
                    "upscale",
                    display_name="upscale (factor)",
                    default=1,
                    min=min(UPSCALES),
                    max=max(UPSCALES),
                    tooltip="Enlarges the images by this factor before the networks.",
                ),
                io.Combo.Input(
                    "tiling",
                    display_name="tiling (side in pixels)",
                    options=list(TILING),
                    default="auto",
                    tooltip="Side of the tiles in pixels. auto: tiles for images of more than one megapixel. When "
                    "memory runs out, smaller tiles are tried in any case.",
                ),
                io.Conditioning.Input(
                    "conditioning",
                    optional=True,
                    tooltip="For a baked MODEL and VAE: from Load Baked VAE, or SD-Turbo's CLIP with an empty prompt.",
                ),
                io.Float.Input(
                    "blend",
                    display_name="blend (share of the change)",
                    **SHARE,
                    tooltip="Share of the change that is applied: 0 returns the input, 1 the full result. (The "
                    "strength of Apply changes what the model computes.)",
                ),
                advanced(
                    io.Float.Input,
                    "low_frequencies",
                    display_name="low frequencies (share of the change)",
                    **SHARE,
                    tooltip="The same for low frequencies alone: 0 keeps the brightness of wide areas, and any "
                    "shading, of the input.",
                ),
                advanced(
                    io.Float.Input,
                    "cutoff",
                    display_name="cutoff (period in pixels)",
                    default=CUTOFF,
                    min=2.0,
                    max=4096.0,
                    step=1.0,
                    optional=True,
                    tooltip="Patterns with longer periods than this, in pixels of the result, count as low "
                    f"frequencies. {CUTOFF:g} suits nearly all images.",
                ),
                advanced(io.Boolean.Input, "restraint", **RESTRAINT_INPUT),
                advanced(io.Boolean.Input, "corrector", **CORRECTOR_INPUT),
                io.Vae.Input("decoder", **DECODER_INPUT),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="Grey, with as many channels as the input.")],
            has_intermediate_output=True,
        )

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
        corrector: bool = True,
        decoder: Any = None,
    ) -> io.NodeOutput:
        backbone = host.HostBackbone(model, vae, conditioning, decoder)
        applied = host.applied_to_both(model, vae) if conditioning is None else None
        image = taken(image)
        enhanced = enhance(
            image,
            backbone,
            None if applied is None else applied.degradation,
            strength=1.0 if applied is None else applied.strength,
            upscale=upscale,
            tile=TILING[tiling],
            restraint=restraint,
            corrector=corrector,
            blend=blend,
            low_frequencies=low_frequencies,
            cutoff=cutoff,
            progress=host.Progress(),
        )
        decoded = [] if backbone.decoder_name is None else [f"decoder: {backbone.decoder_name}"]
        return io.NodeOutput(enhanced, ui=shown(cls, "\n".join([*colour_doubts(image), *decoded]), enhanced))
