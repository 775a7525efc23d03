"""SD-Turbo at its real size with random weights: what the adapter costs beside the plain backbone.

    python benchmarks/sd_turbo.py make FOLDER          # a diffusers folder, a single original-layout file, weights …
    python benchmarks/sd_turbo.py cost FOLDER --image picture.png --dtype bf16

``cost`` runs the plain backbone, the hooked adapter and the folded one in turn, in one process, on one image, and
prints the median time of each, the median over the rounds of its ratio to the plain backbone's, and the peak memory.
Random weights cost what trained ones do; their pictures mean nothing. On Linux the folded copy of the weights can take
the large memory pages from everything else, which slows each operation that writes a large tensor (a sixth in one bf16
run): GLIBC_TUNABLES=glibc.malloc.hugetlb=1 asks for more of them, and leaves the cost of the arithmetic.

``make`` also writes what training's losses load, the ViT of the discriminator and the VGG16 of LPIPS;
``benchmarks/bilevel.py`` says how to use them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from common import PeakMemory
from safetensors.torch import save_file
from torch import Tensor

import hidra_core
from hidra_core.adapter import NETWORKS, Adapter
from hidra_core.backbone import SD_TURBO_UNET, SD_TURBO_VAE, DiffusersBackbone, build_diffusers
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.enhance import DegradationVectors, Runner
from hidra_core.evaluation.provenance import machine
from hidra_core.images import read_image
from hidra_core.layouts import original_unet_name, original_vae_state
from hidra_core.weights import DINOV2_BASE, Weights, save_weights
from train.method.losses import VGG_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER, FILE, WEIGHTS = "sd-turbo", "sd_turbo.safetensors", "hidra-sd-turbo.safetensors"
DINO, TORCH_HOME = "dino-vitb16", "torch"


def original_layout(backbone: DiffusersBackbone) -> dict[str, Tensor]:
    """A backbone's parameters under the names of a single-file Stable Diffusion checkpoint."""
    tensors = {
        f"model.diffusion_model.{original_unet_name(key)}": tensor.contiguous()
        for key, tensor in backbone.unet.state_dict().items()
    }
    for key, tensor in original_vae_state(backbone.vae.state_dict(), levels=4).items():
        tensors[f"first_stage_model.{key}"] = tensor.contiguous()
    return tensors


def make(folder: Path) -> None:
    """Write everything with random weights (5.5 GB in all)."""
    torch.manual_seed(0)
    unet, vae = build_diffusers(SD_TURBO_UNET, SD_TURBO_VAE)
    adapter = Adapter.for_networks(unet, vae)
    for network in NETWORKS:
        for up in adapter.layers[network].up:
            torch.nn.init.normal_(up, std=0.02)
        torch.nn.init.normal_(adapter.heads[network].fuse.bias, std=0.1)
    for network, name in ((unet.half(), "unet"), (vae.half(), "vae")):
        network.save_pretrained(folder / FOLDER / name)
    save_file(original_layout(DiffusersBackbone(unet, vae, name="sd-turbo")), folder / FILE)
    estimator = DegradationEstimator(build_dinov2(DINOV2_BASE))
    weights = Weights(estimator, adapter, torch.randn(1, 77, 1024), "sd_turbo", {"note": "random"})
    save_weights(weights, folder / WEIGHTS, dtype=torch.float16)
    make_losses(folder)


def make_losses(folder: Path) -> None:
    """Write the networks that the losses of training load."""
    from torchvision.models import vgg16  # not needed by the rest
    from transformers import ViTConfig, ViTModel

    ViTModel(ViTConfig(), add_pooling_layer=False).save_pretrained(folder / DINO)  # the default is ViT-B/16
    checkpoints = folder / TORCH_HOME / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True, exist_ok=True)
    torch.save(vgg16(weights=None).state_dict(), checkpoints / VGG_FILE)


def cost(folder: Path, image: Path, dtype: str, source: str, repeats: int) -> None:
    """Time and memory of plain, hooked and folded passes over one image."""
    backbone = hidra_core.load_backbone(folder / source, dtype=dtype)
    weights = hidra_core.load_weights(folder / WEIGHTS)
    picture = torch.as_tensor(read_image(image).pixels)
    degradation: DegradationVectors = hidra_core.estimate([picture], weights)
    modulated = weights.adapter.modulate(degradation.vectors)
    height, width = picture.shape[:2]
    print(f"{width}×{height}, {dtype}, {source}, median of {repeats}; {machine()}\n")

    def runner(attached: bool) -> Callable[[], object]:
        adapted = modulated if attached else None
        run = Runner(backbone, weights.text_embedding, adapted, upscale=1, tile=None, progress=None)
        return lambda: run.run([picture])

    times: dict[str, list[float]] = {"plain": [], "hooked": [], "folded": []}
    peaks: dict[str, float] = {}
    memory = PeakMemory()
    with torch.inference_mode():
        for _ in range(repeats):
            for name in times:
                with ExitStack() as stack:
                    stack.enter_context(memory.watch())
                    if name == "folded":
                        for network in NETWORKS:
                            stack.enter_context(modulated.folded(network, backbone.lookup(network)))
                    run = runner(name == "hooked")
                    run()  # the first pass in a new state of the memory allocates
                    started = time.perf_counter()
                    run()
                    times[name].append(time.perf_counter() - started)
                peaks[name] = max(peaks.get(name, 0.0), memory.peak)
    print("| | seconds | beside plain | peak memory GB |\n|---|---|---|---|")
    for name, values in times.items():
        ratio = statistics.median(time / plain for time, plain in zip(values, times["plain"], strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {100 * (ratio - 1):+.1f} % | {peaks[name]:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("make", "cost"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image", type=Path, help="for cost")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--source", default=FOLDER, choices=(FOLDER, FILE))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if options.action == "make":
        make(options.folder)
    elif options.image is None:
        parser.error("cost needs --image")
    else:
        cost(options.folder, options.image, options.dtype, options.source, options.repeats)


if __name__ == "__main__":
    main()
