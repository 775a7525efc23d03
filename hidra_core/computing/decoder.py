"""A decoder in the place of the backbone's own: thin ones of the same latents need a few percent of its time.

Stable Diffusion's own decoder has most of SD-Turbo's cost. TAESD and its kin, trained to decode the same latents, are
read from diffusers' folders (``AutoencoderTiny``, or ``AutoencoderKL`` for a full one) and from single files in
diffusers' or in TAESD's own layout.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from ..images.files import read_safetensors

if TYPE_CHECKING:
    from os import PathLike

    import torch
    from torch import Tensor, nn

_PREFIXES = ("decoder.layers.", "taesd_decoder.", "decoder.", "")
"""Before the number of a layer: in diffusers' layout, and in TAESD's own, in joined files and alone."""

_TINY_SCALE = "vae_scale"
SD_SCALE = 0.18215
"""Scaling factor of Stable Diffusion's latents."""


class Decoder:
    """A decoder of a backbone's scaled latents.

    Args:
        module: from latents, divided by ``scale``, to images ``[B, 3, H, W]`` in [-1, 1], not clamped.
        scale: of the latents: 1 for TAESD, which takes them as diffusers' UNet sees them.
        name: what reports call it.
        channels: of the latents.
    """

    def __init__(self, module: nn.Module, scale: float, name: str, channels: int) -> None:
        self.module = module
        self.scale = scale
        self.name = name
        self.channels = channels

    def __call__(self, latent: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]``, not clamped, of a scaled latent ``[B, C, H/8, W/8]``."""
        return self.module(latent / self.scale)


def load_decoder(
    source: str | PathLike, vae_config: Any, *, device: torch.device, dtype: torch.dtype, backbone: str
) -> Decoder:
    """Load a decoder for the latents of a backbone.

    Args:
        source: a folder of diffusers' ``AutoencoderTiny`` or ``AutoencoderKL``, or a ``.safetensors`` file of TAESD's
            shape.
        vae_config: diffusers' configuration of the backbone's own VAE.
        device: for the decoder.
        dtype: number type of its parameters.
        backbone: its name, for messages.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not a decoder of these latents.
        ImportError: diffusers is missing.
    """
    path = Path(source)
    own = 2 ** (len(vae_config.block_out_channels) - 1)
    expected = (
        f"the latents of {backbone}, which have {vae_config.latent_channels} channels, 1/{own} of the image's size"
    )
    decoder, factor = _from_folder(path, vae_config, expected) if path.is_dir() else _from_file(path)
    if (decoder.channels, factor) != (vae_config.latent_channels, own):
        raise ValueError(
            f"{path} is no decoder for {expected}: it takes {decoder.channels} channels, 1/{factor} of the size. "
            + ("Choose TAESD, for SD-Turbo" if own == 8 else f"{backbone} needs none: its own is thin")
        )
    import torch

    network = decoder.module.eval().requires_grad_(False).to(device=device, dtype=dtype)
    place: Any = network.to  # whose declaration lacks memory_format
    place(memory_format=torch.channels_last)
    return decoder


def _from_folder(path: Path, vae_config: Any, expected: str) -> tuple[Decoder, int]:
    """A decoder in a folder of diffusers, and how many times larger it makes a latent."""
    from diffusers import AutoencoderKL, AutoencoderTiny

    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
        kind = config["_class_name"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a folder of diffusers' AutoencoderTiny or AutoencoderKL: config.json cannot be read "
            f"({error}). Name the folder that holds config.json, or a .safetensors file"
        ) from error
    kinds: dict[str, Any] = {"AutoencoderTiny": AutoencoderTiny, "AutoencoderKL": AutoencoderKL}
    if kind not in kinds:
        raise ValueError(f"{path} holds a {kind}; expected AutoencoderTiny (TAESD) or AutoencoderKL")
    # the tiny one takes scaled latents, the other one latents as the encoder gives them
    scale = 1.0 if kind == "AutoencoderTiny" else vae_config.scaling_factor
    given, shift = (
        config.get("scaling_factor", 1.0 if kind == "AutoencoderTiny" else SD_SCALE),
        config.get("shift_factor"),
    )
    if abs(given - scale) > 1e-4 * scale or shift:
        raise ValueError(
            f"{path} is no decoder for {expected}: its scaling factor is {given:g} with shift {shift or 0:g}; "
            f"expected {scale:g} without shift"
        )
    try:
        loaded, info = kinds[kind].from_pretrained(
            path, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        if info["missing_keys"]:
            raise ValueError(f"it lacks {sorted(info['missing_keys'])[0]}")
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(f"cannot load {path}: {error}. Download the folder again") from error
    if kind == "AutoencoderTiny":
        factor = loaded.config.upsampling_scaling_factor ** (len(loaded.config.decoder_block_out_channels) - 1)
        return Decoder(loaded.decoder, 1.0, path.name, loaded.config.latent_channels), factor
    factor = 2 ** (len(loaded.config.block_out_channels) - 1)
    return Decoder(_full(loaded), scale, path.name, loaded.config.latent_channels), factor


def _full(vae: Any) -> nn.Module:
    """Decoder of an ``AutoencoderKL`` with the convolution before it."""
    from torch import nn

    return nn.Sequential(*([vae.post_quant_conv] if vae.post_quant_conv is not None else []), vae.decoder)


def _from_file(path: Path) -> tuple[Decoder, int]:
    """A decoder of TAESD's shape, and how many times larger it makes a latent."""
    from diffusers import AutoencoderTiny

    tensors, _ = read_safetensors(path)
    wrong = f"{path} is no decoder of TAESD's shape: "
    remedy = ". Give taesd_decoder.safetensors, diffusers' taesd, or a folder of diffusers"
    for prefix in _PREFIXES:
        layers = {
            (int(match[1]), match[2]): tensor
            for key, tensor in tensors.items()
            if (match := re.fullmatch(re.escape(prefix) + r"(\d+)\.(.+)", key))
        }
        if layers:
            break
    else:
        raise ValueError(f"{wrong}no layers in it have numbers{remedy}")
    scale = tensors.get(_TINY_SCALE)
    # TAESD's own layout counts the clamp before the first convolution; diffusers' has it outside the layers
    first = 0 if prefix == "decoder.layers." else 1
    weight = layers.get((first, "weight"))
    if weight is None or weight.ndim != 4:
        raise ValueError(f"{wrong}its first layer is no convolution{remedy}")
    width, channels = weight.shape[:2]
    if channels > width:
        raise ValueError(
            f"{wrong}its first layer takes {channels} channels, which no latent has; is it an encoder?{remedy}"
        )
    network: Any = AutoencoderTiny(
        latent_channels=channels, encoder_block_out_channels=(width,) * 4, decoder_block_out_channels=(width,) * 4
    )
    try:
        network.decoder.load_state_dict(
            {f"layers.{number - first}.{name}": tensor.float() for (number, name), tensor in layers.items()}
        )
    except RuntimeError as error:
        raise ValueError(f"{wrong}{str(error).splitlines()[-1].strip()}{remedy}") from error
    if scale is not None and abs(float(scale) - SD_SCALE) > 0.01 * SD_SCALE:  # half-precision numbers round it
        raise ValueError(
            f"{path} decodes latents of scaling factor {float(scale):g}; expected {SD_SCALE}, that of SD-Turbo. "
            "Choose TAESD"
        )
    return Decoder(network.decoder, 1.0, path.stem, channels), 8
