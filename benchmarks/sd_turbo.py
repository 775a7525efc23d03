"""SD-Turbo at its real size with random weights: the cost of the adapter compared with the plain backbone.

    python benchmarks/sd_turbo.py make FOLDER          # a diffusers folder, a single file in the original layout, …
    python benchmarks/sd_turbo.py cost FOLDER --image image.png --dtype bf16

``cost`` runs the plain backbone, the hooked adapter and the folded one in turn, in one process, on one image, and
prints the median time of each, the median over the rounds of its ratio to the plain backbone's, and the peak memory.
Random weights cost as much as trained ones; their images mean nothing. On Linux the folded copy of the weights can use
up the large memory pages, which slows every operation that writes a large tensor (by a sixth in one bf16 run).
GLIBC_TUNABLES=glibc.malloc.hugetlb=1 asks for more of these pages, so that the cost of the arithmetic alone is
measured.

``make`` also writes the networks that the losses of training load, the ViT of the discriminator and the VGG16 of LPIPS;
``benchmarks/bilevel.py`` says how to use them.
"""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import PeakMemory, options_of
from safetensors.torch import save_file
from torch import Tensor

import hidra_core
from hidra_core.adapter import NETWORKS, Adapter
from hidra_core.backbone import SD_TURBO_UNET, SD_TURBO_VAE, DiffusersBackbone, build_diffusers
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown
from hidra_core.images import read_image
from hidra_core.layouts import original_unet_name, original_vae_state
from hidra_core.names import DTYPES
from hidra_core.weights import DINOV2_BASE, Weights, save_weights
from train.method.losses import VGG_FILE

FOLDER, FILE, WEIGHTS = "sd-turbo", "sd_turbo.safetensors", "hidra-sd-turbo.safetensors"
DINO, TORCH_HOME = "dino-vitb16", "torch"


def original_layout(backbone: DiffusersBackbone) -> dict[str, Tensor]:
    """A backbone's parameters under the names of a single-file Stable Diffusion checkpoint.

    Args:
        backbone: of the shape of SD-Turbo.
    """
    tensors = {
        f"model.diffusion_model.{original_unet_name(key)}": tensor.contiguous()
        for key, tensor in backbone.unet.state_dict().items()
    }
    for key, tensor in original_vae_state(backbone.vae.state_dict(), levels=4).items():
        tensors[f"first_stage_model.{key}"] = tensor.contiguous()
    return tensors


def make(folder: Path) -> None:
    """Write all networks with random weights (5.5 GB in all).

    Args:
        folder: to write into.
    """
    torch.manual_seed(0)
    unet, vae = build_diffusers(SD_TURBO_UNET, SD_TURBO_VAE)
    adapter = Adapter.for_networks(unet, vae)
    for network in NETWORKS:
        for up in adapter.layers[network].up:
            torch.nn.init.normal_(up, std=0.02)
        torch.nn.init.normal_(adapter.heads[network].fuse.bias, std=0.1)
    halves: dict[str, Any] = {
        "unet": unet.half(),
        "vae": vae.half(),
    }  # networks of diffusers, which can save themselves
    for name, half in halves.items():
        half.save_pretrained(folder / FOLDER / name)
    save_file(original_layout(DiffusersBackbone(unet, vae, name="sd-turbo")), folder / FILE)
    estimator = DegradationEstimator(build_dinov2(DINOV2_BASE))
    weights = Weights(estimator, adapter, torch.randn(1, 77, 1024), "sd_turbo", {"note": "random"})
    save_weights(weights, folder / WEIGHTS, dtype=torch.float16)
    make_losses(folder)


def make_losses(folder: Path) -> None:
    """Write the networks that the losses of training load.

    Args:
        folder: to write into.
    """
    from torchvision.models import vgg16  # not needed by the rest
    from transformers import ViTConfig, ViTModel

    ViTModel(ViTConfig(), add_pooling_layer=False).save_pretrained(folder / DINO)  # the default is ViT-B/16
    checkpoints = folder / TORCH_HOME / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    torch.save(vgg16(weights=None).state_dict(), checkpoints / VGG_FILE)


def cost(folder: Path, image: Path, dtype: str, source: str, repeats: int) -> None:
    """Print time and memory of plain, hooked and folded passes over one image.

    Args:
        folder: of ``make``.
        image: an image file.
        dtype: number type to compute in.
        source: ``FOLDER`` or ``FILE``, the backbone's layout.
        repeats: rounds.
    """
    backbone = hidra_core.load_backbone(folder / source, dtype=dtype)
    weights = hidra_core.load_weights(folder / WEIGHTS)
    pixels = torch.as_tensor(read_image(image).pixels)
    degradation = hidra_core.estimate(pixels, weights)
    modulated = weights.adapter.modulate(degradation.vectors)
    height, width = pixels.shape[:2]
    print(f"{width}×{height}, {dtype}, {source}, median of {repeats}; {machine()}\n")

    times: dict[str, list[float]] = {"plain": [], "hooked": [], "folded": []}
    peaks: dict[str, float] = {}
    memory = PeakMemory()
    for _ in range(repeats):
        for way in times:
            # With a text embedding of its own, a backbone runs without a degradation, hence without the adapter.
            backbone.text_embedding = weights.text_embedding if way == "plain" else None
            with memory.watch():
                run = partial(
                    hidra_core.enhance,
                    pixels,
                    backbone,
                    None if way == "plain" else degradation,
                    tile=None,
                    fold=backbone.folded(modulated) if way == "folded" else False,
                    restraint=False,
                )
                run()  # the first pass in a new state of the memory allocates
                started = time.perf_counter()
                run()
                times[way].append(time.perf_counter() - started)
                del run  # and with it the folded copy of the weights
            peaks[way] = max(peaks.get(way, 0.0), memory.peak)
    rows = []
    for way, values in times.items():
        ratio = statistics.median(time / plain for time, plain in zip(values, times["plain"], strict=True))
        rows.append([way, f"{statistics.median(values):.2f}", f"{100 * (ratio - 1):+.1f} %", f"{peaks[way]:.1f}"])
    print(to_markdown(["", "seconds", "compared with plain", "peak memory GB"], rows))


def main() -> None:
    """Make the inputs, or measure the cost."""
    parser = options_of(__doc__)
    parser.add_argument("action", choices=("make", "cost"), help="write the inputs into FOLDER, or measure with them")
    parser.add_argument("folder", type=Path, help="folder of the inputs")
    parser.add_argument("--image", type=Path, help="image file to enhance, for cost")
    parser.add_argument("--dtype", choices=("auto", *DTYPES), default="auto", help="to compute in (default: auto)")
    parser.add_argument("--source", default=FOLDER, choices=(FOLDER, FILE), help=f"backbone (default: {FOLDER})")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (default: 3)")
    options = parser.parse_args()
    if options.action == "make":
        make(options.folder)
    elif options.image is None:
        parser.error("cost needs --image")
    else:
        cost(options.folder, options.image, options.dtype, options.source, options.repeats)


if __name__ == "__main__":
    main()
