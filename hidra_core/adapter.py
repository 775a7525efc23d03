"""Degradation-guided LoRA: ``W' = W + s·U Sigma(P) V`` as forward hooks on a frozen network.

Source: HiDRA (CVPR 2026), "Degradation-guided LoRA". The network is never changed: hooks on its Linear and Conv2d
modules add the low-rank branch for the length of one ``with`` block, so that removal is exact and every image of a
batch can have its own Sigma. Layers are named as in diffusers; a ``lookup`` from name to module lets the same adapter
serve any implementation of the same network.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .modulation import ModulationHead, unet_block_index, vae_block_index

if TYPE_CHECKING:
    from collections.abc import ItemsView, Iterable, Iterator, ValuesView
    from types import TracebackType

Network = Literal["unet", "vae"]
Lookup = Callable[[str], Any]
"""Finds a module by its diffusers name; raises AttributeError or KeyError for a name that the network lacks."""

Part = TypeVar("Part", bound=nn.Module)

NETWORKS: tuple[Network, ...] = ("unet", "vae")
LORA_ALPHA = 8
"""Scale ``s`` of a branch is ``LORA_ALPHA / rank``."""

_TARGETS = {
    "unet": re.compile(
        r"(.*\.(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2|conv1|conv2|conv_shortcut"
        r"|(down|up)samplers\.\d+\.conv)|conv_out)"
    ),
    "vae": re.compile(
        r"encoder\.(.*\.)?(conv_in|conv_out|conv1|conv2|conv_shortcut|downsamplers\.\d+\.conv|to_q|to_k|to_v|to_out\.0)"
    ),
}


def lora_targets(network: Network, module_names: Iterable[str]) -> list[str]:
    """Select those of a network's module names (diffusers') that the method adapts."""
    return [name for name in module_names if _TARGETS[network].fullmatch(name)]


class PerNetwork(nn.ModuleDict, Generic[Part]):
    """One module of the same kind for each of :data:`NETWORKS`."""

    if TYPE_CHECKING:

        def __getitem__(self, key: str) -> Part: ...

        def values(self) -> ValuesView[Part]:
            """The modules."""
            ...

        def items(self) -> ItemsView[str, Part]:
            """Names of the networks, and their modules."""
            ...


class LowRankLayers(nn.Module):
    """The branches of one network: V (down projection) and U (up projection) of every adapted layer.

    Args:
        layers: name to ``(down, up)``; down is ``[rank, in]`` or ``[rank, in, kh, kw]``, up ``[out, rank]`` (trailing
            1×1 kernel dimensions are dropped).
    """

    def __init__(self, layers: dict[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.names = sorted(layers)
        self.down = nn.ParameterList([layers[name][0] for name in self.names])
        self.up = nn.ParameterList([layers[name][1].flatten(1) for name in self.names])

    @property
    def rank(self) -> int:
        """Rank of the branches."""
        return self.down[0].shape[0]

    @property
    def scale(self) -> float:
        """The factor ``s`` of the branches."""
        return LORA_ALPHA / self.rank

    @classmethod
    def for_network(cls, network: Network, module: Any, rank: int) -> LowRankLayers:
        """Fresh branches for all target layers of a diffusers network: V Gaussian with std ``1/rank``, U zero."""
        layers = {}
        for name in lora_targets(network, (name for name, _ in module.named_modules())):
            weight = module.get_submodule(name).weight
            down = torch.randn(rank, *weight.shape[1:]) / rank
            layers[name] = (down, torch.zeros(weight.shape[0], rank))
        return cls(layers)


class ConvIn(nn.Module):
    """The UNet's input convolution, trained in full: ``weight [C, latent, 3, 3]`` and ``bias [C]``."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(bias)


class Adapter(nn.Module):
    """All lower-level parameters theta: low-rank branches, Sigma heads and ``conv_in``.

    Args:
        layers: the low-rank branches of each network.
        heads: the Sigma head of each network.
        conv_in: the trained UNet input convolution.
    """

    def __init__(
        self, layers: dict[Network, LowRankLayers], heads: dict[Network, ModulationHead], conv_in: ConvIn
    ) -> None:
        super().__init__()
        self.layers: PerNetwork[LowRankLayers] = PerNetwork({**layers})
        self.heads: PerNetwork[ModulationHead] = PerNetwork({**heads})
        self.conv_in = conv_in
        depths = {"unet": (heads["unet"].blocks - 2) // 2, "vae": heads["vae"].blocks - 2}
        index = {"unet": unet_block_index, "vae": vae_block_index}
        self.block_index: dict[Network, list[int]] = {
            network: [index[network](name, depths[network]) for name in layers[network].names] for network in NETWORKS
        }

    @classmethod
    def for_networks(cls, unet: Any, vae: Any, *, unet_rank: int = 32, vae_rank: int = 16) -> Adapter:
        """A fresh adapter for diffusers networks, initialised as in the method."""
        unet_blocks = 2 * len(unet.config.block_out_channels) + 2
        vae_blocks = len(vae.config.block_out_channels) + 2
        return cls(
            {
                "unet": LowRankLayers.for_network("unet", unet, unet_rank),
                "vae": LowRankLayers.for_network("vae", vae, vae_rank),
            },
            {"unet": ModulationHead(unet_blocks, unet_rank), "vae": ModulationHead(vae_blocks, vae_rank)},
            ConvIn(unet.conv_in.weight.detach().clone(), unet.conv_in.bias.detach().clone()),
        )

    def modulate(self, vectors: Tensor, strength: float = 1.0) -> ModulatedAdapter:
        """The adapter for some images, ready to attach.

        Args:
            vectors: their degradation vectors ``P``, ``[B, 256]``.
            strength: see :class:`ModulatedAdapter`.
        """
        vectors = vectors.to(next(self.heads.parameters()))
        return ModulatedAdapter(self, {network: self.heads[network](vectors) for network in NETWORKS}, strength)

    def check_fits(self, network: Network, lookup: Lookup) -> None:
        """Raise ValueError, naming the layer, unless every branch fits the network behind ``lookup``."""
        layers = self.layers[network]
        expected: dict[str, tuple[int, ...]] = {
            name: (up.shape[0], *down.shape[1:])
            for name, down, up in zip(layers.names, layers.down, layers.up, strict=True)
        }
        if network == "unet":
            expected["conv_in"] = tuple(self.conv_in.weight.shape)
        for name, shape in expected.items():
            try:
                own = tuple(lookup(name).weight.shape)
            except (AttributeError, KeyError):
                raise ValueError(
                    f"the weights are for another backbone: they adapt {network} layer '{name}', which this one lacks. "
                    "Load the backbone that the weights name."
                ) from None
            if _without_unit_kernel(own) != _without_unit_kernel(shape):
                raise ValueError(
                    f"the weights are for another backbone: {network} layer '{name}' should have a weight of shape "
                    f"{shape}, this backbone's is {own}. Load the backbone that the weights name."
                )


class ModulatedAdapter:
    """The adapter with Sigma fixed for some images, ready to be attached to the networks.

    Args:
        adapter: the branches.
        sigma: modulation tensors of each network, ``[B, blocks, rank, rank]``.
        strength: factor on the low-rank update, >= 0, and how far ``conv_in`` moves from the backbone's own (0) to the
            trained one (1).
    """

    def __init__(self, adapter: Adapter, sigma: dict[Network, Tensor], strength: float) -> None:
        self.adapter = adapter
        self.sigma = sigma
        self.strength = strength
        self._hooks: dict[Network, dict[str, _LowRankHook | _ConvInHook]] = {}
        self._downs: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return self.sigma["unet"].shape[0]

    def rows(self, rows: slice) -> ModulatedAdapter:
        """The same adapter for some of the images."""
        part = ModulatedAdapter(self.adapter, {n: sigma[rows] for n, sigma in self.sigma.items()}, self.strength)
        part._downs = self._downs  # V is the same for all images: moved to the device and cast once for all
        return part

    @contextmanager
    def attached(self, network: Network, lookup: Lookup) -> Iterator[None]:
        """Adapt the network behind ``lookup`` within the block; afterwards it is unchanged, whatever was raised.

        Inputs of the network must have as many rows as there are images, one row (any number of rows share one
        image's Sigma) or a multiple (conditional and unconditional halves stacked).
        """
        with ExitStack() as stack:
            if self.strength != 0:  # at strength 0 the backbone is to be itself, bit for bit
                for name, hook in self._network_hooks(network).items():
                    stack.callback(lookup(name).register_forward_hook(hook).remove)
            yield

    def folded(self, network: Network, lookup: Lookup) -> FoldedAdapter:
        """Like :meth:`attached`, with the update added to copies of the weights: no cost per call, but only one Sigma.

        The copies are made here, once; the context that is returned can be entered any number of times.

        Raises:
            ValueError: more than one degradation vector.
        """
        if len(self) != 1:
            raise ValueError(f"folding needs one degradation vector, not {len(self)}: weights are shared by all images")
        return FoldedAdapter([] if self.strength == 0 else self.folded_parameters(network, lookup), lookup)

    @torch.no_grad()
    def folded_parameters(
        self, network: Network, lookup: Lookup, dtype: torch.dtype | None = None
    ) -> Iterator[tuple[str, dict[str, nn.Parameter]]]:
        """Layer name and new parameters of every adapted layer, ``W + s·U Sigma V`` of the first image.

        They are on the network's device and in ``dtype``, which is the network's own by default.
        """
        for name, hook in self._network_hooks(network).items():
            module = lookup(name)
            yield (
                name,
                {
                    key: nn.Parameter(value.to(getattr(module, key).device, dtype or getattr(module, key).dtype), False)
                    for key, value in hook.fold(module).items()
                },
            )

    @torch.no_grad()
    def low_rank(self, network: Network) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Layer name, down and up projection of every branch of the first image: an ordinary LoRA of scale 1.

        Down is V, ``[rank, in]`` or ``[rank, in, kh, kw]``; up is ``s·U Sigma`` with the strength, ``[out, rank]``.
        """
        for name, hook in self._network_hooks(network).items():
            if isinstance(hook, _LowRankHook):
                yield name, hook.down, hook.up[0].T

    def _network_hooks(self, network: Network) -> dict[str, _LowRankHook | _ConvInHook]:
        if network not in self._hooks:
            layers = self.adapter.layers[network]
            sigma = self.sigma[network]
            scale = layers.scale * self.strength
            blocks = self.adapter.block_index[network]
            hooks: dict[str, _LowRankHook | _ConvInHook] = {}
            for name, down, up, block in zip(layers.names, layers.down, layers.up, blocks, strict=True):
                branch = scale * sigma[:, block].to(up.dtype) @ up.T
                hooks[name] = _LowRankHook(down, branch, self._downs, f"{network}.{name}")
            if network == "unet":
                hooks["conv_in"] = _ConvInHook(self.adapter.conv_in, self.strength)
            self._hooks[network] = hooks
        return self._hooks[network]


class FoldedAdapter:
    """A context in which layers of a network have other parameters; it can be entered again and again.

    The original parameters are set aside and put back, the same objects, untouched.

    Args:
        parameters: layer name and new parameters, from :meth:`ModulatedAdapter.folded_parameters`.
        lookup: finds the network's modules by their diffusers names.
    """

    def __init__(self, parameters: Iterable[tuple[str, dict[str, nn.Parameter]]], lookup: Lookup) -> None:
        self._parameters = list(parameters)
        self._lookup = lookup
        self._originals: list[tuple[nn.Module, dict[str, nn.Parameter]]] = []

    def __enter__(self) -> None:
        try:
            for name, replacements in self._parameters:
                module = self._lookup(name)
                self._originals.append((module, {key: getattr(module, key) for key in replacements}))
                _set_parameters(module, replacements)
        except BaseException:
            self._put_back()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._put_back()

    def _put_back(self) -> None:
        while self._originals:
            module, before = self._originals.pop()
            _set_parameters(module, before)


def _set_parameters(module: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
    for name, parameter in parameters.items():
        setattr(module, name, parameter)


class _LowRankHook:
    """Adds ``x V · (s Sigma U)`` to the output of a Linear or Conv2d.

    ``down`` is V; ``up`` is ``s·Sigma·U^T``, ``[B, rank, out]``: Sigma folded into the cheaper of the two projections.
    """

    def __init__(self, down: Tensor, up: Tensor, downs: dict[str, Tensor], key: str) -> None:
        self.down = down
        self.up = up
        self._downs = downs
        self._key = key
        self._up: Tensor | None = None

    def __call__(self, module: Any, args: tuple, output: Tensor) -> Tensor:
        x = args[0]
        down, up = self._like(x)
        batch = x.shape[0]
        up = _rows_for(up, batch)
        if isinstance(module, nn.Conv2d):
            if down.ndim == 2:
                down = down[:, :, None, None]
            # with the module's own stride, padding and padding mode
            hidden = module._conv_forward(x, down, None)  # noqa: SLF001  torch has no public call with other weights
            # pixels as rows: a view of channels-last memory, so that one matrix product adds in place
            if output.is_contiguous(memory_format=torch.channels_last):
                added = _add_product(_pixel_rows(output), _pixel_rows(hidden), up)
                return rearrange(added, "b (h w) c -> b c h w", h=output.shape[2])
            return _add_product(output.flatten(2), up.transpose(1, 2), hidden.flatten(2)).view(output.shape)
        hidden = F.linear(x, down.flatten(1))
        rows = output.reshape(batch, -1, output.shape[-1])
        return _add_product(rows, hidden.reshape(batch, -1, hidden.shape[-1]), up).view(output.shape)

    def fold(self, module: Any) -> dict[str, Tensor]:
        down = self.down.to(self.up.device)
        update = (self.up[0].T.float() @ down.flatten(1).float()).view(module.weight.shape)
        return {"weight": module.weight.float() + update.to(module.weight.device)}

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both projections in the type and on the device of ``x``; remembered where no gradient goes through them."""
        if torch.is_grad_enabled():
            return self.down.to(x), self.up.to(x)
        if self._up is None or self._up.dtype != x.dtype or self._up.device != x.device:
            self._up = self.up.to(x)
        down = self._downs.get(self._key)
        if down is None or down.dtype != x.dtype or down.device != x.device:
            down = self._downs[self._key] = self.down.to(x)
        return down, self._up


class _ConvInHook:
    """Replaces the output of ``conv_in`` by the trained convolution's, or by a blend of both."""

    def __init__(self, conv_in: ConvIn, strength: float) -> None:
        self.conv_in = conv_in
        self.strength = strength

    def __call__(self, module: Any, args: tuple, output: Tensor) -> Tensor:
        x = args[0]
        weight, bias = self.conv_in.weight.to(x), self.conv_in.bias.to(x)
        trained = module._conv_forward(x, weight, bias)  # noqa: SLF001  as above
        return trained if self.strength == 1 else torch.lerp(output, trained.to(output.dtype), self.strength)

    def fold(self, module: Any) -> dict[str, Tensor]:
        trained = {"weight": self.conv_in.weight, "bias": self.conv_in.bias}
        return {
            key: torch.lerp(getattr(module, key).float(), value.to(module.weight.device).float(), self.strength)
            for key, value in trained.items()
        }


def _add_product(base: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """``base + left @ right`` batch-wise; in place where no gradient needs the old value."""
    left, right = left.to(base.dtype), right.to(base.dtype)
    return torch.baddbmm(base, left, right) if torch.is_grad_enabled() else base.baddbmm_(left, right)


def _pixel_rows(maps: Tensor) -> Tensor:
    return rearrange(maps, "b c h w -> b (h w) c")


def _rows_for(per_image: Tensor, batch: int) -> Tensor:
    images = per_image.shape[0]
    if images == batch:
        return per_image
    if images == 1:
        return per_image.expand(batch, -1, -1)
    if batch % images:
        raise ValueError(
            f"{images} degradation vectors cannot serve a batch of {batch}: give one vector, or one for each image"
        )
    return per_image.repeat(batch // images, 1, 1)


def _without_unit_kernel(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)
