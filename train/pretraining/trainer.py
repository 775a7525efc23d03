"""The run of pretraining: phases one after the other, checkpoints, and the export."""

from __future__ import annotations

import csv
import logging
import math
import os
import time
from typing import TYPE_CHECKING, Any, TextIO, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader
from tqdm import tqdm

from hidra_core.backbone import save_backbone
from hidra_core.weights import Weights, load_weights, save_weights
from train.method.checkpoints import read_checkpoint, write_checkpoint
from train.method.data import FACTORS, GREY_FACTORS, DegradedFrames, list_images, load_images, source_odds
from train.method.losses import reconstruction_loss
from train.method.norm import speed_up_group_norm
from train.method.optimisation import Average, clipped_step, learning_rate, set_rate
from train.pretraining.config import PHASES, CropPhase, Phase, PretrainingConfig, Run
from train.pretraining.model import TrainableNetworks
from train.pretraining.pool import PoolPart, as_input, fit_linear, read_vectors, shuffled
from train.pretraining.start import start_seeing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger("train")

CHECKPOINT = "checkpoint.pt"
"""The name of the checkpoint in the folder of the run."""

FITTED = 800
"""Frames of each size that linear maps of the vectors are fitted to; several times as many as there are components."""

SEEN_AT_START = 1000
"""Frames whose patches a DEM from nothing whitens."""

CALIBRATED = 32
"""Crops on which a backbone that starts as a copy is calibrated."""

SLOWEST = 0.02
"""Share of the learning rate at the end of each phase's cosine schedule."""


def factor_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of the factors; grey levels count double, as the whole image depends on them.

    Args:
        predicted: ``[B, factors]``, see :data:`~train.method.data.FACTORS`.
        wanted: of the same shape.

    Returns:
        A scalar.
    """
    error = (predicted - wanted).square().mean(dim=0)
    return (error[:GREY_FACTORS].sum() * 2 + error[GREY_FACTORS:].sum()) / len(FACTORS)


def draw_strength(run: Run, generator: torch.Generator) -> float:
    """The adapter's strength in a step: mostly 1, and below it at times, so that the strength slider blends.

    Args:
        run: with the share of steps at a strength below 1; in a third of them it is exactly 0, else uniform.
        generator: of the draw.

    Returns:
        From 0 to 1.
    """
    draw, value = torch.rand(2, generator=generator).tolist()
    if draw >= run.partial_strength:
        return 1.0
    return 0.0 if draw < run.partial_strength / 3 else value


class Training:
    """A run, at the position of its checkpoint.

    Args:
        config: of the run.

    Raises:
        FileNotFoundError: no usable images, or no files of ``run.init``.
        ValueError: ``run.init`` is of another architecture, or the checkpoint of another configuration.
    """

    def __init__(self, config: PretrainingConfig) -> None:
        self.config = config
        self.run = config.run
        torch.manual_seed(self.run.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = TrainableNetworks(config)
        self.fresh = self.run.init is None
        self.new_dem = self.fresh or self.run.new_dem
        if self.run.init is not None:
            self.model.start_from(self.run.init)
        self.model.to(self.device).train()
        if self.device.type == "cpu":  # on an H100 the contiguous layout is a tenth faster
            place: Any = self.model.to  # whose declaration lacks memory_format
            place(memory_format=torch.channels_last)
            speed_up_group_norm(self.model)
        least = min(min(size) for size in config.data.frames)
        images = load_images(list_images(config.data.train), least)
        self.images, self.odds = [image for _, image in images], source_odds([path for path, _ in images])
        count = sum(parameter.numel() for parameter in self.model.parameters())
        log.info("%d images, %.1f M parameters", len(self.images), count / 1e6)
        self.average = Average(dict(self.model.named_parameters()))
        self.optimiser_state: dict[str, object] | None = None
        self.phase, self.step = 0, 0
        self.pool: list[PoolPart] | None = None
        self._resume()

    # ------------------------------------------------------------------------------------------- checkpoints

    def _resume(self) -> None:
        path = self.run.output / CHECKPOINT
        if not path.exists():
            return
        state = read_checkpoint(path, self.config.fixed())
        self.model.load_state_dict(state["model"])
        self.average.restore(state["average"])
        self.optimiser_state = state["optimiser"]
        self.phase, self.step = state["phase"], state["step"]
        log.info("resumed %s at step %d of phase %s", path, self.step, PHASES[self.phase])

    def save(self, optimiser: torch.optim.Optimizer | None = None) -> None:
        """Write the checkpoint.

        Args:
            optimiser: of the phase that is running; None between phases.
        """
        state = {
            "config": self.config.fixed(),
            "model": self.model.state_dict(),
            "average": self.average.values,
            "phase": self.phase,
            "step": self.step,
            "optimiser": optimiser.state_dict() if optimiser else None,
        }
        write_checkpoint(self.run.output / CHECKPOINT, state)

    # ------------------------------------------------------------------------------------------- samples

    def _samples(self, name: str) -> Iterable[dict[str, Tensor]]:
        """The remaining batches of a phase: sample i depends on i alone, so that resuming repeats nothing."""
        phase = self.config.phase(name)
        seed = self.run.seed * len(PHASES) + PHASES.index(name)
        if name == "estimator":
            return self._drawn_from_pool(seed)
        if name == "whole":
            return self._whole_frames(seed)
        count = phase.steps * phase.batch
        remaining = range(self.step * phase.batch, count)
        crop = cast("CropPhase", phase).crop
        dataset = self._frames(self.config.data.frames, crop, seed, count, phase.batch)
        workers = self.config.data.workers
        return DataLoader(dataset, phase.batch, sampler=remaining, num_workers=workers, drop_last=True)

    def _whole_frames(self, seed: int) -> DataLoader[dict[str, Tensor]]:
        """Uncropped frames, of one size in each batch, and as many as have the pixels of ``batch`` of the first."""
        phase = self.config.whole
        sizes = phase.frames
        batches = [max(1, phase.batch * math.prod(sizes[0]) // math.prod(size)) for size in sizes]
        sets = [
            self._frames([size], None, seed * len(sizes) + number, phase.steps * batch)
            for number, (size, batch) in enumerate(zip(sizes, batches, strict=True))
        ]
        chosen = []
        for step in range(self.step, phase.steps):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            number = int(torch.randint(len(sizes), (1,), generator=generator))
            first = sum(map(len, sets[:number])) + step * batches[number]
            chosen.append(range(first, first + batches[number]))
        return DataLoader(ConcatDataset(sets), batch_sampler=chosen, num_workers=self.config.data.workers)

    def _frames(
        self,
        sizes: Sequence[tuple[int, int]],
        crop: int | None,
        seed: int,
        count: int,
        batch: int = 1,
        presets: dict[str, float] | None = None,
    ) -> DegradedFrames:
        data = self.config.data
        return DegradedFrames(
            self.images,
            presets or data.presets,
            sizes,
            crop,
            seed,
            count,
            batch=batch,
            odds=self.odds,
            tone=data.tone,
        )

    # ------------------------------------------------------------------------------------------- the DEM alone

    def _drawn_from_pool(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """Frames drawn again and again from a pool made once: making one costs as much as learning from it."""
        phase, sizes = self.config.estimator, self.config.data.frames
        pool = self._known_pool()
        for step in range(self.step, phase.steps):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            part = pool[int(torch.randint(len(sizes), (1,), generator=generator))]
            # as many pixels in every step, whatever the size of the frames
            count = max(2, phase.batch * math.prod(sizes[0]) // part.frames[0].numel())
            chosen = torch.randint(len(part.frames), (count,), generator=generator)
            seen = as_input(part.frames[chosen])
            batch = {"factors": part.factors[chosen]}
            if torch.rand(1, generator=generator).item() < phase.shuffle:
                seen = shuffled(seen, self.config.backbone.dem["patch_size"], generator)
            elif phase.anchor and not self.fresh:  # no earlier vectors are known of shuffled frames
                batch["vectors"] = part.vectors[chosen]
            yield batch | {"frame": seen}

    def _known_pool(self) -> list[PoolPart]:
        if self.pool is None:
            self.pool = self._make_pool(self.config.data.frames)
        return self.pool

    def _make_pool(self, sizes: Sequence[tuple[int, int]]) -> list[PoolPart]:
        """Frames of each size, with the vectors that the DEM of ``run.init`` gives for as many as are needed."""
        earlier = None
        if self.run.init is not None:
            earlier = load_weights(self.run.init / "weights.safetensors").estimator.to(self.device)
        data, pool = self.config.data, []
        for number, size in enumerate(sizes):
            seed = self.run.seed + 1000 + number
            samples = self._frames([size], 16, seed, data.pool // len(sizes), presets=data.seen)
            loader = DataLoader(samples, 50, num_workers=os.cpu_count() or 1)
            made = [
                (torch.round((batch["frame"] + 1) * 127.5).to(torch.uint8), batch["factors"])
                for batch in tqdm(loader, "pool", dynamic_ncols=True, mininterval=5)
            ]
            frames = torch.cat([part for part, _ in made])
            # the translation is fitted to the first in any case
            needed = len(frames) if self.config.estimator.anchor else FITTED
            vectors = self._read(earlier, frames[:needed]) if earlier else torch.empty(len(frames), 0)
            pool.append(PoolPart(frames, torch.cat([factors for _, factors in made]), vectors))
        return pool

    def _read(self, estimator: nn.Module, frames: Tensor) -> Tensor:
        return read_vectors(estimator, frames, self.device, bfloat16=self.run.dtype == "bfloat16")

    def _fit(self, wanted: Mapping[nn.Linear, Sequence[Tensor]]) -> None:
        """Fit linear layers on the DEM's vectors to their outputs for the parts of the pool."""
        vectors = torch.cat([self._read(self.model.estimator, part.frames[:FITTED]) for part in self._known_pool()])
        fit_linear(vectors, {layer: [part[:FITTED] for part in outputs] for layer, outputs in wanted.items()})

    def _prepare_dem(self) -> None:
        """Make the pool, and at the first step the starting values of read-outs and of a DEM from nothing."""
        pool, model = self._known_pool(), self.model
        if self.step:
            return
        if self.new_dem:
            generator = torch.Generator().manual_seed(self.run.seed)
            frames = as_input(pool[0].frames[:SEEN_AT_START])
            start_seeing(model.estimator, frames.to(self.device), generator)
        wanted = {model.probe: [part.factors for part in pool]}
        if not self.fresh:
            wanted[model.translation] = [part.vectors for part in pool]
        self._fit(wanted)

    # ------------------------------------------------------------------------------------------- phases

    def all_phases(self) -> None:
        """From the position of the checkpoint to the end; KeyboardInterrupt passes through, after a checkpoint."""
        while True:
            if self.config.phase(PHASES[self.phase]).steps:
                self._run_phase(PHASES[self.phase])
            if PHASES[self.phase] == PHASES[-1]:
                return
            self.phase, self.step, self.optimiser_state = self.phase + 1, 0, None
            if PHASES[self.phase] == "autoencoder":
                self.pool = None
            self.average.restart()
            self.save()

    def _trained_parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters that a phase trains; all others are frozen."""
        model = self.model
        if name == "estimator":
            parts = [model.estimator, model.probe, model.translation]
        elif name == "autoencoder":
            parts = [model.vae]
        elif name == "whole":  # half the cost: shading and brightness are the UNet's, and P is known by now
            parts = [model.unet, model.adapter.layers["unet"], model.adapter.heads["unet"], model.adapter.conv_in]
        else:
            parts = [part for child, part in model.named_children() if child != "estimator"]
            parts += [part for child, part in model.estimator.named_children() if child != "backbone"]
        trained = {parameter for part in parts for parameter in part.parameters()}
        # A step of the optimiser moves all weights of a patch's filter towards brightness alike: fine structure drowns
        dino: Any = model.estimator.backbone
        trained -= set(dino.embeddings.patch_embeddings.parameters())
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in trained)
        return [parameter for parameter in model.parameters() if parameter in trained]

    def _run_phase(self, name: str) -> None:
        phase = self.config.phase(name)
        if self.step == 0 and name == "autoencoder" and self.fresh:
            crop = self.config.autoencoder.crop
            calibration = self._frames([(crop, crop)], crop, 0, CALIBRATED)
            clean = torch.stack([calibration[i]["clean"] for i in range(CALIBRATED)])
            self.model.start_as_copy(clean.to(self.device))
        if name == "estimator":
            self._prepare_dem()
        parameters = self._trained_parameters(name)
        optimiser = torch.optim.AdamW(
            parameters, lr=phase.lr, betas=(0.9, 0.99), weight_decay=self.run.weight_decay, fused=True
        )
        if self.optimiser_state is not None:
            optimiser.load_state_dict(self.optimiser_state)
        with open(self.run.output / "log.csv", "a", newline="", encoding="utf-8") as file:
            try:
                self._descend(name, phase, optimiser, parameters, file)
            finally:
                self.save(optimiser)
        if name == "estimator" and not self.fresh:
            self._fit({self.model.translation: [part.vectors for part in self._known_pool()]})
            self.model.translate()

    def _descend(
        self, name: str, phase: Phase, optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], file: TextIO
    ) -> None:
        """The remaining steps of a phase, with one line per step in the log."""
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(("phase", "step", "loss", "mse", "lr", "grad_norm", "seconds"))
        started = time.monotonic()
        fall = (phase.warmup + 1, phase.steps + 1)
        bar = tqdm(self._samples(name), name, initial=self.step, total=phase.steps, dynamic_ncols=True, mininterval=5)
        for batch in bar:
            rate = learning_rate(self.step + 1, peak=phase.lr, warmup=phase.warmup, fall=fall, floor=SLOWEST)
            set_rate([optimiser], rate)
            loss, error = self._loss(name, {key: value.to(self.device) for key, value in batch.items()})
            loss.backward()
            norm = clipped_step(optimiser, parameters, self.run.clip)  # where it is not finite, the log shows it
            self.step += 1
            self.average.update(min(self.run.ema, (1 + self.step) / (10 + self.step)))
            bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
            seconds = time.monotonic() - started
            writer.writerow((name, self.step, loss.item(), error.item(), rate, norm, seconds))
            if self.step % self.run.checkpoint_every == 0:
                self.save(optimiser)
                file.flush()

    def _loss(self, name: str, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the mean squared error for the log."""
        model, weights = self.model, self.config.loss
        dtype = getattr(torch, self.run.dtype)
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            if name == "autoencoder":
                output, target, extra = model.reconstruct(batch["clean"]), batch["clean"], 0.0
            else:
                vectors = model.estimate(batch["frame"])
                extra = factor_loss(model.probe(vectors).float(), batch["factors"])
                if name == "estimator":
                    return self._with_anchor(extra, vectors, batch), extra.detach()
                strength = draw_strength(self.run, torch.Generator().manual_seed(self.run.seed + self.step))
                output = model(batch["degraded"], vectors, strength)
                target = batch["clean"]
                if strength != 1:
                    target = torch.lerp(batch["degraded"], target, strength)
        output = output.float()
        # at partial strengths the target is mostly the input: a dB of copying is worth nothing
        log_weight = weights.log if target is batch["clean"] else 0.0
        loss = reconstruction_loss(output, target, log_weight, weights.ssim) + weights.factors * extra
        return loss, F.mse_loss(output, target).detach()

    def _with_anchor(self, loss: Tensor, vectors: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """The loss of the DEM, plus how little of an earlier DEM's vectors can be read from the new ones."""
        if "vectors" not in batch:
            return loss
        earlier = batch["vectors"]
        missing = F.mse_loss(self.model.translation(vectors).float(), earlier) / earlier.var(dim=0).mean()
        return loss + self.config.estimator.anchor * missing


def export(config: PretrainingConfig) -> list[Path]:
    """Write the averaged parameters of the checkpoint as the two files that inference loads.

    Args:
        config: of the run.

    Returns:
        ``backbone.safetensors`` and ``weights.safetensors`` in the folder of the run.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: the checkpoint belongs to another configuration, or cannot be read.
    """
    output = config.run.output
    path = output / CHECKPOINT
    if not path.exists():
        raise FileNotFoundError(f"no {CHECKPOINT} in {output}: train first, or set run.output to the folder of a run")
    state = read_checkpoint(path, config.fixed())
    model = TrainableNetworks(config)
    model.load_state_dict(state["model"])
    average = Average(dict(model.named_parameters()))
    average.restore(state["average"])
    steps = {name: config.phase(name).steps for name in PHASES[: state["phase"]]}
    training = {
        "strategy": "pretraining",
        "start": "an earlier export" if config.run.init else "nothing",
        "steps": steps | {PHASES[state["phase"]]: state["step"]},
        "batch": {name: config.phase(name).batch for name in PHASES if config.phase(name).steps},
        "seed": config.run.seed,
        "degradations": config.data.presets,
    }
    files = [output / "backbone.safetensors", output / "weights.safetensors"]
    with average.applied():
        save_backbone(model.backbone, files[0])
        weights = Weights(model.estimator, model.adapter, model.text_embedding, model.backbone.name, training)
        save_weights(weights, files[1], dtype=torch.float16)
    return files
