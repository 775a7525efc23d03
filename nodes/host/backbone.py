"""The host's MODEL and VAE as a backbone of the library."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import comfy.latent_formats
import comfy.ldm.modules.diffusionmodules.model
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor, nn

from ...hidra_core.backbone import Backbone
from .applied import applied_to_model, unet_lookup, vae_lookup

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...hidra_core.adapter import Lookup, Network


class HostBackbone(Backbone):
    """The host's MODEL and VAE as a backbone; loading, offloading and wrappers stay the host's business.

    Args:
        model: a MODEL from Apply Degradation-Guided LoRA, or one that a baked LoRA was loaded into.
        vae: the VAE from the same node, or the baked one.
    """

    name = "ComfyUI"
    dtype = torch.float32

    def __init__(self, model: Any, vae: Any) -> None:
        self.model = model
        self.vae = vae
        self.device = comfy.model_management.intermediate_device()
        self._applied = applied_to_model(model)
        self._latent_format = model.get_model_object("latent_format")

    def encode(self, images: Tensor) -> Tensor:
        return self._latent_format.process_in(self.vae.encode((images.movedim(1, -1) + 1) / 2))

    def denoise(self, latent: Tensor, text_embedding: Tensor) -> Tensor:
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds([[text_embedding, {}]], [[text_embedding, {}]])
        guider.set_cfg(1.0)
        sigmas = torch.tensor([float(self.model.get_model_object("model_sampling").sigma_max), 0.0])
        # Given as the noise of an empty latent, z reaches the UNet as it is: the sampler scales noise by
        # sqrt(1 + σ²), and the model divides its input by the same
        euler = comfy.samplers.sampler_object("euler")
        clean = guider.sample(latent, torch.zeros_like(latent), euler, sigmas, disable_pbar=True, seed=0)
        return self._latent_format.process_in(clean)

    def decode(self, latent: Tensor) -> Tensor:
        return self.vae.decode(self._latent_format.process_out(latent)).movedim(-1, 1) * 2 - 1

    def lookup(self, network: Network) -> Lookup:
        return unet_lookup(self.model) if network == "unet" else vae_lookup(self.vae)

    def modules(self) -> Iterator[nn.Module]:
        yield from self.model.model.diffusion_model.modules()
        yield from self.vae.first_stage_model.modules()

    def rows(self, rows: slice) -> Any:
        return nullcontext() if self._applied is None else self._applied.rows(rows)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, comfy.model_management.OOM_EXCEPTION)

    def free_memory(self) -> None:
        comfy.model_management.soft_empty_cache()
