"""The adapter on the host's MODEL and VAE."""

from __future__ import annotations

import copy
from contextlib import contextmanager
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
from torch import Tensor

from ...hidra_core.layouts import original_vae_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ...hidra_core.adapter import Lookup, Network
    from ...hidra_core.enhance import DegradationVectors

KEY = "hidra"
"""Of our wrapper and attachment on a MODEL."""


class Applied:
    """What Apply Degradation-Guided LoRA hands on with MODEL and VAE: one object, so that the two can be matched.

    Attributes:
        degradation: vectors and weights.
        model, vae: as they came in.
        strength: of the adapter.
    """

    def __init__(self, model: Any, vae: Any, degradation: DegradationVectors, strength: float) -> None:
        self.degradation = degradation
        self.model = model
        self.vae = vae
        self.strength = strength
        self._all = degradation.weights.adapter.modulate(degradation.vectors, strength)
        self._active = self._all

    @property
    def text_embedding(self) -> Tensor:
        return self.degradation.weights.text_embedding

    @contextmanager
    def rows(self, rows: slice) -> Iterator[None]:
        """Within the block only these images' Σ are attached; for callers that split a batch themselves."""
        before = self._active
        if len(self._all) > 1:
            self._active = self._all.rows(rows)
        try:
            yield
        finally:
            self._active = before

    def attached(self, network: Network, lookup: Lookup) -> Any:
        return self._active.attached(network, lookup)

    def around_unet(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The wrapper of the UNet call."""
        with self.attached("unet", unet_lookup(self.model)):
            return executor(x, *args, **kwargs)

    def around_encode(self, encode: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """An ``encode`` that adapts; image by image where images have different Σ, as the host may split batches."""

        def adapted(pixels: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            vectors = len(self._active)
            if vectors == 1:
                with self.attached("vae", vae_lookup(self.vae)):
                    return encode(pixels, *args, **kwargs)
            if pixels.shape[0] != vectors:
                raise ValueError(count_mismatch(vectors, pixels.shape[0]))
            active, parts = self._active, []
            try:
                for i in range(vectors):
                    self._active = active.rows(slice(i, i + 1))
                    with self.attached("vae", vae_lookup(self.vae)):
                        parts.append(encode(pixels[i : i + 1], *args, **kwargs))
            finally:
                self._active = active
            return torch.cat(parts)

        return adapted


def count_mismatch(vectors: int, images: int) -> str:
    return (
        f"{vectors} degradation vectors for {images} images: connect the same images to Estimate TIR DegradationVectors "
        "and to One-Step Enhance, or estimate on one image to share its degradation"
    )


def apply(model: Any, vae: Any, degradation: DegradationVectors, strength: float) -> tuple[Any, Any]:
    """MODEL and VAE that adapt to the degradation whenever they run; those given stay as they are.

    Raises:
        ValueError: weights for another backbone.
    """
    earlier = applied_to_vae(vae)
    vae = vae if earlier is None else earlier.vae  # applied again: the later one counts, as with the MODEL's wrapper
    adapter = degradation.weights.adapter
    adapter.check_fits("unet", unet_lookup(model))
    adapter.check_fits("vae", vae_lookup(vae))
    width, expected = degradation.weights.text_embedding.shape[-1], model.model.model_config.unet_config["context_dim"]
    if width != expected:
        raise ValueError(
            f"the weights are for another backbone: their text embedding is {width} wide, this MODEL's is {expected}"
        )
    applied = Applied(model, vae, degradation, strength)
    adapted_model = model.clone()
    adapted_model.remove_wrappers_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, KEY)
    adapted_model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, KEY, applied.around_unet)
    adapted_model.set_attachments(KEY, applied)
    adapted_vae = copy.copy(vae)
    adapted_vae.encode = applied.around_encode(vae.encode)
    adapted_vae.encode_tiled = applied.around_encode(vae.encode_tiled)
    adapted_vae.hidra_applied = applied
    return adapted_model, adapted_vae


def applied_to_model(model: Any) -> Applied | None:
    """What Apply put on this MODEL, if it did."""
    return model.get_attachment(KEY)


def applied_to_vae(vae: Any) -> Applied | None:
    """What Apply put on this VAE, if it did."""
    return getattr(vae, "hidra_applied", None)


def applied_to_both(model: Any, vae: Any) -> Applied:
    """What Apply put on both.

    Raises:
        ValueError: they do not come from one and the same Apply.
    """
    applied = applied_to_model(model)
    if applied is None or applied_to_vae(vae) is not applied:
        raise ValueError(
            "MODEL and VAE must both come from the same Apply Degradation-Guided LoRA node; "
            f"this {'MODEL' if applied is None else 'VAE'} does not. Connect both outputs of that node"
        )
    return applied


def text_embedding(model: Any, vae: Any, conditioning: list) -> Tensor:
    """``[1, tokens, width]`` of a CONDITIONING, for a baked MODEL and VAE, which bring no weights along.

    Raises:
        ValueError: MODEL or VAE adapt themselves already, or the conditioning is for another backbone.
    """
    if applied_to_model(model) is not None or applied_to_vae(vae) is not None:
        raise ValueError(
            "conditioning is for a baked MODEL and VAE; these come from Apply Degradation-Guided LoRA, which brings "
            "its own. Disconnect conditioning"
        )
    embedding = conditioning[0][0]
    expected = model.model.model_config.unet_config["context_dim"]
    if embedding.shape[-1] != expected:
        raise ValueError(
            f"the conditioning is for another backbone: it is {embedding.shape[-1]} wide, this MODEL wants {expected}. "
            "Connect that of Load Baked VAE, or the empty prompt by the backbone's own CLIP"
        )
    return embedding[:1].float()


def unet_lookup(model: Any) -> Lookup:
    """Finds modules of a MODEL's UNet by their diffusers names."""
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    unet = model.model.diffusion_model
    return lambda name: unet.get_submodule(names[f"{name}.weight"].removesuffix(".weight"))


def vae_lookup(vae: Any) -> Lookup:
    """Finds modules of a VAE's encoder by their diffusers names."""
    return lambda name: vae.first_stage_model.get_submodule(original_vae_name(name))
