"""Baking for the host's MODEL and VAE, and baked files back into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.sd
import comfy.utils

from ...hidra_core.bake import Baked, Base, bake, read_baked_vae
from ...hidra_core.vectors import average
from .. import host

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

_PREFIX = "diffusion_model."


def bake_applied(applied: host.Applied) -> Baked:
    """What Apply put on a MODEL and a VAE, folded; the average of several vectors."""
    base = Base(
        conv_in=_conv_in(applied.model),
        vae=host.vae_lookup(applied.vae),
        vae_state=dict(applied.vae.first_stage_model.state_dict()),
        vae_config=getattr(applied.vae, "hidra_config", None),
    )
    return bake(average(applied.degradation), base, strength=applied.strength)


def _conv_in(model: Any) -> tuple[Tensor, Tensor]:
    """The input convolution as it was loaded, whatever patches lie on it or have been written into it."""
    name = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)["conv_in.weight"]
    layer = f"{_PREFIX}{name.removesuffix('weight')}"
    found = model.get_key_patches(layer)
    weight, bias = (found[f"{layer}{part}"][0] for part in ("weight", "bias"))
    return tuple(convert(value, inplace=False).float().cpu() for value, convert in (weight, bias))


def apply_lora(model: Any, baked: Baked) -> Any:
    """The MODEL with the baked LoRA, as the host's own Load LoRA gives it."""
    adapted, _ = comfy.sd.load_lora_for_models(model, None, baked.lora, 1.0, 0.0)
    return adapted


def load_vae(path: Path) -> tuple[Any, list]:
    """VAE and CONDITIONING of a baked VAE's file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a baked VAE.
    """
    state, config, text_embedding = read_baked_vae(path)
    vae = comfy.sd.VAE(sd=state) if config is None else host.native_vae(state, config)
    return vae, [[text_embedding.float(), {}]]
