"""Initial values for small networks from nothing: a backbone that copies, and a DEM that sees fine structure.

**The backbone** starts as one through which every image passes nearly unchanged. A network of the Stable Diffusion
family has no path by which its input reaches its output: each of its three parts ends in group normalisation, which
erases the brightness that is to be restored, and at t = 999 the denoised latent comes from the network alone. From
random weights most of a short training would go into learning to copy. Here the copy is built in:

- a value travels as a pair of channels, ``+v`` and ``−v``: ``silu(v) − silu(−v) = v``, so the activations between are
  linear on it, and the mean over both is 0;
- two channels hold a constant, ``+LEVEL`` and ``−LEVEL``, much larger than the values: the standard deviation that
  normalisation divides by is nearly theirs, whatever the image, and the next weights multiply it back. Pairs and
  constants lie in the first of the two groups of normalisation, where they meet only half of the channels;
- residual branches start at zero.

The other channels keep their random weights; the training is free to change all of it.

**The DEM** starts with whitened patches, see :func:`start_seeing`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn

from hidra_core.backbone import DiffusersBackbone, alpha_cumprod
from hidra_core.dem import IMAGENET_MEAN, IMAGENET_STD, DegradationEstimator, hub_name

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL = 6.0
"""Level of the constant channels; images lie in [-1, 1]."""

PIXELS = 4
"""Latent channels that the copy uses: the pixels of each 2×2 block of the image."""


def start_as_copy(backbone: DiffusersBackbone, images: Tensor, text_embedding: Tensor) -> None:
    """Set the weights of a backbone so that encoding, denoising and decoding return the image, halved in resolution.

    Args:
        backbone: with one or more ResNet blocks per level, normalisation in two groups, an autoencoder of two levels
            and v-prediction; its weights are overwritten.
        images: ``[B, 3, H, W]`` in [-1, 1] to calibrate the output normalisations on.
        text_embedding: ``[1, 77, width]``.

    Raises:
        ValueError: another architecture.
    """
    unet, vae = backbone.unet, backbone.vae
    if len(vae.config.block_out_channels) != 2 or vae.config.norm_num_groups != 2 or unet.config.norm_num_groups != 2:
        raise ValueError("a copy needs an autoencoder of two levels, and norm_num_groups 2 in both networks")
    if backbone.prediction_type != "v_prediction" or vae.config.latent_channels < PIXELS:
        raise ValueError(f"a copy needs prediction_type v_prediction and at least {PIXELS} latent_channels")
    with torch.no_grad():
        for network in (unet, vae):
            _silence_branches(network)
        _encoder(vae)
        _decoder(vae)
        _unet(unet)
        latent = _calibrated(vae.encoder.conv_norm_out, 2 * PIXELS, lambda: backbone.encode(images))
        latent = _calibrated(unet.conv_norm_out, 2 * PIXELS, lambda: backbone.denoise(latent, text_embedding))
        _calibrated(vae.decoder.conv_norm_out, 2, lambda: backbone.decode(latent))


def _silence_branches(network: nn.Module) -> None:
    module: Any
    for name, module in network.named_modules():
        if name.endswith((".conv2", ".to_out.0", ".ff.net.2")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def _encoder(vae: Any) -> None:
    encoder = vae.encoder
    grey = torch.zeros(1, 3, 3, 3)  # the mean of the three colours
    grey[:, :, 1, 1] = 1 / 3
    _emit_pairs(encoder.conv_in, grey)
    _normalise_only(encoder.down_blocks[0].resnets, 2)
    down = encoder.down_blocks[0].downsamplers[0].conv  # 3×3 at stride 2, padded at bottom and right only
    _ignore_constants(down, 2)
    pixels = torch.zeros(PIXELS, down.in_channels, 3, 3)
    for pixel in range(PIXELS):
        row, column = divmod(pixel, 2)
        pixels[pixel, 0, row, column], pixels[pixel, 1, row, column] = 0.5, -0.5
    _emit_pairs(down, pixels)
    reserved = 2 * PIXELS + 2
    _pass(encoder.down_blocks[1].resnets[0], reserved)
    _normalise_only(encoder.down_blocks[1].resnets, 2 * PIXELS)
    _normalise_only(encoder.mid_block.resnets, 2 * PIXELS)
    _read_pairs(encoder.conv_out, PIXELS)
    quantise = vae.quant_conv.weight
    quantise[:PIXELS] = 0
    quantise[range(PIXELS), range(PIXELS)] = 1
    vae.quant_conv.bias[:PIXELS] = 0


def _decoder(vae: Any) -> None:
    decoder, latents = vae.decoder, vae.config.latent_channels
    nn.init.dirac_(vae.post_quant_conv.weight)
    nn.init.zeros_(vae.post_quant_conv.bias)
    _emit_pairs(decoder.conv_in, _centre(PIXELS, latents))
    for resnets in (decoder.mid_block.resnets, decoder.up_blocks[0].resnets):
        _normalise_only(resnets, 2 * PIXELS)
    upsample = decoder.up_blocks[0].upsamplers[0].conv
    _ignore_constants(upsample, 2 * PIXELS)
    mean = torch.zeros(1, upsample.in_channels, 3, 3)
    mean[0, : 2 * PIXELS : 2, 1, 1], mean[0, 1 : 2 * PIXELS : 2, 1, 1] = 0.5 / PIXELS, -0.5 / PIXELS
    _emit_pairs(upsample, mean)
    _normalise_only(decoder.up_blocks[1].resnets, 2)
    _pass(decoder.up_blocks[1].resnets[0], 4)
    decoder.conv_out.weight.zero_()
    decoder.conv_out.weight[:, 0, 1, 1], decoder.conv_out.weight[:, 1, 1, 1] = 1, -1
    nn.init.zeros_(decoder.conv_out.bias)


def _unet(unet: Any) -> None:
    _emit_pairs(unet.conv_in, _centre(PIXELS, unet.config.in_channels))
    _normalise_only(unet.down_blocks[0].resnets, 2 * PIXELS)
    _ignore_constants(unet.down_blocks[0].downsamplers[0].conv, 2 * PIXELS)
    reserved, skip = 2 * PIXELS + 2, unet.conv_in.out_channels
    for resnet in unet.up_blocks[-1].resnets:  # their input: channels from below, then those that skip from the start
        below = resnet.conv_shortcut.in_channels - skip
        resnet.norm1.weight[below + 2 * PIXELS : below + reserved] = 0
        _ignore_constants(resnet.conv_shortcut, below + 2 * PIXELS)
    last = unet.up_blocks[-1].resnets[-1].conv_shortcut
    below = last.in_channels - skip
    last.weight[:reserved] = 0
    last.weight[range(reserved), range(below, below + reserved)] = 1
    last.bias[:reserved] = 0
    alpha = alpha_cumprod()
    _read_pairs(unet.conv_out, PIXELS)
    # the v for which the denoised latent is the latent
    unet.conv_out.weight[:PIXELS].mul_((alpha**0.5 - 1) / (1 - alpha) ** 0.5)


def _centre(out_channels: int, in_channels: int) -> Tensor:
    return nn.init.dirac_(torch.empty(out_channels, in_channels, 3, 3))


def _emit_pairs(conv: Any, weight: Tensor) -> None:
    """First outputs of a convolution: plus and minus each of those of a kernel, then the two constants."""
    count = 2 * len(weight)
    conv.weight[:count:2], conv.weight[1:count:2] = weight, -weight
    conv.weight[count : count + 2] = 0
    conv.bias[:count] = 0
    conv.bias[count], conv.bias[count + 1] = LEVEL, -LEVEL


def _read_pairs(conv: Any, count: int) -> None:
    """First outputs of a convolution: the values of the first pairs after their activation."""
    conv.weight[:count] = 0
    conv.weight[range(count), range(0, 2 * count, 2), 1, 1] = 1
    conv.weight[range(count), range(1, 2 * count, 2), 1, 1] = -1
    conv.bias[:count] = 0


def _pass(resnet: Any, count: int) -> None:
    """The first channels pass by a block that changes the width."""
    if resnet.conv_shortcut is not None:
        _ignore_constants(resnet.conv_shortcut, count - 2)
        resnet.conv_shortcut.weight[:count] = 0
        resnet.conv_shortcut.weight[range(count), range(count)] = 1
        resnet.conv_shortcut.bias[:count] = 0


def _ignore_constants(conv: Any, start: int) -> None:
    """Keep the constants out of a convolution that reads the channels without a normalisation before."""
    conv.weight[:, start : start + 2] = 0


def _normalise_only(resnets: Any, start: int) -> None:
    """Keep the constants, which serve the normalisation, out of what follows: they would draw the image's border."""
    for resnet in resnets:
        resnet.norm1.weight[start : start + 2] = 0


def _calibrated(norm: Any, values: int, run: Callable[[], Tensor]) -> Tensor:
    """Undo the normalisation of the first channels, on average over its inputs in a run; silence the constants."""
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    run()
    hook.remove()
    variance, mean = torch.var_mean(seen[0].float().chunk(norm.num_groups, dim=1)[0], dim=(1, 2, 3), correction=0)
    norm.weight[:values] = (variance + norm.eps).sqrt().mean()
    norm.bias[:values] = mean.mean()
    norm.weight[values : values + 2] = 0
    return run()


# ---------------------------------------------------------------- the DEM

SEEN_APART = 32
"""Components of the patches, the strongest first, that get a channel each."""

DARK_NOISE = 2 / 255
"""Weaker components are not amplified to the strength of the others."""

WEAK = 1e-3
"""Components of the pooled features with a variance below this share of the mean are not amplified all the way."""

STEEP = 3.0
"""Scale of the inputs at which the sum ``gelu(x) + gelu(−x)`` is the absolute value rather than the square."""


def start_seeing(estimator: DegradationEstimator, frames: Tensor, generator: torch.Generator) -> None:
    """Set the weights of a DEM from nothing so that its first layer sees noise and stripes as well as brightness.

    Nearly all the variance of a patch is its brightness and a ramp or two: random weights see those alone, and the
    few thousand steps of a small training hardly move them. Here the patches are whitened: the strongest components
    get a channel each, random mixtures of all the others the rest. Degradations differ in how strong a component is on
    average over the image, and an average over signs is 0: the first block adds to each channel its absolute value,
    ``gelu(x) + gelu(−x)``. All other residual branches start at zero, and the head reads the pooled features after
    these have been whitened too.

    Args:
        estimator: the DEM; its weights are overwritten.
        frames: degraded, ``[B, 1, H, W]`` in [-1, 1], whose patches are whitened.
        generator: of the random weights.
    """
    backbone: Any = estimator.backbone
    with torch.no_grad():
        for module in estimator.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
        for name, parameter in backbone.named_parameters():
            if hub_name(name).endswith(("attention.output.dense.weight", "mlp.fc2.weight")):
                nn.init.zeros_(parameter)
        mlp = backbone.encoder.layer[0].mlp
        channels = torch.arange(mlp.fc1.in_features)
        mlp.fc1.weight[: 2 * len(channels)] = 0
        for sign, units in ((1, channels), (-1, len(channels) + channels)):
            mlp.fc1.weight[units, channels] = sign * STEEP
            mlp.fc2.weight[channels, units] = 1 / STEEP
        _whiten_patches(estimator, frames, generator)
        _whiten_pooled(estimator, frames, generator)


def _whiten_patches(estimator: DegradationEstimator, frames: Tensor, generator: torch.Generator) -> None:
    backbone: Any = estimator.backbone
    patch, projection = estimator.patch_size, backbone.embeddings.patch_embeddings.projection
    grey = (frames * 0.5 + 0.5)[..., : frames.shape[-2] // patch * patch, : frames.shape[-1] // patch * patch]
    patches = rearrange(grey, "n 1 (row y) (column x) -> (n row column) (y x)", y=patch, x=patch).double()
    centre = patches.mean(dim=0)
    strength, components = torch.linalg.eigh(torch.cov((patches - centre).T))
    strength, components = strength.flip(0), components.flip(1)  # the strongest first
    white = components / (strength.clamp_min(0) + DARK_NOISE**2).sqrt()
    apart = min(SEEN_APART, projection.out_channels)
    mixtures = torch.empty(patch**2 - apart, projection.out_channels - apart, dtype=torch.float64)
    nn.init.orthogonal_(mixtures, generator=generator)
    filters = torch.cat([white[:, :apart], white[:, apart:] @ mixtures], dim=1).T / 3  # [channels, patch²]
    constant = torch.randn(len(filters), generator=generator, dtype=torch.float64) - filters @ centre
    # each colour is the grey, less IMAGENET_MEAN, over IMAGENET_STD
    std, mean = (torch.tensor(values, dtype=torch.float64) for values in (IMAGENET_STD, IMAGENET_MEAN))
    shape = (len(filters), 1, patch, patch)
    projection.weight.copy_(filters.view(shape) * std.view(1, 3, 1, 1) / 3)
    projection.bias.copy_(constant + filters.sum(dim=1) * mean.mean())


def _whiten_pooled(estimator: DegradationEstimator, frames: Tensor, generator: torch.Generator) -> None:
    pooled = torch.cat([estimator.pooled(part.expand(-1, 3, -1, -1)) for part in frames.split(32)]).double()
    centre = pooled.mean(dim=0)
    strength, components = torch.linalg.eigh(torch.cov((pooled - centre).T))
    # in so few frames the weakest components are chance: those are not amplified all the way
    white = components / (strength.clamp_min(0) + WEAK * strength.mean()).sqrt()
    first: Any = estimator.head[0]
    mixtures = torch.empty(white.shape[1], first.out_features, dtype=torch.float64)
    nn.init.orthogonal_(mixtures, generator=generator)
    first.weight.copy_((white @ mixtures).T)
    first.bias.copy_(-first.weight.double() @ centre)
