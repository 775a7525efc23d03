"""Training of the corrector on degraded small frames, and its measurement on frames degraded at full size."""

from __future__ import annotations

import copy
import logging
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from hidra_core.images.files import atomic_path
from hidra_core.readouts.corrector import GREY_LEVELS, CorrectorNetwork, low_frequencies
from train.method.losses import error_after_fit

from .degrading import Degraded, Degrader
from .frames import Frames, Stored
from .pack import TASKS, Judged, Pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hidra_core.readouts.corrector import Correction

log = logging.getLogger("train")

CUTOFF = 6.0
"""Period in cells above which the corrector's word replaces that of the networks."""

UNSEEN = (4 / GREY_LEVELS) ** 2
"""The square of four grey levels is added to every error: frames with next to none do not dominate.

Details that cannot be restored cost more in a degraded frame, and the restraint looks after good ones.
"""

LARGE = 10.0
"""Weight of the error itself beside its logarithm, which alone would let frames go that are hard to put right."""

DECAY = 0.999
"""Share of the past in the averaged weights, which are the ones that are kept."""


@dataclass(frozen=True)
class Settings:
    """How the corrector is trained.

    Attributes:
        width: of the network.
        batch: frames in a step.
        learning_rate: at its highest; it rises over the first 2 % of the run and falls along a cosine.
        weight_decay: of AdamW.
        steps: length of the run.
        seconds: where it ends if this time is over before; 0: never.
        every: seconds between measurements and checkpoints.
        workers: processes that draw frames on the CPU; 0: they are drawn on the device of the training.
        seed: of the network and of all draws.
    """

    width: int = 40
    batch: int = 1024
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    steps: int = 10_000
    seconds: float = 0.0
    every: float = 30.0
    workers: int = 0
    seed: int = 0


def loss(correction: Correction, degraded: Degraded, clean: Tensor) -> Tensor:
    """How far corrections are from the truth: the logarithm of squared errors, as decibels are, and the error itself.

    The error of the low frequencies counts as it is, and with half the weight after the gain and offset that fit best.
    Two small terms hold shading and contrast to what was done, so that each part means what it says.

    Args:
        correction: of ``B`` frames.
        degraded: the frames.
        clean: means of their cells without degradation, ``[B, 32, 40]``.
    """
    target = correction.target(degraded.view[:, 0])
    low, wanted = (low_frequencies(values, CUTOFF) for values in (target, clean))
    plain = (low - wanted).square().mean(dim=(1, 2))
    fitted = error_after_fit(low, wanted)
    shading = (correction.shading - degraded.shading).square().mean(dim=(1, 2))
    contrast = (correction.contrast.log() + degraded.contrast.log()).abs()
    parts = [(plain, 0.5), (fitted, 0.25), (shading, 0.05)]
    logarithms = sum(weight * (error + UNSEEN).log().mean() for error, weight in parts)
    return logarithms + LARGE * (plain + UNSEEN).sqrt().mean() + 0.02 * contrast.mean()


@dataclass(frozen=True)
class Batch:
    """Degraded frames and the truth behind them.

    Attributes:
        degraded: what the corrector sees, and what was done.
        clean: means of the cells without degradation, ``[B, 32, 40]``.
    """

    degraded: Degraded
    clean: Tensor


class Batches(IterableDataset):
    """Endless batches of frames.

    Args:
        images: to draw from.
        size: frames in a batch.
        device: to draw on.
        seed: of the draws.
    """

    def __init__(self, images: Stored, size: int, device: torch.device, seed: int) -> None:
        self.images, self.size, self.device, self.seed = images, size, device, seed

    @torch.no_grad()
    def __iter__(self) -> Iterator[Batch]:
        """Draw them; in a process of a DataLoader, draws of its own."""
        worker = get_worker_info()
        generator = torch.Generator(self.device).manual_seed(self.seed + (worker.id << 32 if worker else 0))
        frames = Frames(self.images, generator)
        degrader = Degrader(frames)
        while True:
            clean = frames.draw(self.size)
            yield Batch(degrader(clean), F.avg_pool2d(clean.mean[:, None], 2)[:, 0])

    def drawn_by(self, workers: int) -> Iterator[Batch]:
        """The batches, drawn by other processes where ``workers`` is above 0."""
        return iter(DataLoader(self, None, num_workers=workers, multiprocessing_context="fork") if workers else self)


class Training:
    """A run that its checkpoint continues.

    Args:
        pack: images to train and to measure on.
        settings: of the run.
        device: to compute on.
    """

    def __init__(self, pack: Pack, settings: Settings, device: torch.device) -> None:
        self.pack = pack
        self.settings = settings
        self.device = device
        torch.manual_seed(settings.seed)
        self.network = CorrectorNetwork(settings.width).to(device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type == "cuda",
        )
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []

    def load(self, checkpoint: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            ValueError: it belongs to another run.
            OSError: it cannot be read.
        """
        state = torch.load(checkpoint, map_location=self.device, weights_only=True)
        free = {"steps": 0, "seconds": 0, "every": 0, "workers": 0}
        kept, asked = ({**settings, **free} for settings in (state["settings"], asdict(self.settings)))
        changed = ", ".join(
            f"{name} {kept[name]} (now {asked[name]})" for name in kept if kept[name] != asked.get(name)
        )
        if changed:
            raise ValueError(f"{checkpoint} was made with {changed}: ask for the same, or name another --output")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint in place of an earlier one."""
        state = {
            "settings": asdict(self.settings),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
        }
        with atomic_path(checkpoint) as temporary:
            torch.save(state, temporary)

    def run(self, checkpoint: Path, measured: Callable[[], None]) -> None:
        """Train to the end, with measurements and checkpoints on the way.

        Args:
            checkpoint: file to write.
            measured: called after each of them.
        """
        settings = self.settings
        drawn_on = torch.device("cpu") if settings.workers else self.device
        batches = Batches(self.pack.images, settings.batch, drawn_on, settings.seed + 1 + self.step)
        drawn = batches.drawn_by(settings.workers)
        before, started, latest = self.seconds, time.monotonic(), self.seconds
        while self._progress() < 1:
            self._step(next(drawn))
            if self.step % 20 == 0 or self.device.type == "cpu":
                if self.device.type == "cuda":
                    torch.cuda.synchronize()
                self.seconds = before + time.monotonic() - started
            if self.seconds - latest >= settings.every:
                latest = self.seconds
                self._measure(checkpoint, measured)
        self._measure(checkpoint, measured)

    def _progress(self) -> float:
        settings = self.settings
        return max(self.step / settings.steps, self.seconds / settings.seconds if settings.seconds > 0 else 0.0)

    def _step(self, batch: Batch) -> None:
        progress = self._progress()
        rate = self.settings.learning_rate * min(1.0, progress / 0.02 + 0.02) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        degraded, clean = batch.degraded.to(self.device), batch.clean.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            correction = self.network(degraded.view, degraded.aspect)
        self.optimiser.zero_grad()
        loss(correction, degraded, clean).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(DECAY, self.step / (self.step + 10))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), self.network.parameters(), strict=True)
            averaged, current = zip(*pairs, strict=True)
            torch._foreach_lerp_(averaged, current, 1 - decay)

    def _measure(self, checkpoint: Path, measured: Callable[[], None]) -> None:
        row: dict[str, float] = {"seconds": round(self.seconds, 1), "frames": self.step * self.settings.batch}
        for name, frames in (("seen", self.pack.seen), ("unseen", self.pack.unseen)):
            for task, figures in measure(self.average, frames, self.device).items():
                row[f"{name} {task}"] = figures["corrected"]
                row[f"{name} {task} fitted"] = figures["corrected, fitted"]
        self.history.append(row)
        shown = ", ".join(
            f"{task} {row[f'seen {task}']:.1f}/{row[f'unseen {task}']:.1f} "
            f"({row[f'seen {task} fitted']:.1f}/{row[f'unseen {task} fitted']:.1f})"
            for task in TASKS
        )
        log.info("%.0f s, %d frames, dB seen/unseen (fitted): %s", self.seconds, row["frames"], shown)
        self.save(checkpoint)
        measured()


@torch.inference_mode()
def measure(network: CorrectorNetwork, frames: Judged, device: torch.device) -> dict[str, dict[str, float]]:
    """Mean PSNR of 32 × 40 means against those of the clean frames, in dB.

    Args:
        network: to measure, on ``device``.
        frames: degraded at full size.
        device: to compute on.

    Returns:
        For each task the figures of the input and of its correction, plain and after gain and offset ("fitted"). The
        square of half a grey level is added to every error.
    """
    view, aspect, clean = (
        torch.from_numpy(values).to(device).float() for values in (frames.views, frames.aspects, frames.clean)
    )
    target = network(view, aspect).target(view[:, 0]).clamp(0, 1)
    smallest = (0.5 / GREY_LEVELS) ** 2
    table: dict[str, dict[str, float]] = {}
    for task in TASKS:
        chosen = torch.from_numpy(frames.tasks == task).to(device)
        row = {}
        for name, values in (("input", view[:, 0]), ("corrected", target)):
            plain = (values[chosen] - clean[chosen]).square().mean(dim=(1, 2))
            for suffix, error in (("", plain), (", fitted", error_after_fit(values[chosen], clean[chosen]))):
                row[name + suffix] = round(-10 * (error + smallest).log10().mean().item(), 2)
        table[task] = row
    return table


def describe(training: Training) -> dict[str, Any]:
    """What the header of the corrector says about a run, in plain JSON types."""
    pack = training.pack
    return {
        "images": len(pack.images.means),
        "frames": training.step * training.settings.batch,
        "seconds": round(training.seconds),
        "settings": asdict(training.settings),
        "figures": {
            name: measure(training.average, frames, training.device)
            for name, frames in (("seen", pack.seen), ("unseen", pack.unseen))
        },
    }
