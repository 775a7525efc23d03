"""One degradation folded into ordinary files, which other programs can load: a LoRA for the UNet, and a VAE.

For a camera whose degradation stays the same, nothing of the method has to be computed at run time:
``W + s·U Sigma(P) V`` with one ``P`` is the LoRA ``(s·U Sigma) V``. Other programs' LoRA loaders do not touch
autoencoders, so the VAE is written as a whole, in the original Stable Diffusion layout that they load.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .enhance import DegradationVectors, check_options
from .images.files import read_safetensors, write_safetensors
from .layouts import original_vae_name, original_vae_state
from .names import LORA_FORMAT, VAE_FORMAT
from .vectors import about

if TYPE_CHECKING:
    from os import PathLike

    from .adapter import Lookup
    from .backbone import DiffusersBackbone

VERSION = 1
TEXT_EMBEDDING = "hidra.text_embedding"
"""Key of the constant text embedding in a VAE file; programs that do not know it ignore it."""


@dataclass(frozen=True)
class Base:
    """The parts of a backbone that baking needs.

    Attributes:
        conv_in: weight and bias of the UNet's own input convolution.
        vae: finds the VAE's modules by their diffusers names.
        vae_state: all of the VAE, in the original layout.
        vae_config: diffusers' configuration of a VAE that is not Stable Diffusion's, for readers to build it from.
    """

    conv_in: tuple[Tensor, Tensor]
    vae: Lookup
    vae_state: dict[str, Tensor]
    vae_config: dict[str, Any] | None = None


@dataclass(frozen=True)
class Baked:
    """Tensors and header of both files.

    Attributes:
        lora: ``lora_unet_….lora_up.weight``, ``….lora_down.weight``, ``….alpha`` in kohya's naming of diffusers'
            layers, and the input convolution's change as ``lora_unet_conv_in.diff`` and ``.diff_b``.
        vae: the adapted VAE in the original layout, and the text embedding.
        lora_header: metadata of the LoRA file.
        vae_header: metadata of the VAE file.
    """

    lora: dict[str, Tensor]
    vae: dict[str, Tensor]
    lora_header: dict[str, str]
    vae_header: dict[str, str]


def base_of(backbone: DiffusersBackbone) -> Base:
    """The parts that baking needs, from a backbone made of diffusers' networks."""
    conv_in, vae = backbone.unet.conv_in, backbone.vae
    config = {key: value for key, value in vae.config.items() if not key.startswith("_")}
    state = original_vae_state(vae.state_dict(), levels=len(config["block_out_channels"]))
    return Base((conv_in.weight, conv_in.bias), backbone.lookup("vae"), state, config)


@torch.inference_mode()
def bake(
    degradation: DegradationVectors, base: Base, *, strength: float = 1.0, dtype: torch.dtype = torch.float16
) -> Baked:
    """Fold one degradation into a LoRA and a VAE.

    Args:
        degradation: one vector.
        base: parts of the backbone that the weights are for, see :func:`base_of`.
        strength: of the adapter, from 0 to 2; the LoRA applied at strength 1 is the adapter at this strength.
        dtype: number type of the tensors.

    Returns:
        Tensors and headers of both files, for :func:`save_baked`.

    Raises:
        ValueError: several vectors, a strength out of range, or values that the type cannot hold.
    """
    check_options(strength, 1, None)
    if len(degradation) != 1:
        raise ValueError(f"baking needs one degradation vector, not {len(degradation)}: average them first")
    adapter = degradation.weights.adapter
    modulated = adapter.modulate(degradation.vectors.to(next(adapter.heads.parameters())), strength)

    lora: dict[str, Tensor] = {}
    for name, down, up in modulated.low_rank("unet"):
        key = _lora_key(name)
        lora[f"{key}.lora_down.weight"] = down
        lora[f"{key}.lora_up.weight"] = up[:, :, None, None] if down.ndim == 4 else up
        lora[f"{key}.alpha"] = torch.tensor(float(len(down)))  # loaders scale by alpha / rank
    for part, own, trained in zip(
        ("diff", "diff_b"), base.conv_in, (adapter.conv_in.weight, adapter.conv_in.bias), strict=True
    ):
        lora[f"{_lora_key('conv_in')}.{part}"] = strength * (trained - own.to(trained))

    vae = dict(base.vae_state)
    for name, parameters in modulated.folded_parameters("vae", base.vae, torch.float32):
        for part, value in parameters.items():
            key = original_vae_name(f"{name}.{part}")
            vae[key] = value.view(vae[key].shape)
    vae[TEXT_EMBEDDING] = degradation.weights.text_embedding

    header = {
        "version": str(VERSION),
        **about(degradation),
        "strength": f"{strength:g}",
        "vector": json.dumps([float(f"{value:.9g}") for value in degradation.vectors[0].tolist()]),
    }
    config = {} if base.vae_config is None else {"vae_config": json.dumps(base.vae_config)}
    return Baked(
        _as(lora, dtype, "LoRA"),
        _as(vae, dtype, "VAE"),
        {"format": LORA_FORMAT, **header},
        {"format": VAE_FORMAT, **header, **config},
    )


def save_baked(baked: Baked, lora: str | PathLike, vae: str | PathLike) -> None:
    """Write both files, each atomically.

    Args:
        baked: from :func:`bake`.
        lora: the file of the LoRA.
        vae: the file of the VAE.

    Raises:
        ValueError: another suffix than ``.safetensors``.
        OSError: a file cannot be written; an existing one stays untouched.
    """
    for path in (lora, vae):
        if Path(path).suffix != ".safetensors":
            raise ValueError(f"{path}: baked files are written as .safetensors; give the file that suffix")
    write_safetensors(baked.lora, Path(lora), baked.lora_header)
    write_safetensors(baked.vae, Path(vae), baked.vae_header)


def read_baked_vae(path: str | PathLike) -> tuple[dict[str, Tensor], dict[str, Any] | None, Tensor]:
    """Read a VAE that :func:`save_baked` wrote.

    Args:
        path: the file.

    Returns:
        (tensors in the original layout, diffusers' configuration or None for Stable Diffusion's own VAE, text
        embedding)

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a VAE that was baked, or a damaged one.
    """
    tensors, header = read_safetensors(path)
    if header.get("format") != VAE_FORMAT or header.get("version") != str(VERSION):
        raise ValueError(
            f"{path} is not a baked VAE of this release (its header lacks format = {VAE_FORMAT}, version = {VERSION}). "
            "Choose one that Bake Degradation to LoRA or 'hidra bake' wrote; for any other VAE use Load VAE"
        )
    try:
        text_embedding = tensors.pop(TEXT_EMBEDDING)
        config = json.loads(header["vae_config"]) if "vae_config" in header else None
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); bake it again") from error
    return tensors, config, text_embedding


def _lora_key(layer: str) -> str:
    return f"lora_unet_{layer.replace('.', '_')}"


def _as(tensors: dict[str, Tensor], dtype: torch.dtype, what: str) -> dict[str, Tensor]:
    cast = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    for key, tensor in cast.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"the {what}'s '{key}' has values that {dtype} cannot hold; bake with less strength")
    return cast
