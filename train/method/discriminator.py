"""Discriminators: the method's, on a frozen vision transformer, and one that needs no downloaded weights.

Source: HiDRA (CVPR 2026), losses. Both return one tensor of logits per head; see :func:`adversarial_loss`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from hidra_core.dem import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REAL, FAKE = 0.8, 0.0
"""Targets of the logits: real is smoothed, for the generator as well."""


class BlurPool(nn.Module):
    """A binomial 3×3 blur of each channel, so that the stride after it does not alias; keeps the size.

    Args:
        channels: of the feature map.
    """

    kernel: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", (line[:, None] * line).expand(channels, 1, 3, 3).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Blurred ``[B, C, H, W]`` of the same shape."""
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), self.kernel, groups=x.shape[1])


def feature_head(channels: int, width: int = 128) -> nn.Sequential:
    """Logits of a feature map: blur, 3×3 convolution at stride 2, leaky ReLU, blur, 1×1 convolution at stride 2.

    Args:
        channels: of the feature map.
        width: channels between the convolutions.

    Returns:
        A module from ``[B, C, h, w]`` to ``[B, 1, h/4, w/4]``.
    """
    return nn.Sequential(
        BlurPool(channels),
        spectral_norm(nn.Conv2d(channels, width, 3, stride=2, padding=1)),
        nn.LeakyReLU(0.2),
        BlurPool(width),
        nn.Conv2d(width, 1, 1, stride=2),
    )


class TransformerDiscriminator(nn.Module):
    """Heads on three depths of a frozen DINO ViT-B/16: blocks 5 and 9 (patch tokens) and the last (class token).

    Args:
        backbone: transformers' ``ViTModel``; it is frozen. Any width; at least nine blocks.
        levels: 1-based blocks whose patch tokens are read.
    """

    SIDE = 224
    """Pixels of the square images that the transformer reads."""

    def __init__(self, backbone: Any, levels: Sequence[int] = (5, 9)) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False).eval()
        width = backbone.config.hidden_size
        self.levels = tuple(levels)
        self.patch_heads = nn.ModuleList(feature_head(width) for _ in levels)
        self.class_head = nn.Sequential(
            spectral_norm(nn.Linear(width, 128)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(128, 1))
        )

    @classmethod
    def from_folder(cls, folder: Path) -> TransformerDiscriminator:
        """Load ``facebook/dino-vitb16`` as transformers writes it.

        Args:
            folder: with ``config.json`` and the weights; :func:`~train.method.losses.missing_dino` checks that.
        """
        from transformers import ViTModel

        return cls(ViTModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False))

    def train(self, mode: bool = True) -> TransformerDiscriminator:
        """Set the mode of the heads; the frozen transformer stays in evaluation mode."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits of images.

        Args:
            images: ``[B, 1, H, W]`` in [-1, 1].

        Returns:
            Two maps ``[B, 1, 4, 4]`` and the class token's ``[B, 1]``.
        """
        pixels = F.interpolate(images, size=(self.SIDE, self.SIDE), mode="area") * 0.5 + 0.5
        mean = pixels.new_tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = pixels.new_tensor(IMAGENET_STD).view(1, 3, 1, 1)
        states = self.backbone((pixels - mean) / std, output_hidden_states=True).hidden_states  # 0: the embedding
        logits = []
        for level, head in zip(self.levels, self.patch_heads, strict=True):
            tokens = states[level][:, 1:]
            side = int(tokens.shape[1] ** 0.5)
            logits.append(head(rearrange(tokens, "b (y x) c -> b c y x", y=side)))
        logits.append(self.class_head(self.backbone.layernorm(states[-1])[:, 0]))
        return logits


class PatchDiscriminator(nn.Module):
    """A spectrally normalised convolutional network with heads at 1/4 and 1/8 of the resolution; needs no weights.

    It judges texture (noise, stripes, blur), where thermal restoration fails first; unlike the transformer it knows
    nothing of objects.

    Args:
        width: channels of the first stage; each further one has twice as many.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        channels = (1, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(
            nn.Sequential(
                BlurPool(before),
                spectral_norm(nn.Conv2d(before, after, 4, stride=2, padding=1)),
                nn.LeakyReLU(0.2),
            )
            for before, after in zip(channels[:-1], channels[1:], strict=True)
        )
        self.heads = nn.ModuleList(spectral_norm(nn.Conv2d(c, 1, 3, padding=1)) for c in channels[2:])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits of images.

        Args:
            images: ``[B, 1, H, W]`` in [-1, 1], H and W at least 8.

        Returns:
            Two maps, ``[B, 1, H/4, W/4]`` and ``[B, 1, H/8, W/8]``.
        """
        features = []
        for stage in self.stages:
            images = stage(images)
            features.append(images)
        return [head(feature) for head, feature in zip(self.heads, features[1:], strict=True)]


def adversarial_loss(logits: Sequence[Tensor], target: float) -> Tensor:
    """Binary cross-entropy of every head's logits against one target, summed over heads.

    Args:
        logits: of any shapes.
        target: from 0, enhanced, to 1, real.

    Returns:
        A scalar.
    """
    total = logits[0].new_zeros((), dtype=torch.float32)
    for head in logits:
        wanted = torch.full_like(head, target, dtype=torch.float32)
        total = total + F.binary_cross_entropy_with_logits(head.float(), wanted)
    return total


def discriminator_loss(discriminator: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """The loss of the discriminator: real images towards 0.8, enhanced ones towards 0, half each.

    Args:
        discriminator: one of this file's.
        real: clean images, ``[B, 1, H, W]`` in [-1, 1]; no gradient reaches them.
        fake: enhanced images of the same shape and range; no gradient reaches them.

    Returns:
        A scalar.
    """
    real_loss = adversarial_loss(discriminator(real.detach()), REAL)
    return 0.5 * (real_loss + adversarial_loss(discriminator(fake.detach()), FAKE))
