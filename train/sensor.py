"""Train the small networks of the sensor stage: defective pixels, stripes, shading.

    python train/sensor.py --images IMAGES                          # all three, into hidra_core/sensor
    python train/sensor.py --images IMAGES --only stripes --seconds 600 --workers 8 --device cuda
    python train/sensor.py --images IMAGES -o other.safetensors     # into another file

Clean thermal images are degraded on the way, by as many worker processes as are asked for. Each network trains for
the given time, its learning rate falling to the end; a network that is not trained keeps its values in the file. The
file is replaced whenever a network is done, and every minute on the way.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.cli.console import reason
from hidra_core.images.files import atomic_path
from hidra_core.sensor.networks import PATH
from train.method.data import list_images, load_images, rendered_scenes, source_odds
from train.sensing import defects, shading, stripes
from train.sensing.scenes import Scenes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger("train")

NETWORKS = ("defects", "stripes", "shading")
SMALLEST = 160
"""Pixels along the shorter side of usable images."""

RENDERED, DRAWN = 24, 0.06
"""Rendered scenes that join the images, and how often one of them is drawn."""

RATE, SLOWEST, WARMUP = 2e-3, 0.01, 100
VIEWS = 20_000
"""Clean crops of which the views for the shading are made."""


@dataclass(frozen=True)
class Task:
    """One network, how its batches are drawn, and its loss.

    Attributes:
        network: untrained.
        batches: endless, of tensors that the loss takes after the network.
        loss: of the network and a batch.
    """

    network: nn.Module
    batches: Iterator[tuple[Tensor, ...]]
    loss: Callable[..., Tensor]


class Batches(IterableDataset):
    """Endless batches, another sequence in every worker."""

    def __init__(self, draw: Callable[[np.random.Generator], tuple[np.ndarray, ...]], seed: int) -> None:
        self.draw, self.seed = draw, seed

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        worker = get_worker_info()
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        while True:
            yield tuple(torch.from_numpy(part) for part in self.draw(rng))


def scenes_of(images: list[tuple[Path, np.ndarray]]) -> Scenes:
    """The images, sampled by source, and a few rendered scenes."""
    odds = np.array(source_odds([path for path, _ in images]))
    rendered = rendered_scenes(RENDERED)
    shares = np.concatenate([odds / odds.sum() * (1 - DRAWN), np.full(RENDERED, DRAWN / RENDERED)])
    return Scenes([*(image for _, image in images), *rendered], shares / shares.sum())


def striped_batch(scenes: Scenes, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Frames of one random size and their stripes, ``[count, H, W]`` each."""
    size = stripes.SIZES[rng.integers(len(stripes.SIZES))]
    frames = [stripes.striped_frame(scenes, size, rng) for _ in range(count)]
    return tuple(np.stack(parts) for parts in zip(*frames, strict=True))


def candidate_batch(scenes: Scenes, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """The candidates of several frames."""
    frames = [defects.judged_candidates(scenes, rng) for _ in range(count)]
    return tuple(np.concatenate(parts) for parts in zip(*frames, strict=True))


def task_of(name: str, scenes: Scenes, options: argparse.Namespace) -> Task:
    """What is needed to train one of :data:`NETWORKS`."""
    if name == "shading":
        rng = np.random.default_rng(options.seed)
        means, deviations = shading.clean_views(scenes, options.views, rng)
        views = shading.ShadedViews(means.to(options.device), deviations.to(options.device))
        return Task(shading.new_network(), iter(lambda: views.draw(16 * options.batch), None), shading.shading_loss)
    draw, module = (striped_batch, stripes) if name == "stripes" else (candidate_batch, defects)
    dataset = Batches(partial(draw, scenes, options.batch), options.seed)
    loader = DataLoader(dataset, batch_size=None, num_workers=options.workers, prefetch_factor=_ahead(options.workers))
    loss = stripes.stripe_loss if name == "stripes" else defects.defect_loss
    return Task(module.new_network(), iter(loader), loss)


def _ahead(workers: int) -> int | None:
    return 4 if workers else None


def train(
    task: Task,
    seconds: float,
    device: str,
    keep: Callable[[dict[str, Tensor]], None],
    *,
    peak: float = RATE,
    bfloat16: bool = False,
) -> dict[str, Tensor]:
    """Train a network for a time.

    Args:
        task: the network and its data.
        seconds: how long.
        device: where.
        keep: gets the averaged values every minute.
        peak: highest learning rate.
        bfloat16: compute in bf16, by autocast.

    Returns:
        The averaged values.
    """
    network = task.network.to(device)
    optimiser = torch.optim.AdamW(network.parameters(), peak, weight_decay=1e-4)
    average = {name: value.clone() for name, value in network.state_dict().items()}
    started, kept, losses, step = time.monotonic(), 0.0, [], 0
    while (spent := time.monotonic() - started) < seconds:
        fall = 0.5 + 0.5 * math.cos(math.pi * spent / seconds)
        rate = peak * min(1, (step + 1) / WARMUP) * (SLOWEST + (1 - SLOWEST) * fall)
        for group in optimiser.param_groups:
            group["lr"] = rate
        batch = [part.to(device, non_blocking=True) for part in next(task.batches)]
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
            loss = task.loss(network, *batch)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        share = 1 - min(0.998, (1 + step) / (10 + step))
        with torch.no_grad():
            for name, value in network.state_dict().items():
                average[name].lerp_(value, share)
        losses.append(loss.detach())
        if spent - kept > 60:
            kept = spent
            log.info("%6d steps, %4.0f s: loss %.4f", step, spent, torch.stack(losses).mean())
            losses.clear()
            keep(average)
    log.info("%6d steps, %4.0f s: loss %.4f", step, seconds, torch.stack(losses or [torch.zeros(())]).mean())
    return average


def save(path: Path, name: str, values: dict[str, Tensor], known: dict[str, Tensor]) -> None:
    """Replace one network in the file; the others stay."""
    for key, value in values.items():
        known[f"{name}.{key}"] = value.detach().to("cpu", torch.float16).contiguous()
    with atomic_path(path) as beside:
        save_file(known, beside)


def main(arguments: list[str] | None = None) -> int:
    """Run the program and return its exit code."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        images = load_images(list_images(options.images), SMALLEST)
        scenes = scenes_of(images)
        start = options.output if options.output.exists() else PATH
        known: dict[str, Any] = load_file(start) if start.exists() else {}
        for name in options.only:
            log.info("%s:", name)
            keep = partial(save, options.output, name, known=known)
            task = task_of(name, scenes, options)
            if options.go_on:
                prefix = f"{name}."
                values = {key.removeprefix(prefix): known[key] for key in known if key.startswith(prefix)}
                task.network.load_state_dict(values)
            values = train(task, options.seconds, options.device, keep, peak=options.rate, bfloat16=options.bfloat16)
            keep(values)
    except (ValueError, OSError) as error:
        log.error("error: %s", reason(error))
        return 1
    log.info("written: %s", options.output)
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("Clean thermal")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of clean thermal images")
    parser.add_argument("-o", "--output", type=Path, default=PATH, help="file to write (default: the library's own)")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS, help="networks (default: all)")
    parser.add_argument("--go-on", action="store_true", help="start from the values in the file, not from nothing")
    parser.add_argument("--seconds", type=float, default=1200, help="training of each network (default: 1200)")
    parser.add_argument("--batch", type=int, default=16, help="frames in a step (default: 16)")
    parser.add_argument("--views", type=int, default=VIEWS, help=f"crops for the shading (default: {VIEWS})")
    parser.add_argument("--workers", type=int, default=2, help="processes that make frames (default: 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--rate", type=float, default=RATE, help=f"highest learning rate (default: {RATE})")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bf16, where the processor is faster so")
    parser.add_argument("--seed", type=int, default=0, help="of all draws (default: 0)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
