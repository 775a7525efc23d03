"""Training losses: the method's sum, and terms that need no downloaded weights.

Source: HiDRA (CVPR 2026), losses: Φ and Ψ are ``2·MSE + 5·LPIPS(VGG) + 0.5·adversarial``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.method.discriminator import REAL, PatchDiscriminator, TransformerDiscriminator, adversarial_loss

VGG_FILE = "vgg16-397923af.pth"
"""The name under which torchvision keeps VGG16's weights."""


def structural_dissimilarity(output: Tensor, target: Tensor, window: int = 7) -> Tensor:
    """One minus structural similarity over a uniform window, K = (0.01, 0.03); a loss, not the metric SSIM.

    The metric has a Gaussian window of 11 pixels; see :func:`hidra_core.evaluation.metrics.ssim`.

    Args:
        output: ``[B, 1, H, W]`` in [-1, 1].
        target: of the same shape and range.
        window: side of the window in pixels.

    Returns:
        A scalar, 0 for equal images, at most 2.
    """
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    output, target = output + 1, target + 1  # the comparison of means is one of levels above black
    mean_o, mean_t, oo, tt, ot = F.avg_pool2d(
        torch.cat([output, target, output * output, target * target, output * target], dim=1), window, stride=1
    ).chunk(5, dim=1)
    covariance = ot - mean_o * mean_t
    variances = (oo - mean_o**2) + (tt - mean_t**2)
    ssim = (2 * mean_o * mean_t + c1) * (2 * covariance + c2) / ((mean_o**2 + mean_t**2 + c1) * (variances + c2))
    return 1 - ssim.mean()


def log_error(output: Tensor, target: Tensor) -> Tensor:
    """The logarithm of each image's mean squared error, averaged: PSNR as a loss.

    A dB is worth the same in an image that is nearly right and in one whose brightness can only be guessed. The floor,
    46 dB, keeps untouched images from outweighing the rest.

    Args:
        output: ``[B, 1, H, W]`` in [-1, 1].
        target: of the same shape and range.

    Returns:
        A scalar.
    """
    floor = 4 * 10**-4.6
    return ((output - target).square().mean(dim=(1, 2, 3)) + floor).log().mean()


def reconstruction_loss(output: Tensor, target: Tensor, log_weight: float, ssim_weight: float) -> Tensor:
    """Mean absolute error, plus weighted :func:`log_error` and :func:`structural_dissimilarity`.

    Args:
        output: ``[B, 1, H, W]`` in [-1, 1].
        target: of the same shape and range.
        log_weight: of the log error.
        ssim_weight: of the structural dissimilarity.

    Returns:
        A scalar.
    """
    return (
        F.l1_loss(output, target)
        + log_weight * log_error(output, target)
        + ssim_weight * structural_dissimilarity(output, target)
    )


class MultiScaleStructure(nn.Module):
    """A perceptual term that needs no weights: structural dissimilarity at full, half and quarter resolution, averaged.

    Chosen because it compares local contrast and structure rather than grey levels, as LPIPS does, and is bounded.
    """

    SCALES = 3
    WINDOW = 7

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean over images ``[B, 1, H, W]`` in [-1, 1], H and W at least 28."""
        total = output.new_zeros(())
        for scale in range(self.SCALES):
            if scale:
                output, target = F.avg_pool2d(output, 2), F.avg_pool2d(target, 2)
            total = total + structural_dissimilarity(output, target, self.WINDOW)
        return total / self.SCALES


class LearnedPerceptual(nn.Module):
    """LPIPS with VGG16, of the ``lpips`` package."""

    def __init__(self) -> None:
        super().__init__()
        import lpips

        self.metric = lpips.LPIPS(net="vgg", verbose=False).requires_grad_(False).eval()

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean over images ``[B, 1, H, W]`` in [-1, 1]."""
        return self.metric(output.expand(-1, 3, -1, -1), target.expand(-1, 3, -1, -1)).mean()


def missing_vgg() -> str | None:
    """What to do before LPIPS can run here, or None when all is there."""
    if find_spec("lpips") is None:
        return "LPIPS needs the package 'lpips': pip install lpips (or set loss.perceptual to structure)"
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if (folder / VGG_FILE).is_file():
        return None
    return (
        f"LPIPS needs VGG16's weights, '{VGG_FILE}', in {folder}: put the file that torchvision offers there, "
        "or set loss.perceptual to structure, which needs none"
    )


def missing_dino(folder: Path | None) -> str | None:
    """What to do before the transformer discriminator can be built, or None when all is there.

    Args:
        folder: of ``facebook/dino-vitb16``; None: the configuration names none.
    """
    remedy = (
        "Put facebook/dino-vitb16 (config.json, model.safetensors or pytorch_model.bin) into a folder and name it in "
        "loss.dino, or set loss.adversarial to patch, which needs none"
    )
    if folder is None:
        return f"the dino discriminator needs a frozen ViT-B/16, and loss.dino names no folder. {remedy}"
    if not (folder / "config.json").is_file():
        return f"the dino discriminator needs 'config.json' in {folder}, and it is not there. {remedy}"
    if not any((folder / name).is_file() for name in ("model.safetensors", "pytorch_model.bin")):
        return f"the dino discriminator needs 'model.safetensors' in {folder}, and it is not there. {remedy}"
    return None


@dataclass
class Objective:
    """The loss of both levels, ``Φ`` on D_tr and ``Ψ`` on D_val.

    Attributes:
        mse_weight: of the mean squared error.
        perceptual: a module ``(output, target) -> loss``, or None.
        perceptual_weight: its weight.
        discriminator: or None.
        adversarial_weight: of the generator's adversarial loss.
    """

    mse_weight: float
    perceptual: nn.Module | None
    perceptual_weight: float
    discriminator: nn.Module | None
    adversarial_weight: float

    def __call__(self, output: Tensor, target: Tensor) -> tuple[Tensor, dict[str, float]]:
        """The loss of images.

        Args:
            output: ``[B, 1, H, W]`` in [-1, 1].
            target: of the same shape and range.

        Returns:
            The weighted sum, and each part without its weight by name.
        """
        mse = F.mse_loss(output, target)
        total, parts = self.mse_weight * mse, {"mse": mse.item()}
        if self.perceptual is not None:
            perceptual = self.perceptual(output, target)
            total = total + self.perceptual_weight * perceptual
            parts["perceptual"] = perceptual.item()
        if self.discriminator is not None:
            adversarial = adversarial_loss(self.discriminator(output), REAL)
            total = total + self.adversarial_weight * adversarial
            parts["adversarial"] = adversarial.item()
        return total, parts


def build_objective(
    *,
    mse: float,
    perceptual: str,
    perceptual_weight: float,
    adversarial: str,
    adversarial_weight: float,
    dino: Path | None,
) -> Objective:
    """The objective of a run, by the names of ``train/method/config.py``.

    Args:
        mse: weight of the mean squared error.
        perceptual: ``lpips``, ``structure`` or ``none``.
        perceptual_weight: its weight.
        adversarial: ``dino``, ``patch`` or ``none``.
        adversarial_weight: its weight.
        dino: folder of ``facebook/dino-vitb16``, for ``dino``.

    Returns:
        The objective, on the CPU.

    Raises:
        FileNotFoundError: weights that a term needs are not here; names file, folder and remedy.
    """
    problem = missing_vgg() if perceptual == "lpips" else None
    problem = problem or (missing_dino(dino) if adversarial == "dino" else None)
    if problem:
        raise FileNotFoundError(problem)
    metric = {"lpips": LearnedPerceptual, "structure": MultiScaleStructure}.get(perceptual)
    discriminator = None
    if adversarial == "dino" and dino is not None:
        discriminator = TransformerDiscriminator.from_folder(dino)
    elif adversarial == "patch":
        discriminator = PatchDiscriminator()
    return Objective(mse, metric() if metric else None, perceptual_weight, discriminator, adversarial_weight)


def error_after_fit(values: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of each image after the gain and offset that fit it best.

    Brightness and contrast that a degradation destroyed are a guess, whose error drowns all the others.

    Args:
        values: ``[B, ...]``.
        wanted: the same shape.

    Returns:
        ``[B]``.
    """
    values, wanted = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (values, wanted))
    gain = (values * wanted).sum(dim=1) / values.square().sum(dim=1).clamp_min(1e-6)
    return (gain[:, None] * values - wanted).square().mean(dim=1)
