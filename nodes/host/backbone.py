"""The host's MODEL and VAE as a backbone of the library."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor, nn
from typing_extensions import override

from ...hidra_core.backbone import Backbone
from .applied import applied_to_model, text_embedding, unet_lookup, vae_lookup
from .attention import with_checkpoints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ...hidra_core.adapter import Lookup, ModulatedAdapter, Network


class HostBackbone(Backbone):
    """The host's MODEL and VAE as a backbone; loading, offloading and wrappers stay the host's business.

    Args:
        model: a MODEL from :func:`~.applied.apply` or :func:`~.applied.adapting`, or one that a baked LoRA was loaded
            into.
        vae: the VAE from the same call, or the baked one.
        conditioning: for a baked MODEL and VAE: a CONDITIONING with the constant text embedding.
        decoder: a VAE that decodes in the place of the other one.

    Raises:
        ValueError: conditioning for a MODEL or VAE that adapt themselves already, of which one alone is baked, or for
            another backbone; a decoder of other latents.
    """

    name = "ComfyUI"
    dtype = torch.float32

    def __init__(self, model: Any, vae: Any, conditioning: list | None = None, decoder: Any = None) -> None:
        self.model = model
        self.vae = vae
        self.text_embedding = None if conditioning is None else text_embedding(model, vae, conditioning)
        self.device = comfy.model_management.intermediate_device()
        self._applied = applied_to_model(model)
        self._latent_format = model.get_model_object("latent_format")
        self._decoder = vae
        if decoder is not None:
            _check_decoder(decoder, vae, self._latent_format)
            self._decoder = decoder
            self.decoder_name = type(decoder.first_stage_model).__name__

    @override
    def encode(self, images: Tensor) -> Tensor:
        return self._latent_format.process_in(self.vae.encode((images.movedim(1, -1) + 1) / 2))

    @override
    def denoise(self, latent: Tensor, text_embedding: Tensor) -> Tensor:
        guider = comfy.samplers.CFGGuider(self.model)
        guider.model_options = with_checkpoints(guider.model_options)
        guider.set_conds([[text_embedding, {}]], [[text_embedding, {}]])
        guider.set_cfg(1.0)
        sigmas = torch.tensor([float(self.model.get_model_object("model_sampling").sigma_max), 0.0])
        # Given as the noise of an empty latent, z reaches the UNet unchanged: the sampler multiplies noise by
        # sqrt(1 + sigma²), and the model divides its input by the same
        euler = comfy.samplers.sampler_object("euler")
        clean = guider.sample(latent, torch.zeros_like(latent), euler, sigmas, disable_pbar=True, seed=0)
        return self._latent_format.process_in(clean)

    @override
    def decode(self, latent: Tensor) -> Tensor:
        return self._decoder.decode(self._latent_format.process_out(latent)).movedim(-1, 1) * 2 - 1

    @override
    def lookup(self, network: Network) -> Lookup:
        return unet_lookup(self.model) if network == "unet" else vae_lookup(self.vae)

    @override
    def modules(self) -> Iterator[nn.Module]:
        yield from self.model.model.diffusion_model.modules()
        yield from self.vae.first_stage_model.modules()
        if self._decoder is not self.vae:
            yield from self._decoder.first_stage_model.modules()

    @contextmanager
    @override
    def adapted(self, modulated: ModulatedAdapter) -> Iterator[None]:
        if self._applied is None:
            raise ValueError("this MODEL has no adapter to attach: connect it to Apply Degradation-Guided LoRA")
        with self._applied.using(modulated):
            yield

    @override
    def folded(self, modulated: ModulatedAdapter) -> AbstractContextManager[None]:
        return _Hooked(self, modulated)  # the host moves and casts weights at will: a folded copy would not be used

    @override
    def is_out_of_memory(self, error: BaseException) -> bool:
        is_oom = getattr(comfy.model_management, "is_oom", None)  # newer hosts know more kinds
        if is_oom is not None and is_oom(error):
            return True
        return isinstance(error, comfy.model_management.OOM_EXCEPTION) or super().is_out_of_memory(error)

    @override
    def free_memory(self) -> None:
        comfy.model_management.soft_empty_cache()


def _check_decoder(decoder: Any, vae: Any, latent_format: Any) -> None:
    """Raise ValueError unless a VAE decodes the latents of another one, as far as the host knows what it decodes."""
    network = decoder.first_stage_model
    remedy = (
        "connect taesd of Load VAE, for SD-Turbo"
        if vae.upscale_ratio == _SD_FACTOR
        else "disconnect decoder: this backbone's own is thin"
    )
    shape = (decoder.latent_channels, getattr(decoder, "latent_dim", 2), decoder.upscale_ratio)
    expected = (latent_format.latent_channels, 2, vae.upscale_ratio)
    if shape != expected:
        raise ValueError(
            f"the decoder ({type(network).__name__}) takes latents of {shape[0]} channels with {shape[1]} axes and "
            f"enlarges them {shape[2] if isinstance(shape[2], int) else 'unevenly'}; expected {expected[0]} channels, "
            f"2 axes and {expected[2]}: {remedy}"
        )
    scale = getattr(network, "vae_scale", None)  # of TAESD and its kin
    if scale is None:
        return
    shift = float(network.vae_shift)
    # half-precision numbers round the factor; those of other latents differ by a quarter and more
    if abs(float(scale) - latent_format.scale_factor) > 0.01 * latent_format.scale_factor or shift:
        raise ValueError(
            f"the decoder ({type(network).__name__}) takes latents of scaling factor {float(scale):g} with shift "
            f"{shift:g}; expected {latent_format.scale_factor:g} without shift: {remedy}"
        )


_SD_FACTOR = 8
"""How many times smaller than the image Stable Diffusion's latents are."""


class _Hooked:
    """A context of :meth:`HostBackbone.adapted` that can be entered again and again."""

    def __init__(self, backbone: HostBackbone, modulated: ModulatedAdapter) -> None:
        self._backbone = backbone
        self._modulated = modulated
        self._entered: AbstractContextManager[None] | None = None

    def __enter__(self) -> None:
        self._entered = self._backbone.adapted(self._modulated)
        self._entered.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._entered is not None:
            self._entered.__exit__(*error)
