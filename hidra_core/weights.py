"""The weights file: DEM, adapter and text embedding in one ``.safetensors``.

===============================  =====================================================================================
Tensors                          Content
===============================  =====================================================================================
``text_embedding``               the constant embedding of the empty prompt, ``[1, 77, width]``
``lora.NETWORK.LAYER.down``      V of each adapted layer, ``[rank, in]`` or ``[rank, in, kh, kw]``
``lora.NETWORK.LAYER.up``        U of each adapted layer, ``[out, rank]``
``modulation.NETWORK.*``         the head that makes Sigma of the degradation vector
``conv_in.weight``, ``.bias``    the UNet's input convolution, trained in full
``dem.head.*``                   the head of the DEM
``dem.attention.*``              mutual interaction attention of the DEM; missing where it is not used
``dem.backbone.*``               DINOv2 with registers, in fp16; missing where the file was written without it
``probe.MAP.weight``, ``.bias``  optional: linear maps of the probes (``presence``, ``amount``, ``level``)
``probe.directions``             optional: a direction of the degradation vector for each kind of degradation
``restraint.weight``, ``.bias``  optional: how much of the change an image gets, ``[2 or 3, 256]``, ``[2 or 3]``
``corrector.*``                  optional: the network that corrects brightness and shading, in fp16
===============================  =====================================================================================

``NETWORK`` is ``unet`` or ``vae``, ``LAYER`` a module name of diffusers. The header has texts: ``format``, ``version``,
``backbone`` (name of the one-step backbone), ``dem_fit`` (how the DEM brings images to whole patches: ``resize`` or
``crop``; the DEM of a file without it resizes) and, as JSON, ``architecture`` (sizes that the tensors imply),
``dem_backbone`` (sizes of DINOv2), ``training``, and ``probes``, ``restraint`` and ``corrector`` where the file has
them.

A reader checks everything before use and says which file and which expectation failed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .adapter import NETWORKS, Adapter, ConvIn, LowRankLayers, Network, lora_targets
from .backbone import MODELS
from .dem import DEGRADATION_WIDTH, FITS, LAYERS, DegradationEstimator, build_dinov2, hub_name
from .images.files import read_safetensors, write_safetensors
from .modulation import ModulationHead
from .names import HIDRA_TINY
from .readouts import BANDS, KINDS, MAPS, PARTS, Corrector, Probes, Restraint

if TYPE_CHECKING:
    from os import PathLike

FORMAT = "hidra"
VERSION = 1
TEXT_TOKENS = 77
DINOV2_BASE = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_register_tokens": 4,
    "patch_size": 14,
    "image_size": 518,
}
"""Sizes of ``facebook/dinov2-with-registers-base``."""


@dataclass
class Weights:
    """Both halves of the method's trained parameters.

    Attributes:
        estimator: the DEM (omega and its frozen backbone).
        adapter: theta.
        text_embedding: the constant embedding of the empty prompt, ``[1, 77, width]``.
        backbone: name of the one-step backbone the adapter was trained on.
        training: how it was trained (steps, number of images, seed, strategy, licence note), as the header says.
        source: the file, for messages.
        probes: linear read-outs of the degradation vector, if the file has them.
        restraint: how much of the change an image gets, read off its degradation vector, if the file has it.
        corrector: puts brightness and shading right from a small view of the whole image, if the file has it.
    """

    estimator: DegradationEstimator
    adapter: Adapter
    text_embedding: Tensor
    backbone: str
    training: dict[str, Any] = field(default_factory=dict)
    source: str = "memory"
    probes: Probes | None = None
    restraint: Restraint | None = None
    corrector: Corrector | None = None

    def __repr__(self) -> str:
        return f"Weights(source={self.source!r}, backbone={self.backbone!r})"

    @property
    def architecture(self) -> dict[str, Any]:
        """Sizes that the tensors imply, for humans and for the header."""
        layers, heads = self.adapter.layers, self.adapter.heads
        return {
            "unet_rank": layers["unet"].rank,
            "vae_rank": layers["vae"].rank,
            "unet_scale": layers["unet"].scale,
            "vae_scale": layers["vae"].scale,
            "unet_layers": len(layers["unet"].names),
            "vae_layers": len(layers["vae"].names),
            "unet_blocks": heads["unet"].blocks,
            "vae_blocks": heads["vae"].blocks,
            "unet_channels": self.adapter.conv_in.weight.shape[0],
            "latent_channels": self.adapter.conv_in.weight.shape[1],
            "text_width": self.text_embedding.shape[-1],
            "mia": self.estimator.attention is not None,
        }

    @property
    def metadata(self) -> dict[str, str]:
        """What the header of their file says: texts, some of them JSON."""
        config = self.estimator.backbone.config
        metadata = {
            "format": FORMAT,
            "version": str(VERSION),
            "backbone": self.backbone,
            "architecture": json.dumps(self.architecture),
            "dem_backbone": json.dumps({key: getattr(config, key) for key in DINOV2_BASE}),
            "dem_fit": self.estimator.fit,
            "training": json.dumps(self.training),
        }
        parts = {"probes": self.probes, "restraint": self.restraint, "corrector": self.corrector}
        return metadata | {name: json.dumps(part.header()) for name, part in parts.items() if part is not None}


def save_weights(
    weights: Weights, path: str | PathLike, *, dtype: torch.dtype = torch.float32, include_dem_backbone: bool = True
) -> None:
    """Write the weights file atomically.

    Args:
        weights: what to write.
        path: a ``.safetensors`` file.
        dtype: of everything but the DEM's DINOv2 backbone, which is written in fp16.
        include_dem_backbone: ``False`` leaves DINOv2 out; readers must then name a folder that has it.

    Raises:
        ValueError: another suffix, or a value that is not finite.
        OSError: the file cannot be written; an existing one stays untouched.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: weights are written as .safetensors; give the file that suffix")
    estimator = weights.estimator
    tensors: dict[str, Tensor] = {"text_embedding": weights.text_embedding}
    for network in NETWORKS:
        layers: LowRankLayers = weights.adapter.layers[network]
        for name, down, up in zip(layers.names, layers.down, layers.up, strict=True):
            tensors[f"lora.{network}.{name}.down"] = down
            tensors[f"lora.{network}.{name}.up"] = up
        tensors |= _prefixed(f"modulation.{network}", weights.adapter.heads[network])
    tensors |= _prefixed("conv_in", weights.adapter.conv_in)
    tensors |= _prefixed("dem.head", estimator.head)
    if estimator.attention is not None:
        tensors |= _prefixed("dem.attention", estimator.attention)
    tensors = {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in tensors.items()}
    if include_dem_backbone:
        backbone = _prefixed("dem.backbone", estimator.backbone)
        tensors |= {hub_name(key): t.detach().to("cpu", torch.float16).contiguous() for key, t in backbone.items()}
    if weights.probes is not None:
        tensors |= _probe_tensors(weights.probes)
    if weights.restraint is not None:
        tensors |= _restraint_tensors(weights.restraint)
    if weights.corrector is not None:
        tensors |= corrector_tensors(weights.corrector)
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{path}: not written, '{key}' has values that are not finite in {tensor.dtype}")
    write_safetensors(tensors, path, weights.metadata)


def add_probes(source: str | PathLike, probes: Probes, path: str | PathLike) -> None:
    """Write a copy of a weights file with these probes in place of any that it has; all else stays bit for bit.

    Args:
        source: a ``.safetensors`` file, or ``"hidra-tiny"`` for the built-in one.
        probes: fitted to the DEM of this very file.
        path: the copy; may be the source, which is replaced as a whole.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weights file.
        OSError: the copy cannot be written; an existing file stays untouched.
    """
    _replace_part(source, "probe.", _probe_tensors(probes), {"probes": json.dumps(probes.header())}, path)


def add_restraint(source: str | PathLike, restraint: Restraint, path: str | PathLike) -> None:
    """Write a copy of a weights file with this restraint in place of any that it has; all else stays bit for bit.

    Args:
        source: see :func:`add_probes`.
        restraint: fitted to the DEM of this very file and to its backbone.
        path: see :func:`add_probes`.

    Raises:
        FileNotFoundError: see :func:`add_probes`.
        ValueError: see :func:`add_probes`.
        OSError: see :func:`add_probes`.
    """
    tensors, header = _restraint_tensors(restraint), json.dumps(restraint.header())
    _replace_part(source, "restraint.", tensors, {"restraint": header}, path)


def add_corrector(source: str | PathLike, corrector: Corrector, path: str | PathLike) -> None:
    """Write a copy of a weights file with this corrector in place of any that it has; all else stays bit for bit.

    Args:
        source: see :func:`add_probes`.
        corrector: of any training; it does not depend on the other parts.
        path: see :func:`add_probes`.

    Raises:
        FileNotFoundError: see :func:`add_probes`.
        ValueError: see :func:`add_probes`.
        OSError: see :func:`add_probes`.
    """
    tensors, header = corrector_tensors(corrector), json.dumps(corrector.header())
    _replace_part(source, "corrector.", tensors, {"corrector": header}, path)


def read_corrector(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Corrector:
    """The corrector of a file that has nothing else in it, as ``train/corrector.py`` writes it.

    Args:
        path: of the file, for messages.
        tensors: its content.
        metadata: its header.

    Raises:
        ValueError: it has no corrector, or one that cannot be used.
    """
    reader = _Reader(path, tensors)
    corrector = reader.corrector(metadata)
    if corrector is None:
        raise reader.failure("holds no corrector. Choose a file that train/corrector.py wrote")
    reader.finish()
    return corrector


def _replace_part(
    source: str | PathLike, prefix: str, part: dict[str, Tensor], header: dict[str, str], path: str | PathLike
) -> None:
    tensors, metadata = read_safetensors(weights_path(source))
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{source} is not a HiDRA weights file: {' and '.join(header)} can only be added to one")
    tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(prefix)}
    write_safetensors(tensors | part, Path(path), metadata | header)


def _probe_tensors(probes: Probes) -> dict[str, Tensor]:
    """The tensors of the probes, in fp32 whatever the type of the others: they are small, and give amounts in units."""
    parts = {"weight": probes.weight, "bias": probes.bias}
    maps = {f"probe.{name}.{part}": by_map[name].contiguous() for part, by_map in parts.items() for name in MAPS}
    return maps | {"probe.directions": probes.directions.contiguous()}


def _restraint_tensors(restraint: Restraint) -> dict[str, Tensor]:
    return {"restraint.weight": restraint.weight, "restraint.bias": restraint.bias}


def corrector_tensors(corrector: Corrector) -> dict[str, Tensor]:
    """The tensors of a corrector as they are stored, in fp16."""
    network = _prefixed("corrector", corrector.network)
    return {key: tensor.detach().to("cpu", torch.float16).contiguous() for key, tensor in network.items()}


def weights_path(source: str | PathLike) -> Path:
    """The file that a name stands for: ``"hidra-tiny"`` is the built-in one."""
    return MODELS / HIDRA_TINY / "weights.safetensors" if str(source) == HIDRA_TINY else Path(source)


def load_weights(source: str | PathLike, *, dem_backbone: str | PathLike | None = None) -> Weights:
    """Read and check a weights file.

    Args:
        source: a ``.safetensors`` file, or ``"hidra-tiny"`` for the built-in one.
        dem_backbone: a folder or file with DINOv2 with registers in the Hugging Face layout; needed when the weights
            file was written without it.

    Returns:
        Weights in fp32 on the CPU, in evaluation mode, without gradients.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a weights file of this format and version, or its content is not as expected.
    """
    path = weights_path(source)
    tensors, metadata = read_safetensors(path)
    reader = _Reader(path, tensors)
    reader.expect(
        metadata.get("format") == FORMAT,
        "is not a HiDRA weights file (its header lacks format = hidra). Choose a file exported by train/run.py "
        "or written by 'hidra convert'",
    )
    reader.expect(
        metadata.get("version") == str(VERSION),
        f"is version {metadata.get('version')} of the format; this release reads version {VERSION}. Update the pack",
    )
    layers: dict[Network, LowRankLayers] = {network: reader.low_rank_layers(network) for network in NETWORKS}
    heads: dict[Network, ModulationHead] = {network: reader.head(network, layers[network].rank) for network in NETWORKS}
    weight = reader.take("conv_in.weight", (None, None, 3, 3))
    conv_in = ConvIn(weight, reader.take("conv_in.bias", (weight.shape[0],)))
    text_embedding = reader.take("text_embedding", (1, TEXT_TOKENS, None))
    fit = metadata.get("dem_fit", FITS[0])  # earlier files do not say
    reader.expect(
        fit in FITS,
        f"has a DEM that fits images to its patches by '{fit}'; this release knows {' and '.join(FITS)}. "
        "Update the pack",
    )
    estimator = reader.estimator(reader.header(metadata, "dem_backbone"), fit, dem_backbone)
    probes = reader.probes(metadata)
    restraint = reader.restraint(metadata)
    corrector = reader.corrector(metadata)
    reader.finish()
    adapter = Adapter(layers, heads, conv_in)
    for network, head in heads.items():
        reader.expect(
            set(adapter.block_index[network]) == set(range(head.blocks)),
            f"has {head.blocks} block embeddings for the {network}, but layers of other blocks. Export it again",
        )
    for module in (estimator, adapter):
        module.eval().requires_grad_(False)
    weights = Weights(
        estimator,
        adapter,
        text_embedding,
        metadata.get("backbone", "unknown"),
        reader.header(metadata, "training"),
        str(source),
        probes,
        restraint,
        corrector,
    )
    stated = reader.header(metadata, "architecture")
    for key, value in weights.architecture.items():
        reader.expect(
            stated.get(key) == value,
            f"says {key} = {stated.get(key)} in its header, but its tensors say {value}. Export it again",
        )
    return weights


class _Reader:
    """Removes tensors from a file's dict, checking each; those that remain at the end do not belong there."""

    def __init__(self, path: Path, tensors: dict[str, Tensor]) -> None:
        self.path = path
        self.tensors = {hub_name(key): tensor for key, tensor in tensors.items()}

    def expect(self, condition: bool, failure: str) -> None:
        if not condition:
            raise self.failure(failure)

    def failure(self, what: str) -> ValueError:
        return ValueError(f"{self.path} {what}")

    def header(self, metadata: dict[str, str], key: str) -> dict[str, Any]:
        try:
            value = json.loads(metadata[key])
        except (KeyError, json.JSONDecodeError):
            value = None
        if not isinstance(value, dict):
            raise self.failure(f"has no readable '{key}' in its header. Export it again")
        return value

    def take(self, key: str, shape: tuple[int | None, ...]) -> Tensor:
        """Remove and return a tensor in fp32; ``None`` in the shape stands for any size."""
        self.expect(key in self.tensors, f"lacks the tensor '{key}'. It is incomplete: export or download it again")
        tensor = self.tensors.pop(key)
        fits = tensor.ndim == len(shape) and all(
            want in (None, have) for want, have in zip(shape, tensor.shape, strict=True)
        )
        self.expect(fits, f"has '{key}' of shape {tuple(tensor.shape)}; expected {_readable(shape)}. Export it again")
        self.expect(
            tensor.is_floating_point() and bool(torch.isfinite(tensor).all()),
            f"has values in '{key}' that are not finite numbers. It is damaged: export or download it again",
        )
        return tensor.float()

    def low_rank_layers(self, network: Network) -> LowRankLayers:
        prefix = f"lora.{network}."
        names = {key[len(prefix) :].rpartition(".")[0] for key in self.tensors if key.startswith(prefix)}
        self.expect(bool(names), f"has no '{prefix}…' tensors. Choose a complete weights file")
        foreign = sorted(names - set(lora_targets(network, names)))
        self.expect(not foreign, f"adapts {network} layers that the method does not: {foreign[:3]}. Export it again")
        layers, rank = {}, None
        for name in sorted(names):
            key = f"{prefix}{name}.down"
            self.expect(key in self.tensors, f"lacks the tensor '{key}'. It is incomplete: export or download it again")
            dims = self.tensors[key].ndim
            self.expect(dims in (2, 4), f"has '{key}' with {dims} dimensions; expected 2 or 4. Export it again")
            down = self.take(key, (rank, *[None] * (dims - 1)))
            rank = down.shape[0]
            layers[name] = (down, self.take(f"{prefix}{name}.up", (None, rank)))
        return LowRankLayers(layers)

    def head(self, network: Network, rank: int) -> ModulationHead:
        prefix = f"modulation.{network}"
        embedding = self.tensors.get(f"{prefix}.embedding")
        if embedding is None:
            raise self.failure(f"lacks the tensor '{prefix}.embedding'. It is incomplete: export it again")
        with torch.device("meta"):
            head = ModulationHead(embedding.shape[0], rank)
        self.load(head, prefix)
        return head

    def estimator(self, config: dict[str, Any], fit: str, folder: str | PathLike | None) -> DegradationEstimator:
        unknown = config.keys() ^ DINOV2_BASE.keys()
        self.expect(not unknown, f"describes its DEM backbone with missing or unknown fields {sorted(unknown)}")
        buildable = all(type(value) is int and value >= 0 for value in config.values())
        self.expect(
            buildable and config["num_hidden_layers"] >= LAYERS,
            f"describes a DEM backbone that cannot be built, {config}. Export it again",
        )
        with torch.device("meta"):
            backbone = build_dinov2(config)
            estimator = DegradationEstimator(
                backbone, use_mia=any(key.startswith("dem.attention.") for key in self.tensors), fit=fit
            )
        self.load(estimator.head, "dem.head")
        if estimator.attention is not None:
            self.load(estimator.attention, "dem.attention")
        if any(key.startswith("dem.backbone.") for key in self.tensors):
            self.load(backbone, "dem.backbone")
        else:
            if folder is None:
                raise self.failure(
                    "was written without the DEM's DINOv2 backbone. Name a local folder of "
                    "facebook/dinov2-with-registers-base (Hugging Face layout)"
                )
            load_dinov2(backbone, folder)
        return estimator

    def probes(self, metadata: dict[str, str]) -> Probes | None:
        if "probes" not in metadata and not any(key.startswith("probe.") for key in self.tensors):
            return None
        header = self.header(metadata, "probes")
        weight = {
            name: self.take(f"probe.{name}.weight", (outputs, DEGRADATION_WIDTH)) for name, outputs in MAPS.items()
        }
        bias = {name: self.take(f"probe.{name}.bias", (outputs,)) for name, outputs in MAPS.items()}
        directions = self.take("probe.directions", (len(KINDS), DEGRADATION_WIDTH))
        try:
            return Probes.from_header(header, directions, weight, bias)
        except ValueError as error:
            raise ValueError(f"{self.path} has probes that cannot be used: {error}. Fit them again") from error

    def restraint(self, metadata: dict[str, str]) -> Restraint | None:
        if "restraint" not in metadata and not any(key.startswith("restraint.") for key in self.tensors):
            return None
        header = self.header(metadata, "restraint")
        stored = self.tensors.get("restraint.bias")
        outputs = len(PARTS) if stored is not None and len(stored) == len(PARTS) else len(BANDS)
        weight = self.take("restraint.weight", (outputs, DEGRADATION_WIDTH))
        bias = self.take("restraint.bias", (outputs,))
        try:
            return Restraint.from_header(header, weight, bias)
        except ValueError as error:
            raise ValueError(f"{self.path} has a restraint that cannot be used: {error}. Fit it again") from error

    def corrector(self, metadata: dict[str, str]) -> Corrector | None:
        if "corrector" not in metadata and not any(key.startswith("corrector.") for key in self.tensors):
            return None
        header = self.header(metadata, "corrector")
        try:
            network = Corrector.network_of(header)
            self.load(network, "corrector")
            return Corrector.from_header(header, network)
        except ValueError as error:
            raise ValueError(f"{self.path} has a corrector that cannot be used: {error}. Train it again") from error

    def load(self, module: nn.Module, prefix: str) -> None:
        state = {
            name: self.take(hub_name(f"{prefix}.{name}"), tuple(tensor.shape))
            for name, tensor in module.state_dict().items()
        }
        module.load_state_dict(state, assign=True)

    def finish(self) -> None:
        foreign = sorted(self.tensors)
        self.expect(not foreign, f"has {len(foreign)} tensors that do not belong, the first '{(foreign or [''])[0]}'")


def load_dinov2(backbone: nn.Module, source: str | PathLike) -> None:
    """Load DINOv2 with registers (Hugging Face layout) into a backbone of :func:`~hidra_core.dem.build_dinov2`.

    Args:
        backbone: built with the sizes of the checkpoint.
        source: the ``.safetensors`` file or a folder with ``model.safetensors``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a tensor is missing or has another shape.
    """
    path = Path(source)
    if path.is_dir():
        path = path / "model.safetensors"
    tensors, _ = read_safetensors(path)
    reader = _Reader(path, {f"dem.backbone.{key}": tensor for key, tensor in tensors.items()})
    reader.load(backbone, "dem.backbone")


def _prefixed(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}


def _readable(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("any" if side is None else str(side) for side in shape) + "]"
