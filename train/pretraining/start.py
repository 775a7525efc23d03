"""Initial values for small networks from nothing: a backbone that copies, and a DEM that sees fine structure.

**The backbone** starts as one whose every image passes through, near enough, unchanged. A network of the Stable
Diffusion family has no path by which its input reaches its output: each of its three parts ends in group normalisation,
which erases the brightness that restoring an image is about, and at t = 999 the denoised latent is all network. From
random weights most of a short training would go into learning to copy. Here the copy is built in:

- a value travels as a pair of channels, ``+v`` and ``−v``: ``silu(v) − silu(−v) = v``, so the activations between are
  linear on it, and the mean over both is 0;
- two channels hold a constant, ``+ANCHOR`` and ``−ANCHOR``, much larger than the values: the standard deviation that
  normalisation divides by is nearly theirs, whatever the image, and the next weights multiply it back. Two groups keep
  most of the other channels out of it: the first half of the channels is theirs;
- residual branches start at zero.

The other channels keep their random weights; the training is free to change all of it.

**The DEM** starts with whitened patches, see :func:`start_seeing`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hidra_core.backbone import DiffusersBackbone, alpha_cumprod
from hidra_core.dem import IMAGENET_MEAN, IMAGENET_STD, DegradationEstimator, hub_name

ANCHOR = 6.0
"""Level of the constant channels; images lie in [-1, 1]."""

PHASES = 4
"""Latent channels that the copy uses: the pixels of each 2×2 block of the image."""


def start_as_copy(backbone: DiffusersBackbone, images: Tensor, text_embedding: Tensor) -> None:
    """Set the weights of ``backbone`` so that encoding, denoising and decoding return the image, halved in resolution.

    Args:
        backbone: of one ResNet block or more a level, normalising in two groups, an autoencoder of two levels and
            v-prediction.
        images: ``[B, 3, H, W]`` in [-1, 1] to calibrate the output normalisations on.
        text_embedding: ``[1, 77, width]``.

    Raises:
        ValueError: another architecture.
    """
    unet, vae = backbone.unet, backbone.vae
    if len(vae.config.block_out_channels) != 2 or vae.config.norm_num_groups != 2 or unet.config.norm_num_groups != 2:
        raise ValueError("a copy needs an autoencoder of two levels, and norm_num_groups 2 in both networks")
    if backbone.prediction_type != "v_prediction" or vae.config.latent_channels < PHASES:
        raise ValueError(f"a copy needs prediction_type v_prediction and at least {PHASES} latent_channels")
    with torch.no_grad():
        for network in (unet, vae):
            _silence_branches(network)
        _encoder(vae)
        _decoder(vae)
        _unet(unet)
        latent = _calibrated(vae.encoder.conv_norm_out, 2 * PHASES, lambda: backbone.encode(images))
        latent = _calibrated(unet.conv_norm_out, 2 * PHASES, lambda: backbone.denoise(latent, text_embedding))
        _calibrated(vae.decoder.conv_norm_out, 2, lambda: backbone.decode(latent))


def _silence_branches(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if name.endswith((".conv2", ".to_out.0", ".ff.net.2")):
            nn.init.zeros_(module.weight)
            nn.init.zeros_(module.bias)


def _encoder(vae: nn.Module) -> None:
    encoder = vae.encoder
    grey = torch.zeros(1, 3, 3, 3)
    grey[:, :, 1, 1] = 1 / 3
    _emit_pairs(encoder.conv_in, grey)
    _ignore_anchors(encoder.down_blocks[0].resnets, 2)
    down = encoder.down_blocks[0].downsamplers[0].conv  # 3×3 at stride 2, padded at bottom and right only
    _ignore_constants(down, 2)
    phases = torch.zeros(PHASES, down.in_channels, 3, 3)
    for phase in range(PHASES):
        row, column = divmod(phase, 2)
        phases[phase, 0, row, column], phases[phase, 1, row, column] = 0.5, -0.5
    _emit_pairs(down, phases)
    reserved = 2 * PHASES + 2
    _pass(encoder.down_blocks[1].resnets[0], reserved)
    _ignore_anchors(encoder.down_blocks[1].resnets, 2 * PHASES)
    _ignore_anchors(encoder.mid_block.resnets, 2 * PHASES)
    _read_pairs(encoder.conv_out, PHASES)
    quantise = vae.quant_conv.weight
    quantise[:PHASES] = 0
    quantise[range(PHASES), range(PHASES)] = 1
    vae.quant_conv.bias[:PHASES] = 0


def _decoder(vae: nn.Module) -> None:
    decoder, latents = vae.decoder, vae.config.latent_channels
    nn.init.dirac_(vae.post_quant_conv.weight)
    nn.init.zeros_(vae.post_quant_conv.bias)
    _emit_pairs(decoder.conv_in, _centre(PHASES, latents))
    for resnets in (decoder.mid_block.resnets, decoder.up_blocks[0].resnets):
        _ignore_anchors(resnets, 2 * PHASES)
    upsample = decoder.up_blocks[0].upsamplers[0].conv
    _ignore_constants(upsample, 2 * PHASES)
    mean = torch.zeros(1, upsample.in_channels, 3, 3)
    mean[0, : 2 * PHASES : 2, 1, 1], mean[0, 1 : 2 * PHASES : 2, 1, 1] = 0.5 / PHASES, -0.5 / PHASES
    _emit_pairs(upsample, mean)
    _ignore_anchors(decoder.up_blocks[1].resnets, 2)
    _pass(decoder.up_blocks[1].resnets[0], 4)
    decoder.conv_out.weight.zero_()
    decoder.conv_out.weight[:, 0, 1, 1], decoder.conv_out.weight[:, 1, 1, 1] = 1, -1
    nn.init.zeros_(decoder.conv_out.bias)


def _unet(unet: nn.Module) -> None:
    _emit_pairs(unet.conv_in, _centre(PHASES, unet.config.in_channels))
    _ignore_anchors(unet.down_blocks[0].resnets, 2 * PHASES)
    _ignore_constants(unet.down_blocks[0].downsamplers[0].conv, 2 * PHASES)
    reserved, skip = 2 * PHASES + 2, unet.conv_in.out_channels
    for resnet in unet.up_blocks[-1].resnets:  # their input: what comes from below, then an output of the first level
        below = resnet.conv_shortcut.in_channels - skip
        resnet.norm1.weight[below + 2 * PHASES : below + reserved] = 0
        _ignore_constants(resnet.conv_shortcut, below + 2 * PHASES)
    last = unet.up_blocks[-1].resnets[-1].conv_shortcut
    last.weight[:reserved] = 0
    last.weight[range(reserved), range(below, below + reserved)] = 1
    last.bias[:reserved] = 0
    alpha = alpha_cumprod()
    _read_pairs(unet.conv_out, PHASES)
    unet.conv_out.weight[:PHASES].mul_((alpha**0.5 - 1) / (1 - alpha) ** 0.5)  # v for which the denoised latent is z


def _centre(out_channels: int, in_channels: int) -> Tensor:
    return nn.init.dirac_(torch.empty(out_channels, in_channels, 3, 3))


def _emit_pairs(conv: nn.Conv2d, weight: Tensor) -> None:
    """First outputs of ``conv``: plus and minus each of ``weight``'s, then the two constants."""
    count = 2 * len(weight)
    conv.weight[:count:2], conv.weight[1:count:2] = weight, -weight
    conv.weight[count : count + 2] = 0
    conv.bias[:count] = 0
    conv.bias[count], conv.bias[count + 1] = ANCHOR, -ANCHOR


def _read_pairs(conv: nn.Conv2d, count: int) -> None:
    """First outputs of ``conv``: the values of the first pairs, as they are after the activation."""
    conv.weight[:count] = 0
    conv.weight[range(count), range(0, 2 * count, 2), 1, 1] = 1
    conv.weight[range(count), range(1, 2 * count, 2), 1, 1] = -1
    conv.bias[:count] = 0


def _pass(resnet: nn.Module, count: int) -> None:
    """The first channels go around a block that changes the width."""
    if resnet.conv_shortcut is not None:
        _ignore_constants(resnet.conv_shortcut, count - 2)
        resnet.conv_shortcut.weight[:count] = 0
        resnet.conv_shortcut.weight[range(count), range(count)] = 1
        resnet.conv_shortcut.bias[:count] = 0


def _ignore_constants(conv: nn.Conv2d, start: int) -> None:
    """The same for a convolution that reads the channels without a normalisation before."""
    conv.weight[:, start : start + 2] = 0


def _ignore_anchors(resnets: nn.ModuleList, start: int) -> None:
    """Constants serve the normalisation only; through 3×3 kernels they would draw the image's border."""
    for resnet in resnets:
        resnet.norm1.weight[start : start + 2] = 0


def _calibrated(norm: nn.GroupNorm, values: int, run) -> Tensor:
    """Undo the normalisation of the first channels, on average over what ``run()`` gives it; silence the constants."""
    seen: list[Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
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
"""Share of the mean variance of pooled features from which on components count as strong."""

STEEP = 3.0
"""Scale at which GELU's pair is the absolute value rather than the square."""


def start_seeing(estimator: DegradationEstimator, frames: Tensor, generator: torch.Generator) -> None:
    """Set the weights of a DEM from nothing so that its first layer sees noise and stripes as well as brightness.

    Nearly all the variance of a patch is its brightness and a ramp or two: random weights see those alone, and the
    few thousand steps of a small training hardly move them. Here the patches are whitened: the strongest components
    get a channel each, random mixtures of all the others the rest. What is told apart is told by how strong a component
    is, on average over the image, and an average over signs is 0: the first block adds to each channel its absolute
    value, ``gelu(x) + gelu(−x)``. All other residual branches start at zero, and the head reads the pooled features
    whitened in their turn.

    Args:
        estimator: its weights are overwritten.
        frames: degraded, ``[B, 1, H, W]`` in [-1, 1], whose patches are whitened.
        generator: of the random weights.
    """
    backbone = estimator.backbone
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
    patch, projection = estimator.patch_size, estimator.backbone.embeddings.patch_embeddings.projection
    grey = (frames * 0.5 + 0.5)[..., : frames.shape[-2] // patch * patch, : frames.shape[-1] // patch * patch]
    patches = F.unfold(grey, patch, stride=patch).transpose(1, 2).flatten(0, 1).double()  # [N, patch²]
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
    # what so few frames say of the weakest components is chance: those are not amplified all the way
    white = components / (strength.clamp_min(0) + WEAK * strength.mean()).sqrt()
    first = estimator.head[0]
    mixtures = torch.empty(white.shape[1], first.out_features, dtype=torch.float64)
    nn.init.orthogonal_(mixtures, generator=generator)
    first.weight.copy_((white @ mixtures).T)
    first.bias.copy_(-first.weight.double() @ centre)
