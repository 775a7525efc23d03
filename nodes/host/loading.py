"""Weights and backbones as the host's own MODEL and VAE."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import comfy.latent_formats
import comfy.ldm.modules.diffusionmodules.model
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor, nn

from ...hidra_core.backbone import MODELS
from ...hidra_core.images.files import read_safetensors
from ...hidra_core.layouts import original_vae_state
from ...hidra_core.names import HIDRA_TINY
from ...hidra_core.weights import Weights, load_weights, weights_path
from .applied import mark_vae
from .files import WEIGHTS_FOLDER, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class LoadedWeights:
    """A weights file in memory, and its DEM as the host's memory management knows it."""

    weights: Weights
    estimator: Any

    def load_estimator(self, bytes_for_work: int) -> None:
        """Have the host load the DEM onto its device, within its own memory management.

        Args:
            bytes_for_work: memory to keep free for its activations.
        """
        comfy.model_management.load_models_gpu([self.estimator], memory_required=bytes_for_work)


def weights(name: str) -> LoadedWeights:
    """The weights file of this name, checked; the two that were used last stay in memory.

    Args:
        name: ``hidra-tiny``, or a file of ``models/hidra``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weights file, or a damaged one.
    """
    path = weights_path(name) if name == HIDRA_TINY else path_of(WEIGHTS_FOLDER, name)
    return _weights(name if name == HIDRA_TINY else str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _weights(source: str, _modified: int) -> LoadedWeights:
    """The weights; with their time of change as an argument, a changed file is read again."""
    loaded = load_weights(source)
    estimator = comfy.model_patcher.ModelPatcher(
        loaded.estimator,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    # Degradations hold the DEM when these weights are forgotten: it must not outlive what the host manages it by.
    loaded.estimator.hidra_patcher = estimator
    return LoadedWeights(loaded, estimator)


def load_checkpoint(name: str) -> tuple[Any, Any]:
    """MODEL and VAE of an SD-Turbo checkpoint in ``models/checkpoints``, or of the built-in hidra-tiny.

    Args:
        name: ``hidra-tiny``, or a file of that folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: unreadable, or not shaped like SD-Turbo.
    """
    if name == HIDRA_TINY:
        return load_hidra_tiny()
    path = path_of("checkpoints", name)
    try:
        model, _, vae, _ = comfy.sd.load_checkpoint_guess_config(str(path), output_vae=True, output_clip=False)
    except comfy.model_management.OOM_EXCEPTION:
        raise
    except Exception as error:  # the host's loaders raise whatever their parsers do, often without the path
        raise ValueError(
            f"{path} cannot be read as a checkpoint ({error}). It may be truncated, renamed or of an unknown kind: "
            "download sd_turbo.safetensors again"
        ) from error
    problem = _unlike_sd_turbo(model, vae)
    if problem:
        raise ValueError(f"{path} is not SD-Turbo: {problem}. Choose sd_turbo.safetensors")
    return model, mark_vae(vae, baked=False)


def _unlike_sd_turbo(model: Any, vae: Any) -> str | None:
    if model is None:
        return "it has no diffusion model"
    config = model.model.model_config.unet_config
    for key, expected in (("model_channels", 320), ("context_dim", 1024), ("in_channels", 4)):
        if config.get(key) != expected:
            return f"its UNet has {key} = {config.get(key)}, SD-Turbo's has {expected}"
    if model.model.model_type != comfy.model_base.ModelType.EPS:
        return f"it predicts {model.model.model_type.name}, SD-Turbo predicts noise (EPS)"
    if vae is None or getattr(vae, "first_stage_model", None) is None:
        return "it has no VAE; the file must hold the whole checkpoint"
    return None


class _HidraTinyConfig(comfy.supported_models_base.BASE):
    """A UNet of Stable Diffusion's family in any size; see ``comfy.supported_models`` for the fields."""

    unet_config = {}
    unet_extra_config = {"num_heads": -1, "num_head_channels": 32}


def load_hidra_tiny() -> tuple[Any, Any]:
    """The built-in backbone as a native MODEL and VAE."""
    return native_backbone(MODELS / HIDRA_TINY / "backbone.safetensors")


def native_backbone(path: Path) -> tuple[Any, Any]:
    """Build MODEL and VAE of the host from a backbone file (diffusers' names and configurations).

    Args:
        path: a file that :func:`~hidra_core.backbone.save_backbone` wrote.

    Raises:
        ValueError: a UNet that the host's classes cannot express.
    """
    tensors, metadata = read_safetensors(path)
    unet_config = json.loads(metadata["unet_config"])
    vae_config = json.loads(metadata["vae_config"])
    prediction = {
        "epsilon": comfy.model_base.ModelType.EPS,
        "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
    }[metadata["prediction_type"]]
    parts = {network: _without_prefix(tensors, f"{network}.") for network in ("unet", "vae")}

    config = _HidraTinyConfig(native_unet_config(unet_config))
    config.unet_config["num_head_channels"] = unet_config["block_out_channels"][0] // _heads(unet_config)[0]
    config.latent_format = comfy.latent_formats.LatentFormat()
    config.latent_format.scale_factor = vae_config["scaling_factor"]
    config.latent_format.latent_channels = vae_config["latent_channels"]
    load_device = comfy.model_management.get_torch_device()
    offload_device = comfy.model_management.unet_offload_device()
    parameters = sum(tensor.numel() for tensor in parts["unet"].values())
    supported = config.supported_inference_dtypes
    dtype = comfy.model_management.unet_dtype(model_params=parameters, supported_dtypes=supported)
    config.set_inference_dtype(dtype, comfy.model_management.unet_manual_cast(dtype, load_device, supported))
    model = comfy.model_base.BaseModel(config, model_type=prediction, device=offload_device)
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    model.diffusion_model.load_state_dict({names[key]: tensor for key, tensor in parts["unet"].items()})
    patcher = comfy.model_patcher.ModelPatcher(model, load_device=load_device, offload_device=offload_device)

    _set_norm_groups(model.diffusion_model, unet_config["norm_num_groups"])
    levels = len(vae_config["block_out_channels"])
    vae = native_vae(original_vae_state(parts["vae"], levels), vae_config)
    return patcher, mark_vae(vae, baked=False)


def native_vae(state: dict[str, Tensor], config: dict[str, Any]) -> Any:
    """Build a VAE of the host.

    Args:
        state: its tensors in the original Stable Diffusion layout.
        config: diffusers' configuration of it.

    Raises:
        ValueError: channels that the host's classes cannot express.
    """
    channels = config["block_out_channels"]
    ddconfig = {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": 256,
        "in_channels": config["in_channels"],
        "out_ch": config["out_channels"],
        "ch": channels[0],
        "ch_mult": [_whole_multiple(width, channels[0]) for width in channels],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    attention = config.get("mid_block_add_attention", True)
    if not attention:  # the host's classes always have it: give it something to load, then take it out
        width = channels[-1]
        for side in ("encoder", "decoder"):
            place = f"{side}.mid.attn_1"
            state |= {f"{place}.norm.{key}": torch.zeros(width) for key in ("weight", "bias")}
            for part in ("q", "k", "v", "proj_out"):
                state |= {
                    f"{place}.{part}.weight": torch.zeros(width, width, 1, 1),
                    f"{place}.{part}.bias": torch.zeros(width),
                }
    params = {"ddconfig": ddconfig, "embed_dim": config["latent_channels"]}
    with _vae_norm_groups(config["norm_num_groups"]):
        vae = comfy.sd.VAE(sd=state, config={"params": params})
    if not attention:
        for side in (vae.first_stage_model.encoder, vae.first_stage_model.decoder):
            side.mid.attn_1 = nn.Identity()
    vae.latent_channels = config["latent_channels"]
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(channels) - 1)
    # the host's estimates are for SD's VAE; activations scale with the channels at full resolution
    share = channels[0] / 128
    pixels_of_latent = vae.upscale_ratio**2 / 64  # its estimate for decoding counts 8 × 8 pixels for one of the latent
    encode_bytes, decode_bytes = vae.memory_used_encode, vae.memory_used_decode
    vae.memory_used_encode = lambda shape, dtype: encode_bytes(shape, dtype) * share
    vae.memory_used_decode = lambda shape, dtype: decode_bytes(shape, dtype) * share * pixels_of_latent
    vae.hidra_config = config  # for whoever writes this VAE into a file
    return vae


@contextmanager
def _vae_norm_groups(groups: int) -> Iterator[None]:
    """Within the block the host's VAE classes build GroupNorm with this many groups.

    Their own 32 is a default value that no parameter of the classes changes, and more than the channels of
    hidra-tiny's thinnest level.
    """
    normalize = comfy.ldm.modules.diffusionmodules.model.Normalize
    before = normalize.__defaults__
    normalize.__defaults__ = (groups,)
    try:
        yield
    finally:
        normalize.__defaults__ = before


def _set_norm_groups(unet: nn.Module, groups: int) -> None:
    """Set the number of groups of a UNet's GroupNorm: the host builds 32, and no parameter depends on the number."""
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = groups


def native_unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """The host's description of a UNet.

    Args:
        config: diffusers' description of it.

    Raises:
        ValueError: channels that are not whole multiples of the first level's.
    """
    channels = config["block_out_channels"]
    layers = config["layers_per_block"]
    layers = [layers] * len(channels) if isinstance(layers, int) else list(layers)
    depth = [1 if "CrossAttn" in kind else 0 for kind in config["down_block_types"]]
    return {
        "image_size": 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": channels[0],
        "num_res_blocks": layers,
        "channel_mult": [_whole_multiple(width, channels[0]) for width in channels],
        "transformer_depth": [d for d, n in zip(depth, layers, strict=True) for _ in range(n)],
        "transformer_depth_output": [d for d, n in zip(depth, layers, strict=True) for _ in range(n + 1)],
        "transformer_depth_middle": 1,
        "context_dim": config["cross_attention_dim"],
        "use_linear_in_transformer": config["use_linear_projection"],
        "use_spatial_transformer": True,
        "legacy": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
    }


def _heads(config: dict[str, Any]) -> list[int]:
    heads = config["attention_head_dim"]  # diffusers' misnomer: the number of heads
    return [heads] * len(config["block_out_channels"]) if isinstance(heads, int) else list(heads)


def _whole_multiple(width: int, unit: int) -> int:
    if width % unit:
        raise ValueError(
            f"a backbone for the host needs channels in whole multiples of the first; {width} is not of {unit}"
        )
    return width // unit


def _without_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
