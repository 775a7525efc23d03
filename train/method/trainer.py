"""One bi-level run: networks, optimisers, data, validation, checkpoints and export.

Source: HiDRA (CVPR 2026), bi-level optimisation; the gradients are those of ``solver.py``.
"""

from __future__ import annotations

import logging
import math
import signal
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from accelerate.utils import set_seed
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from hidra_core.images.files import atomic_path
from hidra_core.weights import save_weights
from train.method.checkpoints import load_checkpoint, save_checkpoint
from train.method.data import DegradedFrames, list_images, load_images, rendered_scenes
from train.method.discriminator import discriminator_loss
from train.method.losses import LearnedPerceptual, Objective, build_objective, missing_vgg
from train.method.model import Enhancer, build_enhancer
from train.method.optimisation import Average, clipped_step, learning_rate, set_rate
from train.method.solver import Term, gradient, hypergradient
from train.method.validation import measure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from accelerate import Accelerator

    from train.method.config import Config, Solver

log = logging.getLogger("train")

HELD_OUT_EVERY = 20
"""Of the training images every so many-th is held out for validation, where the configuration names no others."""

SLOWEST = 0.01
"""Share of the learning rate at the end of the cosine schedule."""


def needs_upper_level(iteration: int, solver: Solver) -> bool:
    """Whether an iteration moves the upper level.

    Args:
        iteration: counted from 1.
        solver: strategy, warm-up and period.
    """
    if solver.strategy not in ("bilevel", "alternating"):
        return False
    return iteration > solver.warmup_iterations and iteration % solver.period == 0


def clean_images(config: Config) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The clean images of a run.

    Args:
        config: of the run.

    Returns:
        Training and validation images, grey uint8 ``[H, W]``.

    Raises:
        FileNotFoundError: no usable images for either.
    """
    data = config.data
    least = max(data.crop, min((min(size) for size in data.frames or ()), default=0))
    if data.train == "scenes":
        side = max(256, least)
        images = rendered_scenes(60, side, side)
    else:
        images = [image for _, image in load_images(list_images(Path(data.train), data.train_list), least)]
    if data.val is not None:
        return images, [image for _, image in load_images(list_images(Path(data.val), data.val_list), least)]
    held_out = images[::HELD_OUT_EVERY]
    rest = [image for index, image in enumerate(images) if index % HELD_OUT_EVERY]
    return rest or images, held_out


Log = dict[str, Any]
"""Numbers to log by name: one, or the list of those of every part of a loss, of which the log shows the mean."""


class Trainer:
    """One run: its networks, optimisers, data and position.

    Args:
        config: of the run.
        accelerator: device and processes.

    Attributes:
        iteration: iterations finished so far.
        best: the highest validation PSNR so far, in dB.
        stop: whether the run is to end after the current iteration.
    """

    def __init__(self, config: Config, accelerator: Accelerator) -> None:
        self.config = config
        self.accelerator = accelerator
        self.output = config.run.output
        self.device = accelerator.device
        set_seed(config.run.seed)  # before anything with random weights is built
        loss = config.loss
        self.objective: Objective = build_objective(
            mse=loss.mse,
            perceptual=loss.perceptual,
            perceptual_weight=loss.perceptual_weight,
            adversarial=loss.adversarial,
            adversarial_weight=loss.adversarial_weight,
            dino=loss.dino,
        )
        self.train_images, self.val_images = clean_images(config)
        self.enhancer: Enhancer = build_enhancer(config, self.device)
        for module in (self.objective.perceptual, self.objective.discriminator):
            if module is not None:
                module.to(self.device)
        # validation reports LPIPS wherever its weights are there, trained on or not
        self.lpips = self.objective.perceptual if isinstance(self.objective.perceptual, LearnedPerceptual) else None
        if self.lpips is None and missing_vgg() is None:
            self.lpips = LearnedPerceptual().to(self.device)
        self.theta, self.omega = self.enhancer.theta(), self.enhancer.omega()
        judge = self.objective.discriminator
        self.judged = [p for p in judge.parameters() if p.requires_grad] if judge is not None else []
        self.optimisers = {
            name: torch.optim.AdamW(
                parameters,
                lr=config.optimiser.lr,
                betas=config.optimiser.betas,
                weight_decay=config.optimiser.weight_decay,
                eps=config.optimiser.eps,
            )
            for name, parameters in (("theta", self.theta), ("omega", self.omega), ("discriminator", self.judged))
            if parameters
        }
        self.average = Average(self.enhancer.trained()) if config.run.ema else None
        self.iteration = 0
        self.best = -math.inf
        self.stop = False

    # ------------------------------------------------------------------------------------------- one iteration

    def step(self, batches: list[dict[str, Tensor]]) -> Log:
        """One iteration: the upper level when it is due, then the lower.

        Args:
            batches: the micro-batches of this process, of :class:`~train.method.data.DegradedFrames`.

        Returns:
            Numbers to log by name.
        """
        solver, options = self.config.solver, self.config.optimiser
        self.iteration += 1
        fall = (options.lr_warmup, solver.iterations) if options.schedule == "cosine" else None
        rate = learning_rate(self.iteration, peak=options.lr, warmup=options.lr_warmup, fall=fall, floor=SLOWEST)
        set_rate(self.optimisers.values(), rate)
        values: Log = {"lr": rate}
        if "val_degraded" in batches[0]:
            values |= self._upper_step(batches)
        together = solver.strategy == "joint" or self.iteration <= solver.warmup_iterations
        moving = [*self.theta, *self.omega] if together else self.theta
        outputs: list[Tensor] = []
        gradients = gradient(self._lower_terms(batches, outputs, values), moving, self._reduce)
        values |= self._descend("theta", self.theta, gradients[: len(self.theta)])
        if together and self.omega:
            values |= self._descend("omega", self.omega, gradients[len(self.theta) :])
        if self.judged:
            values |= self._discriminator_step(batches, outputs)
        if self.average is not None:
            self.average.update(self.config.run.ema)
        return values

    def _upper_step(self, batches: list[dict[str, Tensor]]) -> Log:
        """ω descends G, at the θ that the last T lower steps led to."""
        solver = self.config.solver
        psi: Log = {}
        upper = hypergradient(
            self._upper_terms(batches, psi),
            self._lower_terms(batches, [], {}),
            self.theta,
            self.omega,
            weight=solver.nested_weight if solver.strategy == "bilevel" else 0.0,
            reduce=self._reduce,
        )
        if upper.skipped:
            log.warning("iteration %d: nested term skipped, %s", self.iteration, upper.skipped)
        values = self._descend("omega", self.omega, upper.gradient)
        parts = {"ratio": upper.ratio, "direct_norm": upper.direct_norm, "nested_norm": upper.nested_norm}
        return values | {f"upper/{name}": value for name, value in (psi | parts).items()}

    def _term(self, degraded: Tensor, frame: Tensor, clean: Tensor, outputs: list[Tensor], values: Log) -> Term:
        @contextmanager
        def term() -> Iterator[Tensor]:
            with self.enhancer.enhanced(degraded, frame) as output:
                loss, parts = self.objective(output, clean)
                outputs.append(output.detach())
                for name, value in ({"loss": loss.item()} | parts).items():
                    values.setdefault(name, []).append(value)
                yield loss

        return term

    def _lower_terms(self, batches: list[dict[str, Tensor]], outputs: list[Tensor], values: Log) -> list[Term]:
        """Φ on D_tr."""
        return [self._term(b["degraded"], b["frame"], b["clean"], outputs, values) for b in batches]

    def _upper_terms(self, batches: list[dict[str, Tensor]], values: Log) -> list[Term]:
        """Ψ on D_val, one graph per pipeline, so that memory holds one at a time."""
        return [
            self._term(b["val_degraded"][:, m], b["val_frame"][:, m], b["clean"], [], values)
            for b in batches
            for m in range(self.config.solver.pipelines)
        ]

    def _descend(self, name: str, parameters: list[nn.Parameter], gradients: list[Tensor]) -> dict[str, float]:
        for parameter, grad in zip(parameters, gradients, strict=True):
            parameter.grad = grad
        norm = clipped_step(self.optimisers[name], parameters, self.config.optimiser.clip)
        if not math.isfinite(norm):
            log.warning("iteration %d: the gradient of %s is not finite; it did not move", self.iteration, name)
        return {f"grad/{name}": norm}

    def _discriminator_step(self, batches: list[dict[str, Tensor]], outputs: list[Tensor]) -> dict[str, float]:
        """The discriminator learns from the images that the lower step enhanced."""
        judge = cast("nn.Module", self.objective.discriminator)  # there is one where its parameters are judged
        losses = []

        def term(real: Tensor, fake: Tensor) -> Term:
            @contextmanager
            def block() -> Iterator[Tensor]:
                loss = discriminator_loss(judge, real, fake)
                losses.append(loss.item())
                yield loss

            return block

        terms = [term(batch["clean"], fake) for batch, fake in zip(batches, outputs, strict=True)]
        values = self._descend("discriminator", self.judged, gradient(terms, self.judged, self._reduce))
        return values | {"discriminator": sum(losses) / len(losses)}

    def _reduce(self, gradients: list[Tensor]) -> list[Tensor]:
        """Mean over processes, as one message."""
        if self.accelerator.num_processes == 1 or not gradients:
            return gradients
        flat = torch.cat([grad.float().flatten() for grad in gradients])
        flat = cast("Tensor", self.accelerator.reduce(flat, "mean"))
        parts = flat.split([grad.numel() for grad in gradients])
        return [part.view_as(grad) for part, grad in zip(parts, gradients, strict=True)]

    # ------------------------------------------------------------------------------------------------ the run

    def batches(self) -> DataLoader[dict[str, Tensor]]:
        """Micro-batches of this process from the current iteration on; sample i depends on the seed and i alone."""
        run, data, solver = self.config.run, self.config.data, self.config.solver
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        together = run.accumulation * world  # batches in an iteration, over all processes
        dataset = DegradedFrames(
            self.train_images,
            data.presets,
            data.frames,
            data.crop,
            run.seed,
            solver.iterations * together * run.batch,
            batch=run.batch,
            batches_per_iteration=together,
            pipelines=solver.pipelines,
            upper=partial(needs_upper_level, solver=solver),
            tone=data.tone,
        )
        first, last = self.iteration * together, solver.iterations * together
        mine = [batch * run.batch + image for batch in range(first + rank, last, world) for image in range(run.batch)]
        return DataLoader(dataset, run.batch, sampler=mine, num_workers=data.workers, drop_last=True)

    def run(self) -> None:
        """From the newest checkpoint to the end, or until a signal asks to stop; validates, saves and exports."""
        run, solver = self.config.run, self.config.solver
        self.resume()
        if self.accelerator.is_main_process:
            self.config.write(self.output / "config.yaml")
        bar = tqdm(
            total=solver.iterations,
            initial=self.iteration,
            desc=solver.strategy,
            dynamic_ncols=True,
            disable=not self.accelerator.is_main_process,
        )
        collected: list[dict[str, Tensor]] = []
        with self._signals(), bar, self._writer() as writer:
            for batch in self.batches():
                collected.append({key: value.to(self.device) for key, value in batch.items()})
                if len(collected) < run.accumulation:
                    continue
                values = {name: float(np.mean(value)) for name, value in self.step(collected).items()}
                collected = []
                bar.update()
                bar.set_postfix({k: f"{values[k]:.4g}" for k in ("loss", "mse") if k in values}, refresh=False)
                upper = any(name.startswith("upper/") for name in values)
                if writer is not None and (upper or self.iteration % run.log_every == 0):
                    for name, value in values.items():
                        writer.add_scalar(name, value, self.iteration)
                last = self.iteration == solver.iterations
                stop = self._anyone_stops()
                if self.iteration % run.validate_every == 0 or last:
                    self.validate(writer)
                if self.iteration % run.checkpoint_every == 0 or last or stop:
                    self.save()
                if stop:
                    log.info("stopped after iteration %d; the same command continues from there", self.iteration)
                    return
        self.export("weights.safetensors")

    @contextmanager
    def _writer(self) -> Iterator[Any]:
        """The writer of the main process, None in the others; however the run ends, nothing that was logged is lost."""
        if not self.accelerator.is_main_process:
            yield None
            return
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(self.output / "tensorboard", purge_step=self.iteration + 1) as writer:
            yield writer

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the iteration; a second one at once."""

        def handle(*_: object) -> None:
            if self.stop:
                raise KeyboardInterrupt
            self.stop = True

        before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _anyone_stops(self) -> bool:
        if self.accelerator.num_processes == 1:
            return self.stop
        wish = torch.tensor(float(self.stop), device=self.device)
        return cast("Tensor", self.accelerator.reduce(wish, "sum")).item() > 0

    # ----------------------------------------------------------------------------------- checkpoints and export

    def save(self) -> None:
        """Write a checkpoint, from the main process."""
        if self.accelerator.is_main_process:
            judge = self.objective.discriminator
            state = {
                "config": self.config.fixed(),
                "trained": {name: p.detach() for name, p in self.enhancer.trained().items()},
                "average": self.average.values if self.average is not None else {},
                "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
                "discriminator": None if judge is None else _without_backbone(judge),
                "best": self.best,
            }
            save_checkpoint(self.output, self.iteration, state, self.config.run.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def resume(self) -> None:
        """Continue from the newest checkpoint of ``run.output``, if there is one.

        Raises:
            ValueError: it belongs to another configuration, or cannot be read.
        """
        state = load_checkpoint(self.output, self.config.fixed())
        if state is None:
            return
        with torch.no_grad():
            for name, parameter in self.enhancer.trained().items():
                parameter.copy_(state["trained"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        if self.objective.discriminator is not None:
            self.objective.discriminator.load_state_dict(state["discriminator"], strict=False)
        if self.average is not None:
            self.average.restore(state["average"])
        self.iteration, self.best = state["iteration"], state["best"]
        log.info("resumed at iteration %d of %d", self.iteration, self.config.solver.iterations)

    def averaged(self) -> AbstractContextManager[None]:
        """Within the block the networks have the averaged parameters, where the run keeps an average."""
        return self.average.applied() if self.average is not None else nullcontext()

    def export(self, name: str) -> None:
        """Write a weights file, from the main process.

        Args:
            name: of the file, in the folder of the run.
        """
        if not self.accelerator.is_main_process:
            return
        training = {
            "strategy": self.config.solver.strategy,
            "iterations": self.iteration,
            "images": len(self.train_images),
            "batch": self.config.run.batch * self.config.run.accumulation * self.accelerator.num_processes,
            "seed": self.config.run.seed,
            "degradations": self.config.data.presets,
        }
        with self.averaged():
            save_weights(self.enhancer.weights(training), self.output / name, dtype=torch.float16)

    # -------------------------------------------------------------------------------------------- validation

    def validate(self, writer: Any) -> None:
        """Measure the networks on the validation images; write a sample sheet, and the weights if they are the best.

        Args:
            writer: of TensorBoard's logs; None in processes that write none.
        """
        if not self.accelerator.is_main_process:
            return
        images = self.val_images[: self.config.run.validation_images]
        with self.averaged():
            scores, sheet = measure(self.enhancer, images, self.config.data.presets, self.device, self.lpips)
        told = ", ".join(
            f"{label} {scores[name]:.{digits}f} (degraded {scores[f'{name}_degraded']:.{digits}f})"
            for name, label, digits in (("psnr", "PSNR dB", 2), ("ssim", "SSIM", 3), ("lpips", "LPIPS", 3))
            if name in scores
        )
        log.info("iteration %d, %d validation images: %s", self.iteration, len(images), told)
        with atomic_path(self.output / "samples.png") as temporary:
            Image.fromarray(sheet).save(temporary)
        if writer is not None:
            for name, value in scores.items():
                writer.add_scalar(f"validation/{name}", value, self.iteration)
            writer.add_image("validation/degraded, enhanced, clean", sheet, self.iteration, dataformats="HW")
        if scores["psnr"] > self.best:
            self.best = scores["psnr"]
            self.export("best.safetensors")


def _without_backbone(discriminator: nn.Module) -> dict[str, Tensor]:
    return {name: t for name, t in discriminator.state_dict().items() if not name.startswith("backbone.")}
