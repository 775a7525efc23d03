"""Conversion of the authors' checkpoints, ``model.pkl`` and ``DEM.pkl``, to the weights file."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from .adapter import NETWORKS, Adapter, ConvIn, LowRankLayers
from .dem import DegradationEstimator, build_dinov2
from .modulation import ModulationHead
from .weights import DINOV2_BASE, TEXT_TOKENS, Weights, load_dinov2

if TYPE_CHECKING:
    from os import PathLike

_DAMAGE = (ValueError, LookupError, AttributeError, TypeError, AssertionError)
"""What torch's unpickler raises on damaged files, besides its own errors."""

_ADAPTER_NAME = {"unet": "default", "vae": "vae_skip"}
_DEM_PARTS = {"0": "attention", "3": "head.0", "4": "head.1", "6": "head.3"}
"""Positions in the authors' Sequential (MIA, pool, flatten, then the head) and our names."""


def convert_authors(
    model: str | PathLike,
    dem: str | PathLike,
    text_embedding: Tensor,
    dinov2: str | PathLike | None,
    *,
    backbone: str = "sd-turbo",
    dinov2_config: dict[str, int] = DINOV2_BASE,
) -> Weights:
    """Read the authors' two pickles without executing anything in them.

    Args:
        model: their ``model.pkl`` (LoRA, Sigma heads, block embeddings, ``conv_in``).
        dem: their ``DEM.pkl`` (MIA and head).
        text_embedding: the empty prompt's embedding, ``[1, 77, width]``; see :func:`empty_prompt_embedding`.
        dinov2: folder or file of DINOv2 with registers (Hugging Face layout); ``None`` leaves random weights, for a
            file that is then saved without them.
        backbone: name of the one-step backbone, for the header.
        dinov2_config: sizes of the DINOv2.

    Returns:
        The weights, in fp32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a pickle that holds anything but tensors and plain containers, or whose content is not as expected.
    """
    state = read_pickle(model)
    layers, heads = {}, {}
    for network in NETWORKS:
        rank = _get(state, f"rank_{network}", model)
        layers[network] = _low_rank_layers(_get(state, f"state_dict_{network}", model), network, model)
        if layers[network].rank != rank:
            raise ValueError(f"{model}: rank_{network} is {rank}, but the tensors have rank {layers[network].rank}")
        block = _get(_get(state, "state_embeddings", model), f"state_dict_{network}_block", model)
        embedding = _get(block, "weight", model)
        heads[network] = ModulationHead(embedding.shape[0], rank)
        _load(
            heads[network],
            {"embedding": embedding}
            | _renamed(_get(state, f"state_dict_{network}_de_mlp", model), "0.", "degradation.")
            | _renamed(_get(state, f"state_dict_{network}_block_mlp", model), "0.", "block.")
            | _renamed(_get(state, f"state_dict_{network}_fuse_mlp", model), "", "fuse."),
            model,
        )
    unet = _get(state, "state_dict_unet", model)
    conv_in = ConvIn(_get(unet, "conv_in.weight", model).float(), _get(unet, "conv_in.bias", model).float())

    estimator = DegradationEstimator(build_dinov2(dinov2_config))
    if dinov2 is not None:
        load_dinov2(estimator.backbone, dinov2)
    parts = {}
    for key, tensor in _get(read_pickle(dem), "state_dict_adapter", dem).items():
        position, _, rest = key.partition(".")
        if position not in _DEM_PARTS:
            raise ValueError(f"{dem} has '{key}', which is no part of the DEM; expected MIA (0) and head (3, 4, 6)")
        parts[f"{_DEM_PARTS[position]}.{rest}"] = tensor
    for name in ("attention", "head"):
        _load(getattr(estimator, name), _renamed(parts, f"{name}.", ""), dem)
    if text_embedding.ndim != 3 or tuple(text_embedding.shape[:2]) != (1, TEXT_TOKENS):
        raise ValueError(
            f"the text embedding has shape {tuple(text_embedding.shape)}; expected [1, {TEXT_TOKENS}, width]"
        )
    adapter = Adapter(layers, heads, conv_in)
    for module in (estimator, adapter):
        module.eval().requires_grad_(False)
    training = {"converted_from": [Path(model).name, Path(dem).name]}
    return Weights(estimator, adapter, text_embedding.float(), backbone, training, str(model))


def empty_prompt_embedding(folder: str | PathLike) -> Tensor:
    """The empty prompt's embedding, from the text encoder and the tokenizer of a diffusers folder.

    The encoder is loaded, run once in fp32 on the CPU, and freed.

    Args:
        folder: with ``text_encoder/`` and ``tokenizer/``; the encoder may be there as fp16 variant only
            (``model.fp16.safetensors``).

    Returns:
        ``[1, 77, width]`` float32.

    Raises:
        FileNotFoundError: the folder lacks a part.
        ValueError: a part is damaged.
    """
    folder = Path(folder)
    encoder = folder / "text_encoder"
    weights = ("model.safetensors", "pytorch_model.bin", "model.fp16.safetensors", "pytorch_model.fp16.bin")
    for part, names in (
        ("text_encoder", ("config.json",)),
        ("text_encoder", weights),
        ("tokenizer", ("vocab.json", "tokenizer.json")),
    ):
        if not any(path for name in names for path in (folder / part).glob(f"{name}*")):
            raise FileNotFoundError(
                f"no {part}/{names[0]} in {folder}: name the diffusers folder of SD-Turbo, which has text_encoder/ and "
                "tokenizer/"
            )
    # imported here, as it takes seconds that every other use of this module would wait for
    from transformers import CLIPTextModel, CLIPTokenizer

    half_only = not any(path for name in weights[:2] for path in encoder.glob(f"{name}*"))
    try:
        tokenizer: Any = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        loaded: Any = CLIPTextModel.from_pretrained(
            encoder, variant="fp16" if half_only else None, local_files_only=True, output_loading_info=True
        )
        model, info = loaded
        if info["missing_keys"]:
            raise ValueError(f"the text encoder lacks {min(info['missing_keys'])}")
        tokens = tokenizer("", padding="max_length", max_length=TEXT_TOKENS, truncation=True, return_tensors="pt")
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ValueError(
            f"cannot read text_encoder/ or tokenizer/ in {folder}: {error}. Download them again"
        ) from error
    with torch.no_grad():
        # computed in the type of the file, fp16 would cost 8e-3
        return model.float().eval()(tokens.input_ids).last_hidden_state


def read_pickle(path: str | PathLike) -> dict[str, Any]:
    """A dict of tensors and plain values from a torch pickle; anything else in it is refused, not run.

    Args:
        path: the file.

    Returns:
        Its content, tensors on the CPU.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a torch pickle, damaged, or with objects in it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}. Check the name; the authors publish model.pkl and DEM.pkl")
    data = path.read_bytes()
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, OSError, *_DAMAGE) as error:
        said = (str(error) or repr(error)).splitlines()[0]
        quoted = "" if "weights_only" in said else f" ({said})"  # PyTorch's advice would be to run what is in the file
        raise ValueError(
            f"{path} was refused: it is damaged, or it holds more than tensors and plain containers, which could run "
            f"code on loading. Get the file from its authors again.{quoted}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected the authors' dict of state dicts")
    return content


def _low_rank_layers(state: dict[str, Tensor], network: str, source: str | PathLike) -> LowRankLayers:
    name = _ADAPTER_NAME[network]
    suffix = f".lora_A.{name}.weight"
    layers = {}
    for key, down in state.items():
        if key.endswith(suffix):
            layer = key.removesuffix(suffix)
            layers[layer] = (down.float(), _get(state, f"{layer}.lora_B.{name}.weight", source).float())
    if not layers:
        raise ValueError(f"{source} has no '*{suffix}' tensors: not the authors' model.pkl")
    return LowRankLayers(layers)


def _load(module: torch.nn.Module, state: dict[str, Tensor], source: str | PathLike) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{source} does not fit the method's {type(module).__name__}: {error}") from error


def _renamed(state: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {new + key.removeprefix(old): tensor for key, tensor in state.items() if key.startswith(old)}


def _get(state: dict[str, Any], key: str, source: str | PathLike) -> Any:
    if key not in state:
        raise ValueError(f"{source} lacks '{key}': it is not a checkpoint in the authors' format")
    if key.startswith("state_") and not isinstance(state[key], dict):
        raise ValueError(f"{source} has a {type(state[key]).__name__} as '{key}'; expected a dict of tensors")
    return state[key]
