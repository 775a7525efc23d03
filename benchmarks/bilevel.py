r"""The cost of a training iteration: this project's order of operations and the published one, in one run.

    python benchmarks/bilevel.py                                          # hidra-tiny, 64² crops, any machine
    python benchmarks/bilevel.py --config sd-turbo data.crop=512 …        # the paper's setting, CUDA GPU

The published program updates on the reconstruction part and on the adversarial part of a loss one after the other, and
builds a new graph for each of ∂Ψ, ∂Φ/∂θ and ∂Φ/∂ω. At batch 2 and M = 2 the enhancer then runs forward on 20 images in
a bi-level iteration, and on 4 in an ordinary one. Here one graph of Ψ and one of Φ serve all: 8 and 2 images. Both
orders run in turn on the same batches; times are medians. Memory is the peak of one iteration in a process that has run
nothing else: the memory allocated by PyTorch on a GPU, that of the whole process on a CPU.

With the inputs that ``benchmarks/sd_turbo.py make FOLDER`` writes, it runs on any machine with every loss of the paper:

    TORCH_HOME=FOLDER/torch python benchmarks/bilevel.py --config sd-turbo model.backbone=FOLDER/sd-turbo \
        model.init=FOLDER/hidra-sd-turbo.safetensors model.dinov2=null loss.dino=FOLDER/dino-vitb16 \
        data.train=scenes data.crop=128 run.device=cpu
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from common import PeakMemory, in_own_process, options_of
from torch import Tensor

from hidra_core.evaluation.provenance import machine
from hidra_core.evaluation.tables import to_markdown
from train.method.config import Config, read_config
from train.method.solver import gradient, inner
from train.method.trainer import Trainer
from train.run import pick_accelerator

if TYPE_CHECKING:
    from collections.abc import Callable


class Published(Trainer):
    """The order of operations of the published program, with the formula of the paper."""

    def step(self, batches: list[dict[str, Tensor]]) -> dict[str, float]:
        """One iteration, see :meth:`~train.method.trainer.Trainer.step`.

        Args:
            batches: the micro-batches.

        Returns:
            Nothing to log.
        """
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
        outputs: list[Tensor] = []
        for part in parts:
            self.objective, outputs = part, []
            self._descend("theta", self.theta, gradient(self._lower_terms(batches, outputs, {}), self.theta))
        self.objective = whole
        if self.judged:
            self._discriminator_step(batches, outputs)
        return {}


ORDERS = {"published order": Published, "this project": Trainer}
ITERATIONS = ("ordinary", "bi-level")


def start(config: Config, orders: list[str]) -> tuple[dict[str, Trainer], dict[str, dict[str, Tensor]]]:
    """The trainers by order, and a batch for each kind of iteration.

    Args:
        config: configuration of the training.
        orders: of ``ORDERS``.
    """
    accelerator = pick_accelerator(config)
    trainers = {name: ORDERS[name](config, accelerator) for name in orders}
    loader = iter(trainers[orders[-1]].batches())
    return trainers, {kind: {k: v.to(accelerator.device) for k, v in next(loader).items()} for kind in ITERATIONS}


def peaks(config: Config, order: str) -> dict[str, float]:
    """Peak memory in GB of each kind of iteration, the optimisers' state included.

    Args:
        config: configuration of the training.
        order: of ``ORDERS``.
    """
    trainers, batches = start(config, [order])
    peak = {}
    trainers[order].step([batches["bi-level"]])  # from here on the optimisers have their state
    for kind, batch in batches.items():
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        memory = PeakMemory()
        with memory.watch():
            trainers[order].step([batch])
        peak[kind] = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else memory.peak
    return peak


def main() -> None:
    """Measure both orders and print a table."""
    parser = options_of(__doc__)
    parser.add_argument("--config", default="toy", help="configuration of the training (default: toy)")
    parser.add_argument("--repeats", type=int, default=3, help="iterations of each kind and order (default: 3)")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="changes to the configuration")
    options = parser.parse_intermixed_args()
    fixed = ["solver.strategy=bilevel", "solver.warmup_iterations=0", "solver.period=2", "run.output=/nowhere"]
    config = read_config(options.config, [*fixed, *options.overrides])
    memory = {order: in_own_process(peaks, config, order) for order in ORDERS}
    trainers, batches = start(config, list(ORDERS))
    seconds: dict[tuple[str, str], list[float]] = {}
    forwards: dict[tuple[str, str], int] = {}
    for _ in range(options.repeats + 1):  # the first round warms up
        for order, trainer in trainers.items():
            for kind, batch in batches.items():
                before = trainer.enhancer.images_enhanced
                started = time.perf_counter()
                trainer.step([batch])
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                seconds.setdefault((order, kind), []).append(time.perf_counter() - started)
                forwards[order, kind] = trainer.enhancer.images_enhanced - before
    what = f"{Path(config.model.backbone).name}, {config.data.crop}² crops, batch {config.run.batch}, M = "
    terms = f"{config.loss.perceptual} and {config.loss.adversarial} losses"
    print(f"{what}{config.solver.pipelines}, {terms}, {config.run.dtype}; {machine()}\n")
    rows = []
    for kind in reversed(ITERATIONS):
        base = statistics.median(seconds["published order", kind][1:])
        for order in ORDERS:
            median = statistics.median(seconds[order, kind][1:])
            numbers = (median, config.run.batch / median, base / median, memory[order][kind])
            rows.append([kind, order, str(forwards[order, kind]), *(f"{number:.2f}" for number in numbers)])
    print(to_markdown(["iteration", "order", "image-forwards", "s", "images/s", "ratio", "peak GB"], rows))


if __name__ == "__main__":
    main()
