"""SD-Turbo at its real size with random weights: what the adapter costs beside the plain backbone.

    python benchmarks/sd_turbo.py make FOLDER          # a diffusers folder, a single original-layout file, weights
    python benchmarks/sd_turbo.py cost FOLDER --image picture.png --dtype bf16

``cost`` runs the plain backbone, the hooked adapter and the folded one in turn, in one process, on one image, and
prints the median time of each, its ratio to the plain backbone's and the peak memory. Random weights cost what trained
ones do; their pictures mean nothing.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import torch
from common import PeakMemory, machine
from safetensors.torch import save_file
from torch import Tensor

import hidra_core
from hidra_core.adapter import NETWORKS, Adapter
from hidra_core.backbone import SD_TURBO_UNET, SD_TURBO_VAE, DiffusersBackbone, build_diffusers
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.enhance import Degradation, Runner
from hidra_core.images import read_image
from hidra_core.weights import DINOV2_BASE, Weights, save_weights

FOLDER, FILE, WEIGHTS = "sd-turbo", "sd_turbo.safetensors", "hidra-sd-turbo.safetensors"

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def original_unet_name(name: str, layers: int = 2, levels: int = 4) -> str:
    """A diffusers parameter name of SD 2.1's UNet in the original layout."""
    for ours, theirs in _OUTSIDE.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    match = re.match(r"(down_blocks|up_blocks)\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    if match:
        side, level, kind, index = match[1], int(match[2]), match[3], int(match[4])
        rest = match[5]
        if side == "down_blocks":
            block = 1 + level * (layers + 1) + (layers if kind == "downsamplers" else index)
            prefix = f"input_blocks.{block}"
        else:
            block = level * (layers + 1) + (layers if kind == "upsamplers" else index)
            prefix = f"output_blocks.{block}"
        if kind == "downsamplers":
            return f"{prefix}.0.op.{rest.removeprefix('conv.')}"
        if kind == "upsamplers":
            return f"{prefix}.{2 if level > 0 else 1}.{rest}"  # the first up block has no attention before it
        place = 0 if kind == "resnets" else 1
    else:
        match = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name)
        kind, rest = match[1], match[3]
        prefix, place = "middle_block", 2 * int(match[2]) if kind == "resnets" else 1
    if kind == "resnets":
        part, _, leaf = rest.rpartition(".")
        rest = f"{_RESNET[part]}.{leaf}"
    return f"{prefix}.{place}.{rest}"


def original_vae_name(name: str, levels: int = 4) -> str:
    """A diffusers parameter name of SD's VAE in the original layout."""
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("to_out.0", "proj_out")
    for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("conv_shortcut", "nin_shortcut")):
        name = name.replace(ours, theirs)
    for i in (0, 1):
        name = name.replace(f"mid_block.resnets.{i}", f"mid.block_{i + 1}")
    name = re.sub(r"down_blocks\.(\d)", r"down.\1", name)
    name = re.sub(r"up_blocks\.(\d)", lambda match: f"up.{levels - 1 - int(match[1])}", name)
    name = name.replace("downsamplers.0", "downsample").replace("upsamplers.0", "upsample")
    return name.replace("resnets", "block").replace("conv_norm_out", "norm_out")


def original_layout(backbone: DiffusersBackbone) -> dict[str, Tensor]:
    """A backbone's parameters under the names of a single-file Stable Diffusion checkpoint."""
    tensors = {}
    for key, tensor in backbone.unet.state_dict().items():
        tensors[f"model.diffusion_model.{original_unet_name(key)}"] = tensor.contiguous()
    for key, tensor in backbone.vae.state_dict().items():
        if re.search(r"attentions\.0\.to_.*weight$", key):
            tensor = tensor[:, :, None, None]  # 1×1 convolutions there
        tensors[f"first_stage_model.{original_vae_name(key)}"] = tensor.contiguous()
    return tensors


def make(folder: Path) -> None:
    """Write the three inputs with random weights, fp16 (4.6 GB in all)."""
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


def cost(folder: Path, image: Path, dtype: str, source: str, repeats: int) -> None:
    """Time and memory of plain, hooked and folded passes over one image."""
    backbone = hidra_core.load_backbone(folder / source, dtype=dtype)
    weights = hidra_core.load_weights(folder / WEIGHTS)
    picture = torch.as_tensor(read_image(image).pixels)
    degradation: Degradation = hidra_core.estimate([picture], weights)
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
        runner(True)()  # first passes allocate
        for _ in range(repeats):
            for name in times:
                with ExitStack() as stack:
                    stack.enter_context(memory.watch())
                    if name == "folded":
                        for network in NETWORKS:
                            stack.enter_context(modulated.folded(network, backbone.lookup(network)))
                    run = runner(name == "hooked")
                    started = time.perf_counter()
                    run()
                    times[name].append(time.perf_counter() - started)
                peaks[name] = max(peaks.get(name, 0.0), memory.peak)
    plain = statistics.median(times["plain"])
    print("| | seconds | beside plain | peak memory GB |\n|---|---|---|---|")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"| {name} | {median:.2f} | {100 * (median / plain - 1):+.1f} % | {peaks[name]:.1f} |")


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
