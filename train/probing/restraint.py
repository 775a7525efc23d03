"""Fit what share of the model's change an image gets, by its degradation vector, and store it in the weights file.

    python train/probing/restraint.py --images CLEAN --held-out OTHERS --output restrained.safetensors  # hidra-tiny's
    python train/probing/restraint.py --weights mine.safetensors --backbone my-backbone --images CLEAN --output …

Clean images are degraded by presets from ruined to untouched, pale ones among the untouched, and enhanced. The squared
error of a blend of input and output follows from two shares, that of low and that of high frequencies, and a third
where the weights have a corrector: how much of its word counts. The sensor stage sees every frame first, and the DEM
judges the frame before it, as in use. The shares are a logistic function of the vector, which is fitted to lose the
fewest dB on average over all frames; the error is quadratic in their products, so that the networks run only once per
frame. Clean images get a random gamma, as the networks may have learned the brightness of their training images by
heart. Figures are measured on --held-out. Writes a copy of the weights file with the restraint in it; everything else
stays bit for bit. Takes about a quarter of an hour on two processor cores.

Source: none, this is an addition to HiDRA.
"""

from __future__ import annotations

import logging
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script from anywhere

from hidra_core import degradations
from hidra_core.backbone import Backbone, load_backbone
from hidra_core.degradations import GREY_LEVELS, UNTOUCHED
from hidra_core.enhance import enhance, estimate
from hidra_core.evaluation.tables import to_markdown
from hidra_core.images.blend import CUTOFF, lowpass
from hidra_core.readouts import BANDS, PARTS, Restraint
from hidra_core.sensor import SensorSettings, undo_sensor
from hidra_core.weights import Weights, add_restraint, load_weights
from train.probing.labelled import MIXTURES, drawn_frames, load_split
from train.probing.program import add_output_options, check_output, parser_of, run

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

log = logging.getLogger("train")

FRAMES = {
    "composite": 2,
    "mild": 1,
    "severe": 1,
    "extreme": 1,
    "hard": 1,
    "fpn": 1,
    "sr-x2": 1,
    "field": 4,
    "field-mild": 3,
    "untouched": 3,
    "pale": 3,
}
"""Presets from ruined to untouched, and frames per image of each: most where images differ most in their need."""

PALE = "pale"
"""Untouched frames of images whose range is narrow by nature, as in haze or of evenly warm scenes.

Clean images of data sets fill the range of grey. Without these frames, whatever does not was taken for faded.
"""

PALE_RANGE = (0.6, 0.9)
"""Share of its range that such an image has; below, it is a flat one that is to be made clear."""

UNRECORDED = MIXTURES | {PALE: UNTOUCHED}
"""Presets that have no name in the library."""

TONE = 0.15
"""Deviation of the logarithm of the gamma of clean images."""

PENALTY = 0.002
"""Weight of the squared weights of the standardised vector in the loss, the mean logarithm of the squared error."""

UNSEEN = 1 / 255**2
"""The square of one grey level, which nobody sees, is added to every error: images without error do not dominate."""

STEPS = 60
"""The largest number of iterations of the optimiser."""

DOUBT = 2.0
"""The logit of the low frequencies' share is doubled and raised by this: in doubt (a half) nearly all of it is applied.

Contrast and brightness that are not restored cost many dB, those that are restored in vain few; detail costs as much
either way. With a corrector there is none of this: it says itself how sure it is.
"""


@dataclass(frozen=True)
class Blends:
    """The numbers from which the error of every blend follows, for ``N`` frames.

    Attributes:
        vectors: ``P``, ``[N, 256]``.
        error: mean squared error of the inputs, ``[N]``.
        gain: mean of the wanted change times the low and times the high part of the networks' change, and, if there is
            a corrector, times those of the change that it asks of their output, ``[N, 2]`` or ``[N, 4]``.
        power: means of the products of those parts, ``[N, 2, 2]`` or ``[N, 4, 4]``.
        presets: name of the preset of each, ``[N]``.
    """

    vectors: Tensor
    error: Tensor
    gain: Tensor
    power: Tensor
    presets: np.ndarray

    @property
    def parts(self) -> tuple[str, ...]:
        """Which of the parts of a restraint there are: :data:`~hidra_core.readouts.BANDS` or ``PARTS``."""
        return BANDS if self.gain.shape[1] == len(BANDS) else PARTS

    def squared_error(self, shares: Tensor) -> Tensor:
        """Mean squared errors ``[N]`` of the blends with these shares of the parts, ``[N, parts]`` or ``[parts]``."""
        shares = shares.expand(len(self.error), len(self.parts))
        if self.parts != BANDS:  # what the bands let pass of the networks, and of the corrector's word
            bands, corrector = shares.split([len(BANDS), 1], dim=1)
            shares = torch.cat([bands, bands * bands[:, :1] * corrector], dim=1)
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
        draws: frames per image for each of :data:`FRAMES`.
        weights: that are to be restrained.
        backbone: that they are used with.
        frame: height and width in pixels that images are brought to.
        seed: draw ``d`` of preset ``p`` on image ``i`` depends on ``(seed, i, p, d)`` alone.
        tone: deviation of the logarithm of the gamma.

    Returns:
        The numbers of all frames.
    """
    vectors, errors, gains, powers, presets = [], [], [], [], []
    for drawn in drawn_frames(images, draws, frame, seed):
        clean = drawn.clean ** math.exp(tone * torch.randn(1, generator=drawn.generator).item())
        if drawn.preset == PALE:
            low, high = PALE_RANGE
            share, place = torch.rand(2, generator=drawn.generator).tolist()
            share = low + (high - low) * share
            clean = share * clean + place * (1 - share)
        preset = UNRECORDED.get(drawn.preset, drawn.preset)
        seen = degradations.apply(clean, degradations.sample(preset, drawn.generator)).movedim(1, -1)
        degradation = estimate(seen, weights)
        undone = _after_sensor(seen)
        enhanced = enhance(undone, backbone, degradation, restraint=False, corrector=False)
        change = enhanced[0] - undone[0]
        low = lowpass(change, CUTOFF)
        planes = [low, change - low]
        if weights.corrector is not None:
            before, after = (image.movedim(-1, 1) for image in (undone, enhanced))
            asked = weights.corrector.change(before, after, weights.corrector.read(before))[0].movedim(0, -1)
            low = lowpass(asked, CUTOFF)
            planes += [low, asked - low]
        parts = torch.stack(planes).flatten(1).double()
        wanted = (clean[0, 0, ..., None] - undone[0]).flatten().double()
        vectors.append(degradation.vectors[0].double())
        errors.append(wanted.square().mean())
        gains.append(parts @ wanted / len(wanted))
        powers.append(parts @ parts.T / len(wanted))
        presets.append(drawn.preset)
    return Blends(torch.stack(vectors), torch.stack(errors), torch.stack(gains), torch.stack(powers), np.array(presets))


def _after_sensor(seen: Tensor) -> Tensor:
    """What the networks get of ``[1, H, W, 1]``: the sensor stage has seen it, shading is left to them."""
    undone, _ = undo_sensor(seen[0, ..., 0].numpy(), SensorSettings(shading="off"), level=1 / GREY_LEVELS)
    return torch.from_numpy(undone).float().clamp(0, 1)[None, ..., None]


def fit(frames: Blends, kept: Restraint | None = None) -> tuple[Tensor, Tensor]:
    """Fit the logistic function that loses the fewest dB on average; without a corrector, move it by :data:`DOUBT`.

    Args:
        frames: of the images to fit on.
        kept: a restraint whose rows for the bands are left as they are.

    Returns:
        Weight and bias, one row for each part.
    """
    centre, spread = frames.vectors.mean(dim=0), frames.vectors.std(dim=0) + 1e-6
    standardised = (frames.vectors - centre) / spread
    weight = torch.zeros(len(frames.parts), standardised.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.ones(len(frames.parts), dtype=torch.float64, requires_grad=True)
    known = None if kept is None else kept.shares(frames.vectors)[:, : len(BANDS)].double()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        shares = (standardised @ weight.T + bias).sigmoid()
        if known is not None:
            shares = torch.cat([known, shares[:, len(BANDS) :]], dim=1)
        value = (frames.squared_error(shares) + UNSEEN).log().mean() + PENALTY * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    unscaled = weight.detach() / spread
    if kept is not None:
        rows = slice(len(BANDS), None)
        unscaled, bias = unscaled[rows], bias.detach()[rows]
        return torch.cat([kept.weight[: len(BANDS)], unscaled]), torch.cat(
            [kept.bias[: len(BANDS)], bias - unscaled @ centre]
        )
    if frames.parts != BANDS:
        return unscaled, bias.detach() - unscaled @ centre
    scale, shift = torch.tensor([[2.0], [1.0]]).double(), torch.tensor([DOUBT, 0.0]).double()
    return scale * unscaled, scale[:, 0] * (bias.detach() - unscaled @ centre) + shift


def figures(frames: Blends, restraint: Restraint) -> dict[str, dict[str, float]]:
    """How good a restraint is.

    Args:
        frames: of other images than it was fitted on.
        restraint: to measure.

    Returns:
        For each preset the mean PSNR in dB of the input, of the whole change (with a corrector: of the networks' and
        of the one with its low frequencies in place of theirs) and of the restrained one, and the mean shares. The
        square of one grey level is added to every error: an image without any error has 48.1 dB.
    """
    shares = restraint.shares(frames.vectors).double()
    networks, corrected = torch.tensor([[1, 1, 0], [1, 1, 1]], dtype=torch.float64)[:, : len(frames.parts)]
    errors = {"input": frames.error}
    if frames.parts == BANDS:
        errors["unrestrained"] = frames.squared_error(networks)
    else:
        errors |= {"networks": frames.squared_error(networks), "corrected": frames.squared_error(corrected)}
    errors["restrained"] = frames.squared_error(shares)
    table = {}
    for name in FRAMES:
        chosen = torch.from_numpy(frames.presets == name)
        row = {kind: -10 * (error[chosen] + UNSEEN).log10().mean().item() for kind, error in errors.items()}
        row |= {f"{part} share": shares[chosen, index].mean().item() for index, part in enumerate(frames.parts)}
        table[name] = {kind: round(value, 3) for kind, value in row.items()}
    return table


def as_markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The figures as a Markdown table with one row per preset."""
    columns = list(next(iter(table.values())))
    rows = [[name, *(f"{row[column]:.2f}" for column in columns)] for name, row in table.items()]
    return to_markdown(["task", *columns], rows)


def work(options: argparse.Namespace) -> str:
    """Do what the program is for, and return the text to print."""
    check_output(options)
    weights = load_weights(options.weights, dem_backbone=options.dem_backbone)
    backbone = load_backbone(options.backbone, dtype="fp32")
    fitting, held = load_split(options)
    log.info("%d images to fit on, %d held out", len(fitting), len(held))
    frame = tuple(options.frame)
    if options.keep_bands and (weights.restraint is None or weights.corrector is None):
        raise ValueError(f"{options.weights} has no restraint and corrector: --keep-bands needs both")
    kept = weights.restraint if options.keep_bands else None
    weight, bias = fit(blends(fitting, FRAMES, weights, backbone, frame, options.seed, TONE), kept)
    fitted = {"images": len(fitting), "frame": list(frame), "seed": options.seed, "presets": FRAMES}
    if kept is not None:
        fitted["bands"] = {name: value for name, value in kept.fitted.items() if name != "figures"}
    restraint = Restraint(weight, bias, CUTOFF, fitted)
    draws = {name: int(options.draws) for name in FRAMES}
    table = figures(blends(held, draws, weights, backbone, frame, options.seed + 1, 0.0), restraint)
    add_restraint(options.weights, Restraint(weight, bias, CUTOFF, fitted | {"figures": table}), options.output)
    return f"{as_markdown(table)}\nwrote {options.output}"


def main(arguments: list[str] | None = None) -> int:
    """Run the program.

    Args:
        arguments: of the command line; None: those of the process.

    Returns:
        The exit code.
    """
    parser = parser_of(__doc__)
    parser.add_argument("--backbone", default="hidra-tiny", help="hidra-tiny, a folder or a file (default: hidra-tiny)")
    parser.add_argument(
        "--keep-bands",
        action="store_true",
        help="fit only the weight of the corrector's word; the shares of both bands stay those of the file",
    )
    add_output_options(parser)
    return run(parser, work, arguments)


if __name__ == "__main__":
    sys.exit(main())
