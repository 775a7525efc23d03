"""The run of ``train/hidra_tiny.py``: phases that end by the clock, checkpoints, and the export."""

from __future__ import annotations

import copy
import csv
import logging
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from hidra_core.backbone import MODELS, save_backbone
from hidra_core.names import HIDRA_TINY
from hidra_core.weights import Weights, save_weights
from train.method.checkpoints import read_checkpoint, write_checkpoint
from train.method.optimisation import Average, set_rate
from train.pretraining.adapted import Restorer
from train.pretraining.clock import PHASES, EstimatorPhase, Phase, Recipe, rate_at
from train.pretraining.config import read_config
from train.pretraining.frames import Draws, Frames, read_images, shares
from train.pretraining.model import TrainableNetworks
from train.pretraining.pool import fit_linear, shuffled
from train.pretraining.trainer import factor_loss

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
log = logging.getLogger("train")

CHECKPOINT = "checkpoint.pt"
"""The name of the checkpoint in the folder of the run."""

ENDLESS = 10**7
"""More batches than any phase draws."""

LOGGED = 50
"""Steps between two lines of the log: reading a value waits for the device."""

FITTED = 20
"""Batches of the first phase that linear maps of the vectors are fitted to: more frames than components."""

COLUMNS = ("phase", "step", "loss", "mse", "norm", "rate", "frames", "seconds")
"""Of ``log.csv``."""


class ClockedTraining:
    """A run, at the position of its checkpoint.

    Args:
        recipe: of the run.

    Raises:
        FileNotFoundError: no usable images, or no files of ``run.init``.
        ValueError: ``run.init`` is of another architecture, or the checkpoint of another recipe.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe, self.run, self.started = recipe, recipe.run, time.monotonic()
        torch.manual_seed(self.run.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = TrainableNetworks(read_config(self.run.networks, []))
        self.model.start_from(MODELS / HIDRA_TINY if str(self.run.init) == HIDRA_TINY else self.run.init)
        self.earlier = copy.deepcopy(self.model.estimator).to(self.device).requires_grad_(False)
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        # in training mode diffusers' blocks copy their maps into the contiguous layout
        place: Any = self.model.to(self.device).eval().to  # whose declaration lacks memory_format
        place(memory_format=torch.channels_last)
        images = read_images(recipe.data.train)
        self.shapes = [(image.shape[0], image.shape[1]) for _, image in images]
        self.odds = shares([path for path, _ in images], recipe.data.sources)
        self.frames = Frames([image for _, image in images], self.device, self.run.seed)
        log.info("%d images, %.0f megapixels", len(images), sum(h * w for h, w in self.shapes) / 1e6)
        self.restorer = Restorer(self.model, recipe.loss)
        self.loss_function: Any = self.restorer.loss
        self.compiles = self.run.compile and self.device.type == "cuda"
        if self.compiles:
            self.loss_function = torch.compile(self.restorer.loss, dynamic=False)
        self.average = Average(dict(self.model.named_parameters()))
        self.optimiser_state: dict[str, object] | None = None
        self.phase, self.step, self.over, self.done = 0, 0, 0.0, {}
        self.resume()

    # ------------------------------------------------------------------------------------------- checkpoints

    def resume(self) -> None:
        """Go to the position of the checkpoint, if there is one."""
        path = self.run.output / CHECKPOINT
        if not path.exists():
            return
        state = read_checkpoint(path, self.recipe.fixed())
        self.model.load_state_dict(state["model"])
        self.average.restore(state["average"])
        self.optimiser_state = state["optimiser"]
        self.phase, self.step, self.over, self.done = (state[key] for key in ("phase", "step", "over", "done"))
        log.info("resumed %s in phase %s after %.0f s", path, PHASES[self.phase], self.over)

    def save(self, optimiser: torch.optim.Optimizer | None = None) -> None:
        """Write the checkpoint, and after the first phase the files that inference loads.

        Args:
            optimiser: of the phase that is running; None between phases.
        """
        state = {
            "config": self.recipe.fixed(),
            "model": self.model.state_dict(),
            "average": self.average.values,
            "phase": self.phase,
            "step": self.step,
            "over": self.over,
            "done": self.done,
            "optimiser": optimiser.state_dict() if optimiser else None,
        }
        write_checkpoint(self.run.output / CHECKPOINT, state)
        if self.phase:  # until the DEM has learned, the adapter is not made for it
            self.export()

    def export(self) -> list[Path]:
        """Write the averaged parameters as the two files that inference loads.

        Returns:
            ``backbone.safetensors`` and ``weights.safetensors`` in the folder of the run.
        """
        model, output = self.model, self.run.output
        training = {
            "strategy": "pretraining",
            "start": "an earlier export",
            "steps": self.done | {PHASES[self.phase]: self.step},
            "seconds": {name: self.recipe.phase(name).seconds for name in PHASES},
            "seed": self.run.seed,
            "degradations": self.recipe.restored,
        }
        files = [output / "backbone.safetensors", output / "weights.safetensors"]
        with self.average.applied():
            save_backbone(model.backbone, files[0])
            weights = Weights(model.estimator, model.adapter, model.text_embedding, model.backbone.name, training)
            save_weights(weights, files[1], dtype=torch.float16)
        return files

    # ------------------------------------------------------------------------------------------- samples

    def batches(self, phase: Phase, presets: dict[str, float], seed: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of a phase from a number on; batch i depends on i alone."""
        data = self.recipe.data
        draws = Draws(
            self.shapes,
            self.odds,
            presets,
            phase.frames,
            seed,
            tone=data.tone,
            sensor=0.0 if isinstance(phase, EstimatorPhase) else data.sensor,
            enlarge=data.enlarge,
            partial=self.run.partial_strength,
        )
        ahead = {"prefetch_factor": 8, "multiprocessing_context": "fork"} if data.workers else {}
        loader = DataLoader(draws, None, sampler=range(first, ENDLESS), num_workers=data.workers, **ahead)
        return map(self.frames.make, loader)

    # ------------------------------------------------------------------------------------------- the DEM alone

    @torch.no_grad()
    def _fit(self, layers: list[str]) -> None:
        """Fit linear read-outs of the DEM's vectors on frames of their own.

        Args:
            layers: ``"probe"`` reads the factors, ``"translation"`` the vectors of the DEM that the run started from.
        """
        vectors, wanted = [], {name: [] for name in layers}
        batches = self.batches(self.recipe.estimator, self.recipe.seen, self.run.seed + 1000)
        for batch in islice(batches, FITTED):
            seen = batch["degraded"].expand(-1, 3, -1, -1)
            with self._autocast():
                vectors.append(self.model.estimator(seen).float().cpu())
                goals = {"probe": batch["factors"]}
                if "translation" in layers:
                    goals["translation"] = self.earlier(seen).float()
            for name in layers:
                wanted[name].append(goals[name].cpu())
        layers_wanted: dict[Any, list[Tensor]] = {self.model.get_submodule(name): wanted[name] for name in layers}
        fit_linear(torch.cat(vectors), layers_wanted)

    # ------------------------------------------------------------------------------------------- phases

    def all_phases(self, last: str = PHASES[-1]) -> None:
        """From the position of the checkpoint to the end; KeyboardInterrupt passes through, after a checkpoint.

        Args:
            last: phase to run.
        """
        while True:
            name = PHASES[self.phase]
            if self.recipe.phase(name).seconds:
                self._run_phase(name)
            if name == PHASES[-1]:
                return
            self.done[name] = self.step
            self.phase, self.step, self.over, self.optimiser_state = self.phase + 1, 0, 0.0, None
            self.average.restart()
            self.save()
            if name == last:
                return

    def _seconds(self, name: str) -> float:
        """The time of a phase, all of it: its own, or its part of what is left of the run's."""
        seconds = {name: self.recipe.phase(name).seconds for name in PHASES[PHASES.index(name) :]}
        if self.run.seconds is None:
            return seconds[name]
        left = max(1.0, self.run.seconds - (time.monotonic() - self.started))
        return self.over + left * seconds[name] / sum(seconds.values())

    def trained_parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters that a phase trains; all others are frozen."""
        model = self.model
        if name == "estimator":
            parts = [model.estimator, model.probe]
        else:
            parts = [part for child, part in model.named_children() if child not in ("estimator", "translation")]
            parts += [part for child, part in model.estimator.named_children() if child != "backbone"]
        trained = {parameter for part in parts for parameter in part.parameters()}
        # A step of the optimiser moves all weights of a patch's filter towards brightness alike: fine structure drowns
        dino: Any = model.estimator.backbone
        trained -= set(dino.embeddings.patch_embeddings.parameters())
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in trained)
        return [parameter for parameter in model.parameters() if parameter in trained]

    def _run_phase(self, name: str) -> None:
        phase = self.recipe.phase(name)
        if name == "estimator" and self.step == 0:
            self._fit(["probe"])
        parameters = self.trained_parameters(name)
        # Parameters that get no gradient (half of quant_conv's outputs do nothing) are left alone
        optimiser = torch.optim.AdamW(
            parameters, lr=phase.rate[0], betas=(0.9, 0.99), weight_decay=self.run.weight_decay, fused=True
        )
        if self.optimiser_state is not None:
            optimiser.load_state_dict(self.optimiser_state)
        with open(self.run.output / "log.csv", "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(COLUMNS)
            try:
                for row in self._descend(name, phase, optimiser, parameters):
                    writer.writerow(row)
                    file.flush()
                    log.info("%s %d: loss %.4f, mse %.5f, norm %.3f, rate %.1e, %d frames, %.0f s", *row)
            finally:
                self.save(optimiser)
        if name == "estimator":
            self.average.adopt()
            self._fit(["probe", "translation"])
            self.model.translate()

    def _descend(
        self, name: str, phase: Phase, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter]
    ) -> Iterator[tuple[Any, ...]]:
        """The remaining time of a phase; yields the lines of the log."""
        presets = self.recipe.seen if name == "estimator" else self.recipe.restored
        batches = self.batches(phase, presets, self.run.seed * len(PHASES) + self.phase, self.step)
        seconds = self._seconds(name)
        before, started, frames = self.over, time.monotonic(), 0
        saved = started
        while self.over < seconds:
            set_rate([optimiser], rate_at(phase, self.over / seconds, self.step + 1))
            batch = next(batches)
            loss, error = self.loss(phase, batch)
            loss.backward()
            norm = self._move(optimiser, parameters)
            self.step, frames = self.step + 1, frames + len(batch["clean"])
            self.average.update(min(self.run.ema, (1 + self.step) / (10 + self.step)))
            if self.step % LOGGED == 0 or self.step == 1:
                values = loss.item(), error.mean().item(), norm.item(), optimiser.param_groups[0]["lr"]
                yield (name, self.step, *values, frames, time.monotonic() - started)
            self.over = before + time.monotonic() - started
            if time.monotonic() - saved > self.run.save_seconds:
                self.save(optimiser)
                saved = time.monotonic()

    def _move(self, optimiser: Any, parameters: list[nn.Parameter]) -> Tensor:
        """A clipped step without waiting for the device; a gradient that is not finite moves nothing."""
        norm = nn.utils.clip_grad_norm_(parameters, self.run.clip, foreach=True)
        optimiser.found_inf = (~norm.isfinite()).float()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return norm

    def _autocast(self) -> torch.autocast:
        dtype = getattr(torch, self.run.dtype)
        return torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32)

    def loss(self, phase: Phase, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the squared errors for the log.

        Args:
            phase: of the run.
            batch: of :meth:`batches`.

        Returns:
            Two tensors, the first a scalar.
        """
        model, seen = self.model, batch["degraded"]
        alone = isinstance(phase, EstimatorPhase)
        if alone:
            generator = torch.Generator().manual_seed(self.run.seed * 1_000_003 + self.step)
            if torch.rand(1, generator=generator).item() < phase.shuffle:
                seen = shuffled(seen, model.estimator.patch_size, generator)
        with self._autocast():
            vectors = model.estimate(seen)
            extra = factor_loss(model.probe(vectors).float(), batch["factors"])
            if alone:
                return extra, extra.detach()
            # the DEM judges the frame as the camera gave it, the networks restore what the sensor stage left
            arguments = batch["undone"], batch["clean"], vectors.float(), batch["strengths"]
            loss, error = self._restoration(*arguments)
        return loss + self.recipe.loss.factors * extra, error

    def _restoration(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return self.loss_function(*arguments)
        except Exception as error:  # the compiler raises a wide choice
            if self.loss_function == self.restorer.loss:
                raise
            log.warning("the networks run uncompiled: %s: %s", type(error).__name__, str(error)[:2000])
            self.loss_function = self.restorer.loss
            return self.loss_function(*arguments)
