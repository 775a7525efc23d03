"""Fit how much of the model's change an image gets, by its degradation vector, and store it in the weights file.

    python train/probing/restraint.py --images CLEAN --held-out OTHERS --output spared.safetensors          # hidra-tiny's
    python train/probing/restraint.py --weights mine.safetensors --backbone my-backbone --images CLEAN --output …

Clean images are degraded by presets from ruined to untouched and enhanced. The squared error of a blend of input and
output is a quadratic in the two shares, of low and of high frequencies, so that the shares that lose the fewest dB on
average over all frames, as a logistic function of the vector, are found without running the networks again. Clean
images get a random gamma: the networks may know the brightness of those that they were trained on by heart. Figures
are measured on --held-out. Writes a copy of the weights file with the restraint in it; everything else stays bit for
bit. About a quarter of an hour on two processor cores.

Source: none, this is an addition to HiDRA.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script from anywhere

from typing import TYPE_CHECKING

from hidra_core import degradations
from hidra_core.backbone import Backbone, load_backbone
from hidra_core.enhance import enhance, estimate
from hidra_core.images.blend import CUTOFF, lowpass
from hidra_core.readouts import BANDS, Restraint
from hidra_core.weights import Weights, add_restraint, load_weights
from train.probing.labelled import MIXTURES, add_options, add_output_options, check_output, drawn_frames, load_split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger("train")

FRAMES = {
    "composite": 2,
    "mild": 1,
    "severe": 1,
    "extreme": 1,
    "fpn": 1,
    "sr-x2": 1,
    "field": 4,
    "field-mild": 2,
    "untouched": 1,
}
"""Presets from ruined to untouched, and frames an image of each: most where some need all of the change, some none."""

TONE = 0.15
"""Deviation of the logarithm of the gamma of clean images."""

PENALTY = 0.002
"""Weight of the squared weights of the standardised vector, beside the mean logarithm of the squared error."""

UNSEEN = 1 / 255**2
"""The square of one grey level, which nobody sees, is added to every error: an untouched image counts no more."""

STEPS = 60
"""Iterations of the optimiser at most."""

DOUBT = 2.0
"""The logit of the low frequencies' share is doubled and raised by this: in doubt (a half) nearly all of it is taken.

Contrast and brightness that are not given back cost many dB, those that are given in vain few; detail costs as much
either way.
"""


@dataclass(frozen=True)
class Blends:
    """What the error of every blend follows from, for ``N`` frames.

    Attributes:
        vectors: ``P``, ``[N, 256]``.
        error: mean squared error of the inputs, ``[N]``.
        gain: mean of the wanted change times the low, the high part of the model's change, ``[N, 2]``.
        power: means of the products of those parts, ``[N, 2, 2]``.
        recipes: name of the preset of each.
    """

    vectors: Tensor
    error: Tensor
    gain: Tensor
    power: Tensor
    recipes: np.ndarray

    def squared_error(self, shares: Tensor) -> Tensor:
        """Mean squared errors ``[N]`` of the blends with these shares ``[N, 2]`` or ``[2]``."""
        shares = shares.expand(len(self.error), len(BANDS))
        quadratic = torch.einsum("ni,nij,nj->n", shares, self.power, shares)
        return self.error - 2 * (shares * self.gain).sum(dim=1) + quadratic


def blends(
    images: Sequence[np.ndarray],
    draws: Mapping[str, int],
    weights: Weights,
    backbone: Backbone,
    frame: tuple[int, int],
    seed: int,
    tone: float,
) -> Blends:
    """Degrade every image by every preset, enhance it, and keep what :class:`Blends` holds.

    Args:
        images: clean, grey uint8 ``[H, W]``.
        draws: frames an image for each of :data:`FRAMES`.
        weights, backbone: the pair that is to be restrained.
        frame: height and width that images are brought to.
        seed: draw ``d`` of preset ``r`` on image ``i`` depends on ``(seed, i, r, d)`` alone.
        tone: deviation of the logarithm of the gamma.
    """
    vectors, errors, gains, powers, recipes = [], [], [], [], []
    for drawn in drawn_frames(images, draws, frame, seed):
        clean = drawn.clean ** math.exp(tone * torch.randn(1, generator=drawn.generator).item())
        preset = MIXTURES.get(drawn.recipe, drawn.recipe)  # it has the untouched
        seen = degradations.apply(clean, degradations.sample(preset, drawn.generator)).movedim(1, -1)
        degradation = estimate(seen, weights)
        change = enhance(seen, backbone, degradation, restraint=False)[0] - seen[0]
        low = lowpass(change, CUTOFF)
        parts = torch.stack([low, change - low]).flatten(1).double()
        wanted = (clean[0, 0, ..., None] - seen[0]).flatten().double()
        vectors.append(degradation.vectors[0].double())
        errors.append(wanted.square().mean())
        gains.append(parts @ wanted / len(wanted))
        powers.append(parts @ parts.T / len(wanted))
        recipes.append(drawn.recipe)
    return Blends(torch.stack(vectors), torch.stack(errors), torch.stack(gains), torch.stack(powers), np.array(recipes))


def fit(found: Blends) -> tuple[Tensor, Tensor]:
    """Weight ``[2, 256]`` and bias ``[2]`` that lose the fewest dB on average, then moved by :data:`DOUBT`."""
    centre, spread = found.vectors.mean(dim=0), found.vectors.std(dim=0) + 1e-6
    standardised = (found.vectors - centre) / spread
    weight = torch.zeros(len(BANDS), standardised.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.ones(len(BANDS), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        shares = (standardised @ weight.T + bias).sigmoid()
        value = (found.squared_error(shares) + UNSEEN).log().mean() + PENALTY * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    unscaled = weight.detach() / spread
    scale, shift = torch.tensor([[2.0], [1.0]]).double(), torch.tensor([DOUBT, 0.0]).double()
    return scale * unscaled, scale[:, 0] * (bias.detach() - unscaled @ centre) + shift


def figures(found: Blends, restraint: Restraint) -> dict[str, dict[str, float]]:
    """For each preset the mean PSNR in dB of the input, of the whole change and of the restrained one, and the shares.

    One grey level is added to every error: an image that stays as it is has 48.1 dB.
    """
    shares = restraint.shares(found.vectors).double()
    errors = {
        "input": found.error,
        "unrestrained": found.squared_error(torch.ones(len(BANDS), dtype=torch.float64)),
        "restrained": found.squared_error(shares),
    }
    table = {}
    for name in FRAMES:
        chosen = torch.from_numpy(found.recipes == name)
        row = {kind: -10 * (error[chosen] + UNSEEN).log10().mean().item() for kind, error in errors.items()}
        row |= {f"{band} share": shares[chosen, index].mean().item() for index, band in enumerate(BANDS)}
        table[name] = {kind: round(value, 3) for kind, value in row.items()}
    return table


def as_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    columns = list(next(iter(table.values())))
    lines = ["| task | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{row[column]:.2f}" for column in columns) + " |" for name, row in table.items()
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__.split("Clean images")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--backbone", default="hidra-tiny", help="hidra-tiny, a folder or a file (default: hidra-tiny)")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        check_output(options)
        weights = load_weights(options.weights, dem_backbone=options.dem_backbone)
        backbone = load_backbone(options.backbone, dtype="fp32")
        fitting, held = load_split(options)
        log.info("%d images to fit on, %d held out", len(fitting), len(held))
        frame = tuple(options.frame)
        weight, bias = fit(blends(fitting, FRAMES, weights, backbone, frame, options.seed, TONE))
        fitted = {"images": len(fitting), "frame": list(frame), "seed": options.seed, "presets": FRAMES}
        restraint = Restraint(weight, bias, CUTOFF, fitted)
        draws = dict.fromkeys(FRAMES, options.draws)
        table = figures(blends(held, draws, weights, backbone, frame, options.seed + 1, 0.0), restraint)
        add_restraint(options.weights, Restraint(weight, bias, CUTOFF, fitted | {"figures": table}), options.output)
        sys.stdout.write(f"{as_markdown(table)}\nwrote {options.output}\n")
    except (ValueError, OSError) as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
