"""Everything that touches the host's services: models, memory, progress, cancelling, files.

The adapter rides on the host's own MODEL and VAE: a wrapper around the UNet call and a shallow copy of the VAE attach
the hooks for the length of one call. Nothing in the loaded networks is changed.
"""

from __future__ import annotations

import copy
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

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
import folder_paths
import torch
from PIL import Image
from torch import Tensor, nn

from ..hidra_core.adapter import Lookup, Network
from ..hidra_core.backbone import HIDRA_TINY, MODELS, Backbone
from ..hidra_core.enhance import Degradation
from ..hidra_core.files import read_safetensors
from ..hidra_core.layouts import original_vae_name, original_vae_state
from ..hidra_core.weights import Weights, load_weights, weights_path

WEIGHTS_FOLDER = "hidra"
DEGRADATIONS_FOLDER = "hidra_degradations"
KEY = "hidra"
"""Of our wrapper and attachment on a MODEL."""


# ---------------------------------------------------------------- files


def register_weights_folder() -> None:
    """Add ``models/hidra`` beside whatever ``extra_model_paths.yaml`` gives for ``hidra``; safetensors only."""
    folder_paths.add_model_folder_path(WEIGHTS_FOLDER, os.path.join(folder_paths.models_dir, WEIGHTS_FOLDER))
    folder_paths.folder_names_and_paths[WEIGHTS_FOLDER][1].add(".safetensors")


def register_degradations_folder() -> None:
    """Add ``models/hidra_degradations``, and the folder of the same name in the output folder, where they are saved."""
    for place in (folder_paths.models_dir, folder_paths.get_output_directory()):
        folder_paths.add_model_folder_path(DEGRADATIONS_FOLDER, os.path.join(place, DEGRADATIONS_FOLDER))
    folder_paths.folder_names_and_paths[DEGRADATIONS_FOLDER][1].add(".safetensors")


def next_output(prefix: str, suffix: str) -> Path:
    """A new file in the output folder, numbered as the host's own nodes do; ``prefix`` may name sub-folders."""
    folder, name, counter, _, _ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    return Path(folder, f"{name}_{counter:05}_{suffix}")


def temporary_file(suffix: str) -> Path:
    """A new name in the folder that the host empties when it starts and ends."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"hidra-{uuid.uuid4().hex}{suffix}"


def choices(folder: str) -> list[str]:
    """The built-in model and the files of a model folder, for a combo."""
    return [HIDRA_TINY, *files(folder)]


def files(folder: str) -> list[str]:
    """The files of a model folder, for a combo."""
    return folder_paths.get_filename_list(folder)


def path_of(folder: str, name: str) -> Path:
    """Where a file of a combo lies.

    Raises:
        FileNotFoundError: gone since the list was made; names the folders searched.
    """
    path = folder_paths.get_full_path(folder, name)
    if path is None:
        searched = ", ".join(folder_paths.get_folder_paths(folder))
        raise FileNotFoundError(f"'{name}' is not in {searched}. Put the file there, or refresh and choose another")
    return Path(path)


def fingerprint(folder: str, name: str) -> str:
    """Changes when the file does, so that the host runs the node again."""
    if name == HIDRA_TINY:
        return HIDRA_TINY
    status = path_of(folder, name).stat()
    return f"{name} {status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True)
class LoadedWeights:
    """A weights file in memory, and its DEM as the host's memory management knows it."""

    weights: Weights
    estimator: Any

    def load_estimator(self, bytes_for_work: int) -> None:
        """Have the host load the DEM onto its device, within its own memory management."""
        comfy.model_management.load_models_gpu([self.estimator], memory_required=bytes_for_work)


def weights(name: str) -> LoadedWeights:
    """The weights file of this name, checked; the two used last stay in memory."""
    path = weights_path(name) if name == HIDRA_TINY else path_of(WEIGHTS_FOLDER, name)
    return _weights(name if name == HIDRA_TINY else str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _weights(source: str, modified: int) -> LoadedWeights:
    loaded = load_weights(source)
    estimator = comfy.model_patcher.ModelPatcher(
        loaded.estimator,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    return LoadedWeights(loaded, estimator)


# ---------------------------------------------------------------- progress and cancelling


class Progress:
    """The host's progress bar with previews; each update stops the run when the user has cancelled."""

    STEPS = 1000

    def __init__(self) -> None:
        self._bar = comfy.utils.ProgressBar(self.STEPS)

    def __call__(self, share: float, picture: Tensor | None = None) -> None:
        """``share`` in [0, 1]; ``picture`` ``[H, W, C]`` in [0, 1] to show while the node runs."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        preview = None
        if picture is not None:
            grey = (picture[..., 0].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
            preview = ("JPEG", Image.fromarray(grey), 512)
        self._bar.update_absolute(round(share * self.STEPS), self.STEPS, preview)


def show_text(text: str, node_id: str | None) -> None:
    """Show a text on a node while the page is open; hosts without that service show nothing."""
    from server import PromptServer

    send = getattr(PromptServer.instance, "send_progress_text", None)
    if send is not None and node_id is not None:
        send(text, node_id)


# ---------------------------------------------------------------- loading


def load_checkpoint(name: str) -> tuple[Any, Any]:
    """MODEL and VAE of an SD-Turbo checkpoint in ``models/checkpoints``, or of the built-in hidra-tiny.

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
    return model, vae


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
    return patcher, native_vae(original_vae_state(parts["vae"], levels), vae_config)


def native_vae(state: dict[str, Tensor], config: dict[str, Any]) -> Any:
    """Build a VAE of the host from its tensors in the original layout and diffusers' configuration."""
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
    """Within the block the host's VAE classes build GroupNorm with so many groups.

    Their 32, a default value and no parameter of the classes, are more than hidra-tiny's thinnest level has channels.
    """
    normalize = comfy.ldm.modules.diffusionmodules.model.Normalize
    before = normalize.__defaults__
    normalize.__defaults__ = (groups,)
    try:
        yield
    finally:
        normalize.__defaults__ = before


def _set_norm_groups(unet: nn.Module, groups: int) -> None:
    """The host builds a UNet's GroupNorm with 32 groups; their number is no parameter, so it can be set afterwards."""
    for module in unet.modules():
        if isinstance(module, nn.GroupNorm):
            module.num_groups = groups


def native_unet_config(config: dict[str, Any]) -> dict[str, Any]:
    """The host's description of a UNet that diffusers describes as ``config``."""
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


# ---------------------------------------------------------------- the adapter on MODEL and VAE


class Applied:
    """What Apply Degradation-Guided LoRA hands on with MODEL and VAE: one object, so that the two can be matched.

    Attributes:
        degradation: vectors and weights.
        model, vae: as they came in.
        strength: of the adapter.
    """

    def __init__(self, model: Any, vae: Any, degradation: Degradation, strength: float) -> None:
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
                raise ValueError(_count_mismatch(vectors, pixels.shape[0]))
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


def _count_mismatch(vectors: int, images: int) -> str:
    return (
        f"{vectors} degradation vectors for {images} images: connect the same images to Estimate TIR Degradation "
        "and to One-Step Enhance, or estimate on one image to share its degradation"
    )


def apply(model: Any, vae: Any, degradation: Degradation, strength: float) -> tuple[Any, Any]:
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
