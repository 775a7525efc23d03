"""What one training iteration costs: this project's order of operations beside the published one, in one run.

    python benchmarks/bilevel.py                                          # hidra-tiny, 64² crops, any machine
    python benchmarks/bilevel.py --config sd-turbo data.crop=512 …        # the paper's setting, CUDA GPU

The published program updates on the reconstruction and on the adversarial part of a loss one after the other, and
builds a graph anew for each of ∂Ψ, ∂Φ/∂θ and ∂Φ/∂ω: 20 image-forwards of the enhancer in a bi-level iteration at batch
2 and M = 2, 4 in an ordinary one. Here one graph of Ψ and one of Φ serve all: 8 and 2. Both orders run in turn on the
same batches; times are medians, memory is the peak over one iteration (on a CPU: of the process, both orders' networks
included).
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import PeakMemory, machine
from torch import Tensor

from train import run
from train.config import read_config
from train.solver import gradient, inner


class Published(run.Trainer):
    """The order of operations of the published program, on the formula of the paper."""

    def step(self, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        self.iteration += 1
        whole = self.objective
        parts = [dataclasses.replace(whole, discriminator=None)]
        if whole.discriminator is not None:
            parts.append(dataclasses.replace(whole, mse_weight=0.0, perceptual=None))

        def total(terms: Callable[[], list], parameters: list) -> list[Tensor]:
            gradients = []
            for part in parts:
                self.objective = part
                gradients.append(gradient(terms(), parameters))
            self.objective = whole
            return [torch.stack(group).sum(0) for group in zip(*gradients, strict=True)]

        if "val_degraded" in batches[0]:
            psi = total(lambda: self._upper_terms(batches, {}), [*self.theta, *self.omega])
            phi_theta = total(lambda: self._lower_terms(batches, [], {}), self.theta)
            phi_omega = total(lambda: self._lower_terms(batches, [], {}), self.omega)
            ratio = inner(psi[: len(self.theta)], phi_theta) / inner(phi_theta, phi_theta)
            self._descend(
                "omega", self.omega, [a - ratio * b for a, b in zip(psi[len(self.theta) :], phi_omega, strict=True)]
            )
        for part in parts:
            self.objective, outputs = part, []
            self._descend("theta", self.theta, gradient(self._lower_terms(batches, outputs, {}), self.theta))
        self.objective = whole
        if self.judged:
            self._discriminator_step(batches, outputs)
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="toy")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    options = parser.parse_intermixed_args()
    fixed = ["solver.strategy=bilevel", "solver.warmup_iterations=0", "solver.period=2", "run.output=/nowhere"]
    config = read_config(options.config, [*fixed, *options.overrides])
    accelerator = run.pick_accelerator(config)
    trainers = {"published order": Published(config, accelerator), "this project": run.Trainer(config, accelerator)}
    dataset = iter(trainers["this project"].batches())
    ordinary, bilevel = ({k: v.to(accelerator.device) for k, v in next(dataset).items()} for _ in range(2))
    cuda = accelerator.device.type == "cuda"
    seconds: dict[tuple[str, str], list[float]] = {}
    peaks: dict[tuple[str, str], float] = {}
    forwards: dict[tuple[str, str], int] = {}
    for _ in range(options.repeats + 1):  # the first round warms up
        for name, trainer in trainers.items():
            for kind, batch in (("ordinary", ordinary), ("bi-level", bilevel)):
                before = trainer.enhancer.images_enhanced
                if cuda:
                    torch.cuda.reset_peak_memory_stats()
                memory = PeakMemory()
                with memory.watch():
                    started = time.perf_counter()
                    trainer.step([batch])
                    if cuda:
                        torch.cuda.synchronize()
                    seconds.setdefault((name, kind), []).append(time.perf_counter() - started)
                peaks[name, kind] = torch.cuda.max_memory_allocated() / 1e9 if cuda else memory.peak
                forwards[name, kind] = trainer.enhancer.images_enhanced - before
    what = f"{Path(config.model.backbone).name}, {config.data.crop}² crops, batch {config.run.batch}, M = "
    print(f"{what}{config.solver.pipelines}, {config.run.dtype}; {machine()}\n")
    print("| iteration | order | image-forwards | s | images/s | ratio | peak GB |\n|---|---|---|---|---|---|---|")
    for kind in ("bi-level", "ordinary"):
        base = statistics.median(seconds["published order", kind][1:])
        for name in trainers:
            time_taken = statistics.median(seconds[name, kind][1:])
            print(
                f"| {kind} | {name} | {forwards[name, kind]} | {time_taken:.2f} | {config.run.batch / time_taken:.2f} "
                f"| {base / time_taken:.2f} | {peaks[name, kind]:.2f} |"
            )


if __name__ == "__main__":
    main()
