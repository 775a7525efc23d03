"""Baking for the host's MODEL and VAE, and baked files back into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.sd
import comfy.utils

from ...hidra_core.bake import Baked, Base, bake, read_baked_vae
from ...hidra_core.vectors import average
from .applied import baked_conditioning, mark_vae, vae_lookup
from .loading import native_vae

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from .applied import AppliedDegradation

_PREFIX = "diffusion_model."


def bake_applied(applied: AppliedDegradation) -> Baked:
    """Fold what Apply Degradation-Guided LoRA put on a MODEL and a VAE; of several vectors, their average.

    Args:
        applied: what was put on them.

    Raises:
        ValueError: values that the number type of the files cannot hold.
    """
    base = Base(
        conv_in=_conv_in(applied.model),
        vae=vae_lookup(applied.vae),
        vae_state=dict(applied.vae.first_stage_model.state_dict()),
        vae_config=getattr(applied.vae, "hidra_config", None),
    )
    return bake(average(applied.degradation), base, strength=applied.strength)


def _conv_in(model: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of the input convolution as loaded, whatever patches are registered for it or written into it."""
    name = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)["conv_in.weight"]
    layer = f"{_PREFIX}{name.removesuffix('weight')}"
    patches = model.get_key_patches(layer)

    def original(part: str) -> Tensor:
        value, convert = patches[f"{layer}{part}"][0]
        return convert(value, inplace=False).float().cpu()

    return original("weight"), original("bias")


def apply_lora(model: Any, baked: Baked) -> Any:
    """The MODEL with the baked LoRA, as the host's own Load LoRA makes it.

    Args:
        model: a MODEL without an adapter.
        baked: from :func:`bake_applied`.
    """
    adapted, _ = comfy.sd.load_lora_for_models(model, None, baked.lora, 1.0, 0.0)
    return adapted


def load_vae(path: Path) -> tuple[Any, list]:
    """VAE and CONDITIONING of a baked VAE's file.

    Args:
        path: written by Bake Degradation to LoRA or ``hidra bake``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a baked VAE.
    """
    state, config, text_embedding = read_baked_vae(path)
    vae = comfy.sd.VAE(sd=state) if config is None else native_vae(state, config)
    return mark_vae(vae, baked=True), baked_conditioning(text_embedding)
