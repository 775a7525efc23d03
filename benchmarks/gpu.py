"""Times and peak memory on a CUDA GPU, in one run of at most three minutes.

    python benchmarks/gpu.py RESULTS.md                    # all parts
    python benchmarks/gpu.py RESULTS.md --parts tiny       # some of: sd-turbo tiny training compiled
    python benchmarks/gpu.py RESULTS.md --miniature        # small networks, on any machine: does the program work?

``sd-turbo`` has networks of SD-Turbo's size with random weights, which cost as much as trained ones; ``tiny`` is
hidra-tiny; ``training`` is an iteration in the paper's setting, in this project's order of operations and in the
published one; ``compiled`` is ``torch.compile`` on SD-Turbo's networks. A measurement that fails is a row that says
why, and the rest goes on. Each part has a process of its own, which is ended
when its time is up. The file is written anew after every row.

Times of networks are medians between CUDA events, with the input on the GPU already. Rows that name a function of the
library are medians by the clock, from an image in memory to an image in memory. Memory is what PyTorch had allocated at
most, everything that stays on the GPU included.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # to look for a GPU must not start CUDA, see messages()

import torch
from common import options_of
from diffusers import AutoencoderTiny
from diffusers.utils import logging
from gpu_report import HEADER, Report, failure
from gpu_training import training
from random_networks import MINIATURE, REAL_SIZE, random_backbone, random_weights

import hidra_core
from hidra_core.computing import DTYPES
from hidra_core.enhance import DegradationVectors
from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from multiprocessing.connection import Connection

    from torch import Tensor

    from hidra_core.backbone import DiffusersBackbone
    from hidra_core.weights import Weights


def noise(report: Report, size: tuple[int, int], batch: int, dtype: torch.dtype) -> Tensor:
    """Random images ``[B, 3, H, W]`` in [-1, 1], as the networks get them.

    Args:
        report: whose device they are on.
        size: height and width in pixels.
        batch: images.
        dtype: number type.
    """
    grey = torch.rand(batch, 1, *size, device=report.device) * 2 - 1
    return grey.to(dtype).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def one_pass(
    backbone: DiffusersBackbone,
    text: Tensor,
    adapted: Callable[[], AbstractContextManager[None]],
    decode: Callable[[Tensor], Tensor],
    images: Tensor,
) -> Tensor:
    """Encode, one step, decode, as :func:`hidra_core.enhance` does.

    Args:
        backbone: the networks.
        text: the constant text embedding.
        adapted: makes the context in which they are adapted.
        decode: from a scaled latent to images.
        images: ``[B, 3, H, W]``.
    """
    with adapted():
        latent = backbone.denoise(backbone.encode(images), text)
    return decode(latent)


def networks(report: Report, part: str, backbone: DiffusersBackbone, weights: Weights, dtype: str, thin: Any) -> None:
    """Rows of the networks alone: every way, size and batch.

    Args:
        report: to add rows to.
        part: of the run.
        backbone: the networks.
        weights: their adapter.
        dtype: their number type.
        thin: a thin decoder of the same latents; None leaves its rows out, and all sizes but the last.
    """
    text = weights.text_embedding.to(report.device, backbone.dtype)
    batches = report.sizes.batches if thin is not None else report.sizes.tiny_batches
    decode = torch.inference_mode()(backbone.decode)

    def rows(what: str, adapted: Callable[[int], Callable[[], AbstractContextManager[None]]], decode: Any) -> None:
        for size in report.sizes.images if thin is not None else report.sizes.images[-1:]:
            for batch in batches:
                images = noise(report, size, batch, backbone.dtype)
                run = partial(one_pass, backbone, text, adapted(batch), decode, images)
                report.measure(part, what, run, size=size, batch=batch, dtype=dtype)

    def hooked(batch: int) -> Callable[[], AbstractContextManager[None]]:
        return partial(backbone.adapted, weights.adapter.modulate(torch.randn(batch, 256)))

    rows("plain", lambda _: nullcontext, decode)
    rows("hooked", hooked, decode)
    if thin is not None:
        for size in report.sizes.images:
            for batch in batches:
                latent = torch.randn(batch, 4, size[0] // 8, size[1] // 8).to(text)
                for what, run in (("decoder alone", decode), ("thin decoder alone", thin)):
                    report.measure(part, what, partial(run, latent), size=size, batch=batch, dtype=dtype)
    folded = backbone.folded(weights.adapter.modulate(torch.randn(1, 256)))  # last: the copies stay in memory
    rows("folded", lambda _: lambda: folded, decode)
    if thin is not None:
        rows("folded, thin decoder", lambda _: lambda: folded, thin)


def library(
    report: Report, part: str, backbone: DiffusersBackbone, weights: Weights, dtype: str, counts: Sequence[int]
) -> None:
    """Rows of the library's calls, for images that each have a degradation of their own.

    Args:
        report: to add rows to.
        part: of the run.
        backbone: the networks.
        weights: DEM and adapter.
        dtype: number type of the networks.
        counts: numbers of images.
    """
    size = report.sizes.images[-1]
    weights.estimator.to(report.device)
    for count in counts:
        images = torch.rand(count, *size, 1)
        degradation = DegradationVectors(torch.randn(count, 256), weights)
        row: dict[str, Any] = {"size": size, "batch": count, "by_clock": True}
        report.measure(part, "hidra_core.estimate", partial(hidra_core.estimate, images, weights), dtype="fp32", **row)
        run = partial(hidra_core.enhance, images, backbone, degradation)
        report.measure(part, "hidra_core.enhance", run, dtype=dtype, **row)
    weights.estimator.cpu()


def sd_turbo(report: Report) -> None:
    """SD-Turbo's size.

    Args:
        report: to add rows to.
    """
    started = time.perf_counter()
    backbone = random_backbone(report.sizes, report.device, torch.float32)
    weights = random_weights(report.sizes, backbone)
    with report.device:
        small: Any = AutoencoderTiny(**report.sizes.thin).eval().requires_grad_(False)
    count = sum(parameter.numel() for network in (backbone.unet, backbone.vae) for parameter in network.parameters())
    report.add("sd-turbo", f"making {count / 1e6:.0f} M parameters", ms=1000 * (time.perf_counter() - started))
    thin = torch.inference_mode()(lambda latent: small.decode(latent).sample)
    for dtype in [name for name in report.types if name != "fp32"] or report.types:
        for network in (backbone.unet, backbone.vae, small):
            network.to(dtype=DTYPES[dtype], memory_format=torch.channels_last)
        networks(report, "sd-turbo", backbone, weights, dtype, thin)
        library(report, "sd-turbo", backbone, weights, dtype, [4])


def tiny(report: Report) -> None:
    """hidra-tiny.

    Args:
        report: to add rows to.
    """
    weights = hidra_core.load_weights(hidra_core.HIDRA_TINY)
    for dtype in report.types:
        backbone = hidra_core.load_backbone(hidra_core.HIDRA_TINY, device=report.device, dtype=dtype)
        networks(report, "tiny", backbone, weights, dtype, None)
        library(report, "tiny", backbone, weights, dtype, report.sizes.tiny_batches[::2])


def compiled(report: Report) -> None:
    """``torch.compile``: the decoder as a whole, the blocks of the UNet that are alike, and the encoder.

    Args:
        report: to add rows to.
    """
    dtype, size = report.types[0], report.sizes.images[0]
    # the miniature shows that the networks can be traced; generating code for a CPU takes minutes
    options = {} if report.device.type == "cuda" else {"backend": "eager"}
    backbone = random_backbone(report.sizes, report.device, DTYPES[dtype])
    images = noise(report, size, 1, backbone.dtype)
    text = torch.randn(1, 77, report.sizes.unet["cross_attention_dim"]).to(images)
    run = partial(one_pass, backbone, text, nullcontext, backbone.decode, images)
    row: dict[str, Any] = {"size": size, "batch": 1, "dtype": dtype}
    report.measure("compiled", "nothing", run, **row)
    steps = {
        "the decoder": backbone.vae.decoder.compile,
        "and the UNet's blocks": backbone.unet.compile_repeated_blocks,
        "and the encoder": backbone.vae.encoder.compile,
    }
    for what, compile_part in steps.items():
        started = time.perf_counter()
        compile_part(**options)
        run()
        note = f"first pass {time.perf_counter() - started:.1f} s"
        report.measure("compiled", what, run, note=note, **row)


PARTS: dict[str, tuple[Callable[[Report], None], float]] = {
    "sd-turbo": (sd_turbo, 60),
    "tiny": (tiny, 40),
    "training": (training, 45),
    "compiled": (compiled, 60),
}
"""Each part, and the seconds after which it is ended."""


def run_part(name: str, miniature: bool, channel: Connection) -> None:
    """Run one part, in a process of its own.

    Args:
        name: of ``PARTS``.
        miniature: see the program's options.
        channel: for the name of the machine, and for the rows.
    """
    logging.set_verbosity_error()  # diffusers warns of casts that change nothing here
    if miniature:
        report = Report(torch.device("cpu"), MINIATURE, 1, channel.send)
    else:
        report = Report(torch.device("cuda"), REAL_SIZE, 20, channel.send)
    channel.send(machine())
    try:
        PARTS[name][0](report)
    except Exception as error:  # noqa: BLE001  the other parts go on
        report.add(name, "not finished", note=failure(error))
        traceback.print_exc()


def _exit_if_barred() -> None:
    sys.exit(torch.cuda._is_in_bad_fork())  # noqa: SLF001  torch has no public way to ask


def messages(name: str, miniature: bool, seconds: float) -> Iterator[Any]:
    """What one part has to say, until it ends or its time is up.

    Args:
        name: of ``PARTS``.
        miniature: see the program's options.
        seconds: after which the process is ended.
    """
    # forked, a process has all modules already, and can use the GPU unless one of them has started CUDA here
    context = multiprocessing.get_context("fork")
    probe = context.Process(target=_exit_if_barred)
    probe.start()
    probe.join()
    if probe.exitcode and not miniature:
        context = multiprocessing.get_context("spawn")
    channel, other = context.Pipe(duplex=False)
    process = context.Process(target=run_part, args=(name, miniature, other))
    process.start()
    other.close()  # so that the end of the process is the end of the channel
    deadline = time.perf_counter() + seconds
    why = f"ended after {seconds:.0f} s"
    try:
        while channel.poll(max(deadline - time.perf_counter(), 0)):
            yield channel.recv()
    except EOFError:
        process.join()
        why = f"ended with exit code {process.exitcode}" if process.exitcode else ""
    process.kill()
    process.join()
    if why:
        yield [name, "not finished", *[""] * (len(HEADER) - 3), why]


def main() -> None:
    """Run the parts and print the table."""
    parser = options_of(__doc__)
    parser.add_argument("output", type=Path, help="Markdown file to write")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="parts (default: all)")
    parser.add_argument("--seconds", type=float, default=170, help="after which no part goes on (default: 170)")
    parser.add_argument("--miniature", action="store_true", help="small networks on the CPU, one repeat")
    options = parser.parse_args()
    started, name, rows = time.perf_counter(), "", []
    for part in options.parts:
        left = options.seconds - (time.perf_counter() - started)
        limit = left if options.miniature else min(PARTS[part][1], left)  # a busy CPU may take any time
        for message in messages(part, options.miniature, max(limit, 0)):
            if isinstance(message, str):
                name = message
                continue
            rows.append(message)
            print(f"{time.perf_counter() - started:6.1f} s  {' | '.join(message)}", flush=True)
            options.output.write_text(f"{name}\n\n{to_markdown(HEADER, rows)}\n", encoding="utf-8")
    print(f"\n{options.output.read_text(encoding='utf-8')}")


if __name__ == "__main__":
    main()
