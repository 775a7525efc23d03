"""The adapter on the host's MODEL and VAE.

The adapter rides on the host's own MODEL and VAE: a wrapper around the UNet call and a shallow copy of the VAE attach
the hooks for the length of one call. Nothing in the loaded networks is changed.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import comfy.patcher_extension
import comfy.utils
import torch
from torch import Tensor

from ...hidra_core.layouts import original_vae_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ...hidra_core.adapter import Lookup, ModulatedAdapter, Network
    from ...hidra_core.enhance import DegradationVectors
    from ...hidra_core.weights import Weights

KEY = "hidra"
"""Of our wrapper and our attachment on a MODEL."""

_BAKED = "hidra_baked"
"""Of our mark on a VAE and in a CONDITIONING."""


class Applied:
    """What adapts a MODEL and a VAE that belong together: one object on both, so that the two can be matched.

    As made, nothing is attached: what is, :meth:`using` says call by call.

    Args:
        model: the MODEL before it was adapted.
        vae: the VAE before it was adapted.
    """

    def __init__(self, model: Any, vae: Any) -> None:
        self.model = model
        self.vae = vae
        self._active: ModulatedAdapter | None = None

    @contextmanager
    def using(self, modulated: ModulatedAdapter) -> Iterator[None]:
        """Attach this adapter within the block instead of whichever was attached before.

        Args:
            modulated: the adapter for the images that run within the block.
        """
        before, self._active = self._active, modulated
        try:
            yield
        finally:
            self._active = before

    def attached(self, network: Network, lookup: Lookup) -> AbstractContextManager[None]:
        """A context in which one of the networks is adapted.

        Args:
            network: ``unet`` or ``vae``.
            lookup: finds that network's modules.
        """
        return nullcontext() if self._active is None else self._active.attached(network, lookup)

    def around_unet(self, executor: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The wrapper of the UNet call, with the host's signature for wrappers.

        Args:
            executor: the call that is wrapped.
            x: its input.
            *args: handed on.
            **kwargs: handed on.

        Raises:
            ValueError: another number of images than of vectors.
        """
        active = self._active
        images = x.shape[0] // _rows_per_image(*args, *kwargs.values())
        if active is not None and len(active) not in (1, images):
            raise ValueError(_count_mismatch(len(active), images))
        with self.attached("unet", unet_lookup(self.model)):
            return executor(x, *args, **kwargs)

    def around_encode(self, encode: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """An ``encode`` that adapts; image by image where images have different Sigma, as the host may split batches.

        Args:
            encode: the VAE's own, plain or tiled.
        """

        def adapted(pixels: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            active = self._active
            if active is None or len(active) == 1:
                with self.attached("vae", vae_lookup(self.vae)):
                    return encode(pixels, *args, **kwargs)
            if pixels.shape[0] != len(active):
                raise ValueError(_count_mismatch(len(active), pixels.shape[0]))
            parts = []
            for i in range(len(active)):
                with self.using(active.rows(slice(i, i + 1))), self.attached("vae", vae_lookup(self.vae)):
                    parts.append(encode(pixels[i : i + 1], *args, **kwargs))
            return torch.cat(parts)

        return adapted


class AppliedDegradation(Applied):
    """A degradation that stays attached to a MODEL and a VAE, whoever runs them.

    Args:
        model: the MODEL before it was adapted.
        vae: the VAE before it was adapted.
        degradation: vectors and weights.
        strength: of the adapter, 0 to 2.
    """

    def __init__(self, model: Any, vae: Any, degradation: DegradationVectors, strength: float) -> None:
        super().__init__(model, vae)
        self.degradation = degradation
        self.strength = strength
        self._active = degradation.weights.adapter.modulate(degradation.vectors, strength)


def _rows_per_image(*arguments: Any) -> int:
    """How many rows of a batch belong to one image: the host stacks the images with and without the prompt."""
    options = (one["cond_or_uncond"] for one in arguments if isinstance(one, dict) and "cond_or_uncond" in one)
    return max(1, len(next(options, ())))


def _count_mismatch(vectors: int, images: int) -> str:
    return (
        f"{vectors} degradation vectors for {images} images: connect the same images to Estimate TIR Degradation "
        "and to One-Step Enhance, or estimate on one image to share its degradation"
    )


def apply(model: Any, vae: Any, degradation: DegradationVectors, strength: float) -> tuple[Any, Any]:
    """MODEL and VAE that adapt to the degradation whenever they run; the ones given are not changed.

    Args:
        model: the backbone that the weights were trained on.
        vae: of the same backbone.
        degradation: vectors and weights.
        strength: of the adapter, 0 to 2.

    Raises:
        ValueError: weights for another backbone.
    """
    vae = _checked(model, vae, degradation.weights)
    return _attach(AppliedDegradation(model, vae, degradation, strength))


def adapting(model: Any, vae: Any, weights: Weights) -> tuple[Any, Any]:
    """MODEL and VAE whose adapter a :class:`~.backbone.HostBackbone` of them is told call by call.

    Args:
        model: the backbone that the weights were trained on.
        vae: of the same backbone.
        weights: whose adapter will be attached.

    Raises:
        ValueError: weights for another backbone.
    """
    return _attach(Applied(model, _checked(model, vae, weights)))


def _checked(model: Any, vae: Any, weights: Weights) -> Any:
    """The VAE without an adapter that an earlier node put on it; raises ValueError for weights of another backbone."""
    earlier = applied_to_vae(vae)
    vae = vae if earlier is None else earlier.vae  # applied again: the later one counts, as with the MODEL's wrapper
    try:
        weights.adapter.check_fits("unet", unet_lookup(model))
        weights.adapter.check_fits("vae", vae_lookup(vae))
    except ValueError as error:
        raise ValueError(
            f"{weights.source} is made for {weights.backbone}, and another backbone is loaded: choose that in Load "
            f"SD-Turbo, or other weights in Estimate TIR Degradation ({error})"
        ) from error
    width, expected = weights.text_embedding.shape[-1], model.model.model_config.unet_config["context_dim"]
    if width != expected:
        raise ValueError(
            f"the weights are for another backbone: their text embedding is {width} wide, this MODEL's is {expected}"
        )
    return vae


def _attach(applied: Applied) -> tuple[Any, Any]:
    model, vae = applied.model, applied.vae
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
    """What :func:`apply` or :func:`adapting` put on this MODEL, if one of them did.

    Args:
        model: any MODEL.
    """
    return model.get_attachment(KEY)


def applied_to_vae(vae: Any) -> Applied | None:
    """What :func:`apply` or :func:`adapting` put on this VAE, if one of them did.

    Args:
        vae: any VAE.
    """
    return getattr(vae, "hidra_applied", None)


def applied_to_both(model: Any, vae: Any) -> AppliedDegradation:
    """What Apply Degradation-Guided LoRA put on both.

    Args:
        model: any MODEL.
        vae: any VAE.

    Raises:
        ValueError: they do not come from one and the same node of that kind.
    """
    applied = applied_to_model(model)
    if not isinstance(applied, AppliedDegradation) or applied_to_vae(vae) is not applied:
        raise ValueError(
            "MODEL and VAE must both come from the same Apply Degradation-Guided LoRA node; "
            f"this {'MODEL' if applied is None else 'VAE'} does not. Connect both outputs of that node. A baked MODEL "
            "and VAE need the conditioning of Load Baked VAE. For the plain backbone set that node's strength to 0 "
            "instead of bypassing it"
        )
    return applied


def mark_vae(vae: Any, *, baked: bool) -> Any:
    """The same VAE, which from now on says whether it is a baked one; those of the host's own loaders do not say.

    Args:
        vae: any VAE.
        baked: whether it is.
    """
    setattr(vae, _BAKED, baked)
    return vae


def baked_conditioning(embedding: Tensor) -> list:
    """A CONDITIONING that says that a baked VAE came with it.

    Args:
        embedding: the constant text embedding.
    """
    return [[embedding.float(), {_BAKED: True}]]


def _check_baked_pair(model: Any, vae: Any, conditioning: list) -> None:
    """Raise ValueError where one of a MODEL and a VAE is baked and the other is not, as far as that can be told.

    What a LoRA loader says of its file does not reach this far, but that it has changed the MODEL does. A VAE that no
    loader of this pack has marked is believed, unless the conditioning came with another one.
    """
    changed = any(key.startswith("diffusion_model.") for key in model.patches) or bool(model.injections)
    baked = getattr(vae, _BAKED, None)
    if baked is None and conditioning[0][1].get(_BAKED):
        baked = False
    if baked and not changed:
        raise ValueError(
            "the VAE is baked, and this MODEL has no LoRA: both belong together. Connect Load LoRA (model only) with "
            "the baked LoRA of the same name between Load SD-Turbo and this node"
        )
    if baked is False and changed:
        raise ValueError(
            "this MODEL has a LoRA, and the VAE is not the baked one that belongs to it: connect VAE of Load Baked VAE "
            "too, with the file of the same name. Without baked files connect MODEL and VAE of Apply "
            "Degradation-Guided LoRA, and no conditioning"
        )


def text_embedding(model: Any, vae: Any, conditioning: list) -> Tensor:
    """``[1, tokens, width]`` of a CONDITIONING, for a baked MODEL and VAE, which bring no weights along.

    Args:
        model: a baked MODEL.
        vae: a baked VAE.
        conditioning: the CONDITIONING; its first entry counts.

    Raises:
        ValueError: MODEL or VAE adapt themselves already, one of them is baked and the other is not, or the
            conditioning is for another backbone.
    """
    if applied_to_model(model) is not None or applied_to_vae(vae) is not None:
        raise ValueError(
            "conditioning is for a baked MODEL and VAE; these come from Apply Degradation-Guided LoRA, which brings "
            "its own. Disconnect conditioning"
        )
    _check_baked_pair(model, vae, conditioning)
    embedding = conditioning[0][0]
    expected = model.model.model_config.unet_config["context_dim"]
    if embedding.shape[-1] != expected:
        raise ValueError(
            f"the conditioning is for another backbone: it is {embedding.shape[-1]} wide, this MODEL needs {expected}. "
            "Connect that of Load Baked VAE, or the empty prompt encoded by the backbone's own CLIP"
        )
    return embedding[:1].float()


def unet_lookup(model: Any) -> Lookup:
    """Finds modules of a MODEL's UNet by their diffusers names.

    Args:
        model: any MODEL of Stable Diffusion's family.
    """
    names = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    unet = model.model.diffusion_model
    return lambda name: unet.get_submodule(names[f"{name}.weight"].removesuffix(".weight"))


def vae_lookup(vae: Any) -> Lookup:
    """Finds modules of a VAE's encoder by their diffusers names.

    Args:
        vae: any VAE of Stable Diffusion's family.
    """
    return lambda name: vae.first_stage_model.get_submodule(original_vae_name(name))
