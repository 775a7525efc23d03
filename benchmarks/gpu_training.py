"""The part of ``benchmarks/gpu.py`` that trains: iterations in the paper's setting, with random networks in memory."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from bilevel import ORDERS, start
from gpu_report import GIB
from random_networks import Sizes, random_backbone, random_weights

from train.method import losses, model, trainer
from train.method.config import Config, read_config
from train.method.data import rendered_scenes
from train.method.discriminator import TransformerDiscriminator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gpu_report import Report

CARD = 24
"""Memory in GiB of the card that an iteration in the paper's setting should fit on."""


def training(report: Report) -> None:
    """An ordinary and a bi-level iteration, in this project's order of operations and in the published one.

    Args:
        report: to add rows to.
    """
    sizes = report.sizes
    dtype = "bfloat16" if report.device.type == "cuda" else "float32"
    config = read_config(
        "sd-turbo",
        [
            *("model.backbone=random", "model.init=random", "model.dinov2=null", "loss.dino=random"),
            *("data.train=scenes", "data.workers=0", f"data.crop={sizes.crop}", f"loss.perceptual={sizes.perceptual}"),
            *(
                "solver.warmup_iterations=0",
                "solver.period=2",
                "run.output=/nowhere",
                f"run.device={report.device.type}",
            ),
            f"run.dtype={dtype}",
        ],
    )
    with in_memory(sizes, report.device):
        for order in reversed(ORDERS):
            _order(report, config, order)


@contextmanager
def in_memory(sizes: Sizes, device: torch.device) -> Iterator[None]:
    """Within the block training finds random networks where it would load files.

    Args:
        sizes: of the networks.
        device: to make them on.
    """

    def load_backbone(*_: Any, dtype: torch.dtype, **__: Any) -> Any:
        return random_backbone(sizes, device, dtype)

    def discriminator(_: Any) -> TransformerDiscriminator:
        from transformers import ViTConfig, ViTModel

        config: Any = ViTConfig
        return TransformerDiscriminator(ViTModel(config(**sizes.vit), add_pooling_layer=False))

    def load_weights(*_: Any, **__: Any) -> Any:
        return random_weights(sizes, random_backbone(sizes, device, torch.float32))

    few = rendered_scenes(4, sizes.crop, sizes.crop)
    with ExitStack() as stack:
        for place, name, stand_in in (
            (model, "load_backbone", load_backbone),
            (model, "load_weights", load_weights),
            (losses, "missing_vgg", lambda: None),
            (losses, "missing_dino", lambda _: None),
            (TransformerDiscriminator, "from_folder", discriminator),
            (trainer, "clean_images", lambda _: (few, few)),
        ):
            stack.enter_context(mock.patch.object(place, name, stand_in))
        if sizes.perceptual == "lpips":
            import lpips

            stack.enter_context(mock.patch.object(lpips, "LPIPS", partial(lpips.LPIPS, pnet_rand=True)))
        yield


def _order(report: Report, config: Config, order: str) -> None:
    """The rows of one order of operations.

    Args:
        report: to add rows to.
        config: of the training.
        order: of ``bilevel.ORDERS``.
    """
    on_gpu = report.device.type == "cuda"
    trainers, batches = start(config, [order])
    run = trainers[order]
    if on_gpu:
        run.step([batches["bi-level"]])  # from here on the optimisers have their state
    for kind in report.sizes.iterations:
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        seconds, enhanced = [], 0
        for _ in range(min(report.repeats, 4)):  # the first of several warms up
            before, started = run.enhancer.images_enhanced, time.perf_counter()
            run.step([batches[kind]])
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
            enhanced = run.enhancer.images_enhanced - before
        note = f"{enhanced} image-forwards"
        if on_gpu:
            reserved = torch.cuda.max_memory_reserved() / GIB
            note += f"; reserved {reserved:.2f} GiB, {'fits' if reserved < CARD else 'does not fit'} on {CARD} GiB"
        report.add(
            "training",
            f"{order}, {kind}",
            size=(config.data.crop, config.data.crop),
            batch=config.run.batch,
            dtype="bf16" if on_gpu else "fp32",
            ms=1000 * statistics.median(seconds[1:] or seconds),
            peak=torch.cuda.max_memory_allocated() / GIB if on_gpu else None,
            note=note,
        )
