"""The one-step backbone: encode, one denoising step, decode.

Source: HiDRA (CVPR 2026), "One-step backbone": SD-Turbo, Stable Diffusion 2.1's architecture, one step at t = 999.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from typing_extensions import Self, override

from .adapter import NETWORKS, Lookup, ModulatedAdapter, Network
from .computing import Decoder, free_bytes, load_decoder, pick_device, pick_dtype
from .images.files import read_safetensors, write_safetensors
from .names import HIDRA_TINY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from os import PathLike

    from torch import Tensor, nn

    from .adapter import Adapter

TIMESTEP = 999
SIZE_MULTIPLE = 64
"""Images are padded to multiples of this: 8 of the autoencoder times 8 of the UNet's three down-samplings."""

FOLDED_PARAMETERS = 64_000_000
"""Adapted layers up to this size, as hidra-tiny's with 13 million, are folded for each image on a CPU: it costs less
than the hooks. SD-Turbo's 900 million would be copied for as long as the hooks take."""

FORMAT = "hidra-backbone"
MODELS = Path(__file__).parent / "models"


@cache
def alpha_cumprod(timestep: int = TIMESTEP) -> float:
    """``abar``, the product of all alphas up to a timestep.

    The schedule is ``scaled_linear``, with betas from 0.00085 to 0.012 over 1000 steps.
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float32) ** 2
    return (1 - betas).cumprod(0)[timestep].item()


def denoise_step(latent: Tensor, prediction: Tensor, prediction_type: str = "epsilon") -> Tensor:
    """The clean latent from one prediction at t = 999.

    With ``abar`` of :func:`alpha_cumprod`, ``epsilon`` is ``(z - sqrt(1 - abar)·eps) / sqrt(abar)``, and
    ``v_prediction`` is ``sqrt(abar)·z - sqrt(1 - abar)·v``.
    """
    alpha = alpha_cumprod()
    z, out = latent.float(), prediction.float()  # 1/sqrt(abar) is 14.6 and enlarges rounding errors: fp32
    if prediction_type == "epsilon":
        clean = (z - (1 - alpha) ** 0.5 * out) / alpha**0.5
    elif prediction_type == "v_prediction":
        clean = alpha**0.5 * z - (1 - alpha) ** 0.5 * out
    else:
        raise ValueError(f"prediction type '{prediction_type}' is not supported; expected epsilon or v_prediction")
    return clean.to(latent.dtype)


class Backbone(ABC):
    """What the method needs of a frozen one-step diffusion model.

    Attributes:
        name: what messages and weights files call it.
        device: where images and latents are processed.
        dtype: the number type that the networks compute in.
        text_embedding: ``[1, 77, width]`` of a backbone that a degradation was baked into, which runs without weights;
            None for all others, which run under the text embedding of the weights.
        decoder_name: of a decoder in the place of the backbone's own, for reports; None for its own.
        lock: held while the networks are adapted. They have one adaptation at a time: threads that share a backbone
            take turns.
    """

    name: str
    device: torch.device
    dtype: torch.dtype
    text_embedding: Tensor | None = None
    decoder_name: str | None = None
    lock: RLock  # pyright: ignore[reportGeneralTypeIssues]  # a function to the type checker

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        """Make its lock, whether a subclass calls this class's ``__init__`` or not."""
        backbone = super().__new__(cls)
        backbone.lock = RLock()
        return backbone

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Scaled posterior mean ``[B, C, H/f, W/f]`` of images ``[B, 3, H, W]`` in [-1, 1]; H, W multiples of 64."""

    @abstractmethod
    def denoise(self, latent: Tensor, text_embedding: Tensor) -> Tensor:
        """One step at t = 999 under the constant text embedding ``[1, 77, width]``; same shape as the latent."""

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Images ``[B, 3, H, W]`` of a scaled latent, not clamped."""

    @abstractmethod
    def lookup(self, network: Network) -> Lookup:
        """A function that finds modules of ``unet`` or ``vae`` by their diffusers names."""

    @abstractmethod
    def modules(self) -> Iterator[nn.Module]:
        """All modules of both networks."""

    @contextmanager
    def adapted(self, modulated: ModulatedAdapter) -> Iterator[None]:
        """Adapt both networks within the block, each image by its own Sigma; afterwards they are unchanged.

        Args:
            modulated: the adapter for the images that run within the block.
        """
        with self.lock, ExitStack() as stack:
            for network in NETWORKS:
                stack.enter_context(modulated.attached(network, self.lookup(network)))
            yield

    def folded(self, modulated: ModulatedAdapter) -> AbstractContextManager[None]:
        """Like :meth:`adapted` for one image's Sigma, as a context that can be entered again and again.

        The update is added to copies of the adapted weights. They need memory, but the update then costs nothing per
        call.

        Args:
            modulated: the adapter, for one degradation vector.

        Raises:
            ValueError: several degradation vectors.
        """
        with self.lock:  # no other thread's update is in the weights that are copied
            folded = [modulated.folded(network, self.lookup(network)) for network in NETWORKS]
        return _Both([self.lock, *folded])

    def folds_each(self, adapter: Adapter) -> bool:  # noqa: ARG002  for those that do
        """Whether the update is folded for each single image, because that takes less time than to hook it in.

        Args:
            adapter: the adapter.
        """
        return False

    def has_room_to_fold(self, adapter: Adapter) -> bool:  # noqa: ARG002  for those that make copies
        """Whether there is memory for copies of the adapted layers, as far as the system says.

        Args:
            adapter: the adapter.
        """
        return True

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether a smaller tile may avoid this error."""
        if isinstance(error, torch.OutOfMemoryError | MemoryError):
            return True
        # on a CPU the allocator raises a plain RuntimeError
        return isinstance(error, RuntimeError) and any(part in str(error) for part in _NO_MEMORY)

    def free_memory(self) -> None:
        """Release unused memory; called after running out of it, before the next try."""
        if self.device.type != "cpu":
            torch.get_device_module(self.device).empty_cache()


_NO_MEMORY = ("DefaultCPUAllocator", "not enough memory", "std::bad_alloc")
"""Texts of failed allocations on a CPU: on Linux, on Windows and from C++."""


class _Both:
    """The lock of a backbone and the contexts of both networks as one, which can be entered again and again."""

    def __init__(self, contexts: Sequence[AbstractContextManager[Any]]) -> None:
        self._contexts = contexts
        self._entered = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            for context in self._contexts:
                stack.enter_context(context)
            self._entered = stack.pop_all()

    def __exit__(self, *error: Any) -> None:
        self._entered.close()


class DiffusersBackbone(Backbone):
    """A backbone made of diffusers' networks.

    Args:
        unet: ``UNet2DConditionModel``.
        vae: ``AutoencoderKL``.
        name: see :class:`Backbone`.
        prediction_type: ``epsilon`` (SD-Turbo) or ``v_prediction`` (hidra-tiny).
    """

    def __init__(self, unet: Any, vae: Any, *, name: str, prediction_type: str = "epsilon") -> None:
        self.unet = unet
        self.vae = vae
        self.name = name
        self.prediction_type = prediction_type
        self._decoder: Decoder | None = None
        self._compiled = False

    @property
    def device(self) -> torch.device:  # pyright: ignore[reportIncompatibleVariableOverride]  # read only here
        """The device that the networks are on."""
        return self.unet.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:  # pyright: ignore[reportIncompatibleVariableOverride]  # read only here
        """The type of their parameters."""
        return self.unet.conv_in.weight.dtype

    @override
    def encode(self, images: Tensor) -> Tensor:
        return self.vae.encode(images).latent_dist.mean * self.vae.config.scaling_factor

    def predict_noise(self, latent: Tensor, text_embedding: Tensor) -> Tensor:
        """The UNet's output at t = 999: noise, or v for a v-prediction backbone."""
        text = text_embedding.to(latent).expand(latent.shape[0], -1, -1)
        return self.unet(latent, TIMESTEP, text).sample

    @override
    def denoise(self, latent: Tensor, text_embedding: Tensor) -> Tensor:
        return denoise_step(latent, self.predict_noise(latent, text_embedding), self.prediction_type)

    @override
    def decode(self, latent: Tensor) -> Tensor:
        if self._decoder is not None:
            return self._decoder(latent)
        return self.vae.decode(latent / self.vae.config.scaling_factor).sample

    def use_decoder(self, source: str | PathLike) -> None:
        """Decode with another decoder of the same latents from now on; a thin one, such as TAESD, takes less time.

        Args:
            source: see :func:`~hidra_core.computing.load_decoder`.

        Raises:
            FileNotFoundError: no such file or folder.
            ValueError: not a decoder of this backbone's latents.
        """
        self._decoder = load_decoder(source, self.vae.config, device=self.device, dtype=self.dtype, backbone=self.name)
        self.decoder_name = self._decoder.name

    def compile(self) -> None:
        """Have ``torch.compile`` make faster code of the networks when they run next, for any size of images.

        The code holds no hooks: from now on the update of the adapter is folded for each image, and what other hooks
        change, as in tiles, runs without the code.
        """
        # SD-Turbo's UNet has many blocks that are alike: compiled once, they start in a fraction of the time
        if sum(parameter.numel() for parameter in self.unet.parameters()) > FOLDED_PARAMETERS:
            getattr(self.unet, "compile_repeated_blocks", self.unet.compile)(dynamic=True)  # older diffusers lack it
        else:
            self.unet.compile(dynamic=True)
        self.vae.encoder.compile(dynamic=True)
        (self.vae.decoder if self._decoder is None else self._decoder.module).compile(dynamic=True)
        self._compiled = True

    @contextmanager
    @override
    def adapted(self, modulated: ModulatedAdapter) -> Iterator[None]:
        # hooks that are added after compiling would be left out without a word
        with self.folded(modulated) if self._compiled else super().adapted(modulated):
            yield

    @override
    def folds_each(self, adapter: Adapter) -> bool:
        return self._compiled or (self.device.type == "cpu" and self._adapted_parameters(adapter) <= FOLDED_PARAMETERS)

    @override
    def has_room_to_fold(self, adapter: Adapter) -> bool:
        free = free_bytes(self.device)
        # made one layer at a time in fp32, the copies need little more than their own size; half is left for images
        return free is None or 2 * self._adapted_parameters(adapter) * self.dtype.itemsize < free

    def _adapted_parameters(self, adapter: Adapter) -> int:
        return sum(
            self.lookup(network)(name).weight.numel() for network in NETWORKS for name in adapter.layers[network].names
        )

    @override
    def lookup(self, network: Network) -> Lookup:
        return (self.unet if network == "unet" else self.vae).get_submodule

    @override
    def modules(self) -> Iterator[nn.Module]:
        yield from self.unet.modules()
        yield from self.vae.modules()
        if self._decoder is not None:
            yield from self._decoder.module.modules()


SD_TURBO_UNET = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 2,
    "block_out_channels": [320, 640, 1280, 1280],
    "attention_head_dim": [5, 10, 20, 20],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SD_TURBO_VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "sample_size": 768,
    "scaling_factor": 0.18215,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}

SD_TURBO_SHAPES = {
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
    "model.diffusion_model.middle_block.0.in_layers.2.weight": (1280, 1280, 3, 3),
    "first_stage_model.encoder.conv_in.weight": (128, 3, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
}
"""Tensors that distinguish a Stable Diffusion 2.1-shaped checkpoint in the original layout from all others."""


def load_backbone(
    source: str | PathLike, *, device: str | torch.device = "auto", dtype: str | torch.dtype = "auto"
) -> DiffusersBackbone:
    """Load a one-step backbone for diffusers' networks.

    Args:
        source: ``"hidra-tiny"`` for the built-in one, a diffusers folder (``unet/``, ``vae/``), or a single
            ``.safetensors`` file: SD-Turbo in the original Stable Diffusion layout, or a file of :func:`save_backbone`.
        device: see :func:`~hidra_core.computing.pick_device`.
        dtype: see :func:`~hidra_core.computing.pick_dtype`.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not a checkpoint of the expected shape, or an unknown device or dtype.
    """
    device = pick_device(device)
    dtype = pick_dtype(dtype, device, str(source))
    path = MODELS / HIDRA_TINY / "backbone.safetensors" if str(source) == HIDRA_TINY else Path(source)
    backbone = _load_folder(path, dtype) if path.is_dir() else _load_file(path, dtype)
    for network in (backbone.unet, backbone.vae):
        lacking = [name for name, parameter in network.named_parameters() if parameter.is_meta]
        if lacking:
            raise ValueError(f"{path} is incomplete: it lacks '{lacking[0]}'. Download it again")
        # fp32 and bf16 convolutions run faster on channels-last images on CPUs and on tensor cores alike
        network.eval().requires_grad_(False).to(device=device, memory_format=torch.channels_last)
    return backbone


def _load_folder(folder: Path, dtype: torch.dtype) -> DiffusersBackbone:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    networks = []
    for kind, name in ((UNet2DConditionModel, "unet"), (AutoencoderKL, "vae")):
        if not (folder / name / "config.json").is_file():
            raise FileNotFoundError(
                f"no {name}/config.json in {folder}: a diffusers folder has unet/ and vae/. Name the folder that holds "
                "both, or a single .safetensors file"
            )
        half_only = not any((folder / name).glob("diffusion_pytorch_model.safetensors*"))
        try:
            loaded: Any = kind.from_pretrained(
                folder,
                subfolder=name,
                torch_dtype=dtype,
                variant="fp16" if half_only else None,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
            network, info = loaded
            if info["missing_keys"]:
                raise ValueError(f"it lacks {sorted(info['missing_keys'])[0]}")
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ValueError(f"cannot load {folder / name}: {error}. Download the folder again") from error
        networks.append(network)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    try:
        config = json.loads(scheduler.read_text(encoding="utf-8")) if scheduler.is_file() else {}
    except ValueError as error:
        raise ValueError(f"cannot read {scheduler}: {error}. Download the folder again") from error
    unet, vae = networks
    return DiffusersBackbone(unet, vae, name=folder.name, prediction_type=config.get("prediction_type", "epsilon"))


def _load_file(path: Path, dtype: torch.dtype) -> DiffusersBackbone:
    tensors, metadata = read_safetensors(path)
    if metadata.get("format") == FORMAT:
        return _load_own(path, tensors, metadata, dtype)
    for key, shape in SD_TURBO_SHAPES.items():
        shape_here = tuple(tensors[key].shape) if key in tensors else "missing"
        if shape_here != shape:
            raise ValueError(
                f"{path} is not SD-Turbo in the original layout: '{key}' should be {shape} and is {shape_here}. "
                "Choose sd_turbo.safetensors"
            )
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.utils import logging

    networks = []
    verbosity = logging.get_verbosity()
    with tempfile.TemporaryDirectory() as folder:
        # given a local configuration, diffusers' converter asks no server for one
        for kind, name, config in (
            (UNet2DConditionModel, "unet", SD_TURBO_UNET),
            (AutoencoderKL, "vae", SD_TURBO_VAE),
        ):
            network_folder = Path(folder, name)
            network_folder.mkdir()
            (network_folder / "config.json").write_text(
                json.dumps({"_class_name": kind.__name__, **config}), encoding="utf-8"
            )
            logging.set_verbosity_error()  # diffusers warns of a cast that it makes itself
            try:
                read: Any = kind.from_single_file  # accepts tensors too, contrary to its annotation
                networks.append(read(tensors, config=folder, subfolder=name, torch_dtype=dtype, local_files_only=True))
            except (OSError, RuntimeError, ValueError, KeyError) as error:
                raise ValueError(f"cannot load the {name} of {path}: {error}. Download the file again") from error
            finally:
                logging.set_verbosity(verbosity)
    return DiffusersBackbone(*networks, name=path.stem)


def _load_own(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], dtype: torch.dtype
) -> DiffusersBackbone:
    try:
        configs = [json.loads(metadata[f"{network}_config"]) for network in NETWORKS]
        name, prediction_type = metadata["name"], metadata["prediction_type"]
        with torch.device("meta"):
            networks = build_diffusers(*configs)
        for network, module in zip(NETWORKS, networks, strict=True):
            prefix = f"{network}."
            state = {key[len(prefix) :]: t.to(dtype) for key, t in tensors.items() if key.startswith(prefix)}
            module.load_state_dict(state, assign=True)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} is a damaged HiDRA backbone file ({error}). Export or download it again") from error
    return DiffusersBackbone(*networks, name=name, prediction_type=prediction_type)


def build_diffusers(unet_config: dict, vae_config: dict) -> tuple[nn.Module, nn.Module]:
    """A UNet and a VAE of diffusers with random weights, in evaluation mode.

    Args:
        unet_config: arguments of ``UNet2DConditionModel``.
        vae_config: arguments of ``AutoencoderKL``.
    """
    # diffusers needs seconds to import and is not installed inside ComfyUI
    from diffusers import AutoencoderKL, UNet2DConditionModel

    return UNet2DConditionModel(**unet_config).eval(), AutoencoderKL(**vae_config).eval()


def save_backbone(backbone: DiffusersBackbone, path: str | PathLike, *, dtype: torch.dtype = torch.float16) -> None:
    """Write both networks and their configurations into one ``.safetensors``, atomically.

    This is for small backbones that no other program knows, such as hidra-tiny; :func:`load_backbone` reads the file.

    Args:
        backbone: what to write.
        path: the file.
        dtype: number type of the tensors in the file.

    Raises:
        OSError: the file cannot be written; an existing one stays untouched.
    """
    tensors, metadata = {}, {"format": FORMAT, "version": "1", "prediction_type": backbone.prediction_type}
    for network in NETWORKS:
        module = getattr(backbone, network)
        config = {key: value for key, value in module.config.items() if not key.startswith("_")}
        metadata |= {f"{network}_config": json.dumps(config), "name": backbone.name}
        for key, tensor in module.state_dict().items():
            tensors[f"{network}.{key}"] = tensor.detach().to("cpu", dtype).contiguous()
    write_safetensors(tensors, Path(path), metadata)
