"""Pretrain a small backbone from nothing, with its DEM and adapter, as hidra-tiny is.

    python train/pretrain.py --config train/configs/hidra-tiny-prior.yaml
    python train/pretrain.py --config … joint.steps=200 data.train=/my/images       # override any value
    python train/pretrain.py --config …                                             # again: resumes its checkpoint
    python train/pretrain.py --config … --export                                    # only write the files

Five phases, each with its steps, batch and learning rate in the config: the DEM learns to tell how a frame was degraded
and how bright it was; the autoencoder learns to reproduce clean images; then everything but the DEM's backbone, as in
the method, learns to restore, on small crops (joint) and then on large ones (finish); at the end the UNet and its
adapter alone see whole frames (whole), as no crop shows how shading goes on beyond it. A phase of 0 steps is left out.

``run.init`` starts from the folder of an earlier export instead of from nothing; ``run.new_dem`` then still trains
another DEM from nothing. Whenever the DEM changes, the adapter that was made for the earlier one gets the linear map by
which the earlier vectors are best read from the new. Writes to
``run.output``: ``config.yaml``, ``log.csv``, ``checkpoint.pt`` and at the end ``backbone.safetensors`` and
``weights.safetensors``. Ctrl-C saves a checkpoint and exits.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
import yaml
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.adapter import Adapter
from hidra_core.backbone import DiffusersBackbone, build_diffusers, load_backbone, save_backbone
from hidra_core.dem import DEGRADATION_WIDTH, DegradationEstimator, build_dinov2
from hidra_core.images.files import atomic_path
from hidra_core.weights import TEXT_TOKENS, Weights, load_weights, save_weights
from train.method.data import FACTORS, GREY_FACTORS, DegradedFrames, list_images, load_images, source_odds
from train.method.losses import reconstruction_loss
from train.pretraining.norm import speed_up_group_norm
from train.pretraining.start import start_as_copy, start_seeing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

log = logging.getLogger("train")

RIDGE = 1e-3
"""Weight of ridge regression on degradation vectors, whose components are of the order of 1."""

FITTED = 800
"""Frames of each size that it looks at; several times the components in all."""

SEEN_AT_START = 1000
"""Frames whose patches a DEM from nothing whitens."""

PHASES = ("estimator", "autoencoder", "joint", "finish", "whole")


class Enhancer(nn.Module):
    """Everything that is trained: DEM, adapter, backbone, and linear read-outs of ``P``.

    ``probe`` reads the factors; ``translation`` the vectors that an earlier DEM, for which the adapter was made, gives.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        backbone, adapter = config["backbone"], config["adapter"]
        self.unet, self.vae = build_diffusers(backbone["unet"], backbone["vae"])
        self.backbone = DiffusersBackbone(
            self.unet, self.vae, name=backbone["name"], prediction_type=backbone["prediction_type"]
        )
        self.estimator = DegradationEstimator(build_dinov2(backbone["dem"]), fit=backbone["dem_fit"])
        self.adapter = Adapter.for_networks(
            self.unet, self.vae, unet_rank=adapter["unet_rank"], vae_rank=adapter["vae_rank"]
        )
        # From nothing, Σ ≈ 0 beside U = 0 would leave the branches without gradient: start from plain LoRA, Σ = I
        for head in self.adapter.heads.values():
            head.fuse.bias.data.copy_(torch.eye(head.rank).flatten())
            for linear in (head.degradation, head.block, head.fuse):
                nn.init.kaiming_normal_(linear.weight)
            head.fuse.weight.data.mul_(0.1)
        self.probe = nn.Linear(DEGRADATION_WIDTH, len(FACTORS))
        self.translation = nn.Linear(DEGRADATION_WIDTH, DEGRADATION_WIDTH)
        width = backbone["unet"]["cross_attention_dim"]
        self.register_buffer("text_embedding", torch.randn(1, TEXT_TOKENS, width))

    def start_from(self, folder: Path) -> None:
        """Take over the two files of an earlier export; the probe, which they lack, stays as it is.

        Raises:
            FileNotFoundError, ValueError: no such files, or of another architecture.
        """
        backbone = load_backbone(folder / "backbone.safetensors", device="cpu", dtype="fp32")
        weights = load_weights(folder / "weights.safetensors")
        for name, part in (
            ("unet", backbone.unet),
            ("vae", backbone.vae),
            ("estimator", weights.estimator),
            ("adapter", weights.adapter),
        ):
            try:
                self.get_submodule(name).load_state_dict(part.state_dict())
            except RuntimeError as error:
                raise ValueError(f"run.init: the {name} in {folder} is not the config's: {error}") from error
        self.text_embedding.copy_(weights.text_embedding)

    def start_as_copy(self, images: Tensor) -> None:
        """See :mod:`train.pretraining.start`; the adapter's ``conv_in`` starts as the backbone's."""
        start_as_copy(self.backbone, images.expand(-1, 3, -1, -1), self.text_embedding)
        self.adapter.conv_in.load_state_dict(self.unet.conv_in.state_dict())

    def reconstruct(self, images: Tensor) -> Tensor:
        """The autoencoder alone, ``[B, 1, H, W]`` in [-1, 1] to the same."""
        return self.backbone.decode(self.backbone.encode(images.expand(-1, 3, -1, -1))).mean(dim=1, keepdim=True)

    @torch.no_grad()
    def translate(self) -> None:
        """From now on the adapter takes what the DEM gives for what the earlier one would have given."""
        weight, bias = self.translation.weight, self.translation.bias
        for head in self.adapter.heads.values():
            head.degradation.bias.add_(head.degradation.weight @ bias)
            head.degradation.weight.copy_(head.degradation.weight @ weight)

    def estimate(self, frames: Tensor) -> Tensor:
        """Degradation vectors ``[B, 256]`` of frames ``[B, 1, H, W]`` in [-1, 1]."""
        return self.estimator(frames.expand(-1, 3, -1, -1))

    def forward(self, degraded: Tensor, vectors: Tensor, strength: float) -> Tensor:
        """``[B, 1, H, W]`` in [-1, 1] to the same; gradients reach every parameter at strengths above 0."""
        images = degraded.expand(-1, 3, -1, -1)
        modulated = self.adapter.modulate(vectors, strength)
        with modulated.attached("vae", self.backbone.lookup("vae")):
            latent = self.backbone.encode(images)
        with modulated.attached("unet", self.backbone.lookup("unet")):
            latent = self.backbone.denoise(latent, self.text_embedding)
        return self.backbone.decode(latent).mean(dim=1, keepdim=True)


def factor_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of :data:`~train.method.data.FACTORS`; the grey levels count double, the picture hangs on them."""
    error = (predicted - wanted).square().mean(dim=0)
    return (error[:GREY_FACTORS].sum() * 2 + error[GREY_FACTORS:].sum()) / len(FACTORS)


def shuffled(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """The square blocks of images ``[B, 1, H, W]`` in another order, the same for all; a remainder is cut off.

    Grey levels, noise and blur stay, the scene goes: a DEM that has seen few scenes must not know them by heart.
    """
    rows, columns = (length // side for length in images.shape[-2:])
    blocks = images[..., : rows * side, : columns * side].unfold(2, side, side).unfold(3, side, side).flatten(2, 3)
    blocks = blocks[:, :, torch.randperm(rows * columns, generator=generator)]
    blocks = blocks.unflatten(2, (rows, columns))  # [B, 1, rows, columns, side, side]
    return blocks.transpose(3, 4).reshape(len(images), 1, rows * side, columns * side)


def learning_rate(step: int, phase: dict[str, Any]) -> float:
    """Linear warm-up, then half a cosine from ``lr`` to a fiftieth of it."""
    if step < phase["warmup"]:
        return phase["lr"] * (step + 1) / phase["warmup"]
    share = (step - phase["warmup"]) / max(1, phase["steps"] - phase["warmup"])
    return phase["lr"] * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def draw_strength(run: dict[str, Any], generator: torch.Generator) -> float:
    """1 mostly; else, so that the strength slider blends, uniform in [0, 1] or (a third of the time) exactly 0."""
    draw, value = torch.rand(2, generator=generator).tolist()
    if draw >= run["partial_strength"]:
        return 1.0
    return 0.0 if draw < run["partial_strength"] / 3 else value


class Training:
    """The run: phases one after the other, a checkpoint that knows how far it got.

    Args:
        config: of :func:`read_config`.
        output: folder of the run.
    """

    def __init__(self, config: dict[str, Any], output: Path) -> None:
        self.config = config
        self.output = output
        self.run = config["run"]
        self.checkpoint = output / "checkpoint.pt"
        torch.manual_seed(self.run["seed"])
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = Enhancer(config)
        self.fresh = self.run["init"] is None
        self.new_dem = self.fresh or self.run["new_dem"]
        if not self.fresh:
            self.model.start_from(Path(self.run["init"]))
        self.model.to(self.device).train()
        if self.device.type == "cpu":  # on an H100 the contiguous layout is a tenth faster
            self.model.to(memory_format=torch.channels_last)
            speed_up_group_norm(self.model)
        images = load_images(
            list_images(Path(config["data"]["train"])), min(min(size) for size in config["data"]["frames"])
        )
        self.images, self.odds = list(images.values()), source_odds(list(images))
        log.info("%d images, %.1f M parameters", len(self.images), sum(p.numel() for p in self._parameters()) / 1e6)
        self.average = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
        self.optimiser_state: dict[str, Any] | None = None
        self.phase, self.step = 0, 0
        self.pool: list[tuple[Tensor, Tensor, Tensor]] | None = None
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
            self.model.load_state_dict(state["model"])
            self.average, self.optimiser_state = state["average"], state["optimiser"]
            self.phase, self.step = state["phase"], state["step"]
            log.info("resumed %s at step %d of phase %s", self.checkpoint, self.step, PHASES[self.phase])

    def _parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def save(self, optimiser: torch.optim.Optimizer | None = None) -> None:
        with atomic_path(self.checkpoint) as temporary:
            state = {"model": self.model.state_dict(), "average": self.average, "phase": self.phase, "step": self.step}
            torch.save(state | {"optimiser": optimiser.state_dict() if optimiser else None}, temporary)

    def all_phases(self) -> None:
        """From where the checkpoint stands to the end; KeyboardInterrupt passes through, after a checkpoint."""
        while True:
            if self.config[PHASES[self.phase]]["steps"]:
                self._run_phase(PHASES[self.phase])
            if PHASES[self.phase] == PHASES[-1]:
                return
            self.phase, self.step, self.optimiser_state = self.phase + 1, 0, None
            if PHASES[self.phase] == "autoencoder":
                self.pool = None
            self.average = {name: parameter.detach().clone() for name, parameter in self.model.named_parameters()}
            self.save()

    def _samples(self, name: str) -> Iterable[dict[str, Tensor]]:
        """What is left of the phase's batches: sample i depends on i alone, so that resuming repeats nothing."""
        phase = self.config[name]
        seed = self.run["seed"] * len(PHASES) + PHASES.index(name)
        if name == "estimator":
            return self._drawn_from_pool(phase, seed)
        if name == "whole":
            return self._whole_frames(phase, seed)
        count = phase["steps"] * phase["batch"]
        remaining = range(self.step * phase["batch"], count)
        dataset = self._frames(self.config["data"]["frames"], phase["crop"], seed, count, phase["batch"])
        workers = self.config["data"]["workers"]
        return DataLoader(dataset, phase["batch"], sampler=remaining, num_workers=workers, drop_last=True)

    def _whole_frames(self, phase: dict[str, Any], seed: int) -> DataLoader:
        """Uncropped frames, in each batch of one size, and as many as have the pixels of ``batch`` of the first."""
        sizes = phase["frames"]
        batches = [max(1, phase["batch"] * math.prod(sizes[0]) // math.prod(size)) for size in sizes]
        sets = [
            self._frames([size], None, seed * len(sizes) + number, phase["steps"] * batch)
            for number, (size, batch) in enumerate(zip(sizes, batches, strict=True))
        ]
        chosen = []
        for step in range(self.step, phase["steps"]):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            number = int(torch.randint(len(sizes), (1,), generator=generator))
            first = sum(map(len, sets[:number])) + step * batches[number]
            chosen.append(range(first, first + batches[number]))
        return DataLoader(ConcatDataset(sets), batch_sampler=chosen, num_workers=self.config["data"]["workers"])

    def _frames(
        self,
        sizes: list[list[int]],
        crop: int | None,
        seed: int,
        count: int,
        batch: int = 1,
        presets: dict[str, float] | None = None,
    ) -> DegradedFrames:
        data = self.config["data"]
        sizes = [(height, width) for height, width in sizes]
        presets = presets or data["presets"]
        return DegradedFrames(
            self.images, presets, sizes, crop, seed, count, batch=batch, odds=self.odds, tone=data["tone"]
        )

    def _drawn_from_pool(self, phase: dict[str, Any], seed: int) -> Iterator[dict[str, Tensor]]:
        """Frames drawn again and again from a pool made once: making one costs as much as learning from it."""
        sizes = self.config["data"]["frames"]
        for step in range(self.step, phase["steps"]):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            frames, wanted, vectors = self.pool[int(torch.randint(len(sizes), (1,), generator=generator))]
            # as many pixels a step, whatever the size of the frames
            count = max(2, phase["batch"] * math.prod(sizes[0]) // frames[0].numel())
            chosen = torch.randint(len(frames), (count,), generator=generator)
            seen = frames[chosen] / 127.5 - 1
            batch = {"factors": wanted[chosen]}
            if torch.rand(1, generator=generator).item() < phase["shuffle"]:
                seen = shuffled(seen, self.config["backbone"]["dem"]["patch_size"], generator)
            elif phase["anchor"] and not self.fresh:  # no earlier vectors are known of shuffled frames
                batch["vectors"] = vectors[chosen]
            yield batch | {"frame": seen}

    def _make_pool(self, sizes: list[list[int]]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """For each size of frames, some as uint8, their factors, and what the DEM of ``run.init`` says of them.

        Without an anchor the latter is of the first :data:`FITTED` only.
        """
        earlier = None
        if not self.fresh:
            earlier = load_weights(Path(self.run["init"]) / "weights.safetensors").estimator.to(self.device)
        pool = []
        for number, size in enumerate(sizes):
            samples = self._frames(
                [size],
                16,
                self.run["seed"] + 1000 + number,
                self.config["data"]["pool"] // len(sizes),
                presets=self.config["data"]["seen"],
            )
            loader = DataLoader(samples, 50, num_workers=os.cpu_count() or 1)
            made = [
                (torch.round((batch["frame"] + 1) * 127.5).to(torch.uint8), batch["factors"])
                for batch in tqdm(loader, "pool", dynamic_ncols=True, mininterval=5)
            ]
            frames = torch.cat([part for part, _ in made])
            known = len(frames) if self.config["estimator"]["anchor"] else FITTED  # what _fit looks at, in any case
            vectors = self._read(earlier, frames[:known]) if earlier else torch.empty(len(frames), 0)
            pool.append((frames, torch.cat([wanted for _, wanted in made]), vectors))
        return pool

    @torch.no_grad()
    def _read(self, estimator: nn.Module, frames: Tensor) -> Tensor:
        """Degradation vectors ``[N, 256]`` of uint8 frames ``[N, 1, H, W]``."""
        found = []
        for part in frames.split(32):
            seen = (part.to(self.device) / 127.5 - 1).expand(-1, 3, -1, -1)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.run["dtype"] != "float32"):
                found.append(estimator(seen).float().cpu())
        return torch.cat(found)

    def _fit(self, **wanted: Sequence[Tensor]) -> None:
        """Ridge regression on the DEM's vectors: for each linear layer, by name, its outputs for the pool's parts."""
        read = [self._read(self.model.estimator, frames[:FITTED]) for frames, *_ in self.pool]
        vectors = torch.cat(read).double()
        vectors = F.pad(vectors, (0, 1), value=1.0)
        ridge = torch.eye(vectors.shape[1]).to(vectors) * (RIDGE * len(vectors))
        for name, outputs in wanted.items():
            known = torch.cat([part[:FITTED] for part in outputs]).to(vectors)
            found = torch.linalg.solve(vectors.T @ vectors + ridge, vectors.T @ known).T
            target = self.model.get_submodule(name)
            with torch.no_grad():
                target.weight.copy_(found[:, :-1])
                target.bias.copy_(found[:, -1])

    def _prepare_dem(self) -> None:
        """The pool, and at the first step what the read-outs, or a DEM from nothing, start with."""
        self.pool = self.pool or self._make_pool(self.config["data"]["frames"])
        if self.step:
            return
        if self.new_dem:
            generator = torch.Generator().manual_seed(self.run["seed"])
            frames = self.pool[0][0][:SEEN_AT_START] / 127.5 - 1
            start_seeing(self.model.estimator, frames.to(self.device), generator)
        _, factors, vectors = zip(*self.pool, strict=True)
        self._fit(probe=factors, **({} if self.fresh else {"translation": vectors}))

    def _run_phase(self, name: str) -> None:
        phase, model = self.config[name], self.model
        if self.step == 0 and name == "autoencoder" and self.fresh:
            calibration = self._frames([[phase["crop"]] * 2], phase["crop"], 0, 32)
            model.start_as_copy(torch.stack([calibration[i]["clean"] for i in range(32)]).to(self.device))
        if name == "estimator":
            parts = [model.estimator, model.probe, model.translation]
            self._prepare_dem()
        elif name == "autoencoder":
            parts = [model.vae]
        elif name == "whole":  # half the cost: shading and brightness are the UNet's, and P is known by now
            parts = [model.unet, model.adapter.layers["unet"], model.adapter.heads["unet"], model.adapter.conv_in]
        else:
            parts = [part for name, part in model.named_children() if name != "estimator"]
            parts += [part for name, part in model.estimator.named_children() if name != "backbone"]
        trained = {parameter for part in parts for parameter in part.parameters()}
        # A step of the optimiser moves all weights of a patch's filter towards brightness alike: fine structure drowns
        trained -= set(model.estimator.backbone.embeddings.patch_embeddings.parameters())
        for parameter in model.parameters():
            parameter.requires_grad_(parameter in trained)
        parameters = [parameter for parameter in model.parameters() if parameter in trained]
        optimiser = torch.optim.AdamW(
            parameters, lr=phase["lr"], betas=(0.9, 0.99), weight_decay=self.run["weight_decay"], fused=True
        )
        if self.optimiser_state is not None:
            optimiser.load_state_dict(self.optimiser_state)
        with open(self.output / "log.csv", "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if file.tell() == 0:
                writer.writerow(("phase", "step", "loss", "mse", "lr", "grad_norm", "seconds"))
            started = time.monotonic()
            bar = tqdm(
                self._samples(name), name, initial=self.step, total=phase["steps"], dynamic_ncols=True, mininterval=5
            )
            try:
                for batch in bar:
                    rate = learning_rate(self.step, phase)
                    for group in optimiser.param_groups:
                        group["lr"] = rate
                    loss, error = self._loss(name, {key: value.to(self.device) for key, value in batch.items()})
                    optimiser.zero_grad(set_to_none=True)
                    loss.backward()
                    norm = nn.utils.clip_grad_norm_(parameters, self.run["clip"])
                    if torch.isfinite(norm):  # one bad batch must not poison the run
                        optimiser.step()
                    self.step += 1
                    decay = min(self.run["ema"], (1 + self.step) / (10 + self.step))
                    now = [parameter.detach() for parameter in self._parameters()]
                    torch._foreach_lerp_(list(self.average.values()), now, 1 - decay)
                    bar.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
                    seconds = time.monotonic() - started
                    writer.writerow((name, self.step, loss.item(), error.item(), rate, norm.item(), seconds))
                    if self.step % self.run["checkpoint_every"] == 0:
                        self.save(optimiser)
                        file.flush()
            finally:
                self.save(optimiser)
        if name == "estimator" and not self.fresh:
            self._fit(translation=[vectors for *_, vectors in self.pool])
            model.translate()

    def _loss(self, name: str, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the mean squared error for the log."""
        model, weights = self.model, self.config["loss"]
        dtype = getattr(torch, self.run["dtype"])
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            if name == "autoencoder":
                output, target, extra = model.reconstruct(batch["clean"]), batch["clean"], 0.0
            else:
                vectors = model.estimate(batch["frame"])
                extra = factor_loss(model.probe(vectors).float(), batch["factors"])
                if name == "estimator":
                    loss = extra
                    if "vectors" in batch:
                        earlier = batch["vectors"]
                        missing = F.mse_loss(model.translation(vectors).float(), earlier) / earlier.var(dim=0).mean()
                        loss = loss + self.config["estimator"]["anchor"] * missing
                    return loss, extra.detach()
                strength = draw_strength(self.run, torch.Generator().manual_seed(self.run["seed"] + self.step))
                output = model(batch["degraded"], vectors, strength)
                target = batch["clean"]
                if strength != 1:
                    target = torch.lerp(batch["degraded"], target, strength)
        output = output.float()
        # at partial strengths the target is mostly the input: a dB of copying is worth nothing
        log_weight = weights["log"] if target is batch["clean"] else 0.0
        loss = reconstruction_loss(output, target, log_weight, weights["ssim"]) + weights["factors"] * extra
        return loss, F.mse_loss(output, target).detach()


def export(config: dict[str, Any], output: Path) -> None:
    """Write the averaged parameters of the checkpoint as the two files that inference loads."""
    state = torch.load(output / "checkpoint.pt", weights_only=True)
    model = Enhancer(config)
    model.load_state_dict(state["model"])
    for name, parameter in model.named_parameters():
        parameter.data.copy_(state["average"][name])
    finished = PHASES[: state["phase"]]
    training = {
        "strategy": "pretraining",
        "start": "an earlier export" if config["run"]["init"] else "nothing",
        "steps": {name: config[name]["steps"] for name in finished} | {PHASES[state["phase"]]: state["step"]},
        "batch": {name: config[name]["batch"] for name in PHASES if config[name]["steps"]},
        "seed": config["run"]["seed"],
        "degradations": config["data"]["presets"],
    }
    save_backbone(model.backbone, output / "backbone.safetensors")
    weights = Weights(model.estimator, model.adapter, model.text_embedding, model.backbone.name, training)
    save_weights(weights, output / "weights.safetensors", dtype=torch.float16)
    log.info("exported %s", output)


def read_config(path: Path, overrides: list[str]) -> dict[str, Any]:
    """A YAML config with ``section.key=value`` overrides; unknown keys are refused.

    Raises:
        ValueError: an override without ``=`` or of a key that the config lacks.
    """
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    for override in overrides:
        dotted, equals, value = override.partition("=")
        *sections, key = dotted.split(".")
        place = config
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not equals or not isinstance(place, dict) or key not in place:
            raise ValueError(f"cannot override '{override}': give section.key=value with a key of {path}")
        read = yaml.safe_load(value)
        place[key] = float(read) if isinstance(place[key], float) else read  # YAML takes 1e-3 for a text
    return config


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="a YAML file of train/configs")
    parser.add_argument("--export", action="store_true", help="only write the files of the newest checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="replace a value of the config")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        config = read_config(options.config, options.overrides)
        output = Path(config["run"]["output"])
        output.mkdir(parents=True, exist_ok=True)
        if options.export:
            export(config, output)
        else:
            (output / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
            try:
                Training(config, output).all_phases()
            except KeyboardInterrupt:
                log.info("interrupted; the same command goes on from the checkpoint")
                return 130
            export(config, output)
    except (ValueError, OSError) as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell starts background jobs with Ctrl-C ignored
        signal.signal(number, signal.default_int_handler)
    sys.exit(main())
