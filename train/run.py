"""Train HiDRA and export the files that the nodes and the command line load.

    python train/run.py --config train/configs/hidra-tiny.yaml                      # hidra-tiny from nothing
    python train/run.py --config … run.steps=200 data.train=/my/images              # override any value
    python train/run.py --config …                                                  # again: resumes its checkpoint
    python train/run.py --config … --export                                         # only write the files

The joint strategy: DEM, adapter and, for a backbone built from nothing, the backbone itself descend one loss.
Writes to ``run.output``: ``config.yaml``, ``log.csv``, ``checkpoint.pt`` and at the end ``backbone.safetensors`` and
``weights.safetensors``. Ctrl-C saves a checkpoint and exits.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import re
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script from anywhere

from hidra_core.adapter import Adapter
from hidra_core.backbone import DiffusersBackbone, alpha_cumprod, build_diffusers, load_backbone, save_backbone
from hidra_core.dem import DegradationEstimator, build_dinov2
from hidra_core.files import atomic_path
from hidra_core.weights import TEXT_TOKENS, Weights, load_weights, save_weights
from train.data import DegradedCrops, load_folder
from train.losses import reconstruction_loss
from train.norm import speed_up_group_norm

log = logging.getLogger("train")

SILENT = re.compile(r"\.(conv2|to_out\.0|ff\.net\.2)\.(weight|bias)$")
"""Last layers of the residual branches of diffusers' networks."""


class Enhancer(nn.Module):
    """Everything that a joint run trains, and its forward pass: degraded ``x`` to enhanced ``x̂``."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        backbone, adapter = config["backbone"], config["adapter"]
        self.name = backbone["name"]
        self.unet, self.vae = build_diffusers(backbone["unet"], backbone["vae"])
        self.backbone = DiffusersBackbone(
            self.unet, self.vae, name=self.name, prediction_type=backbone["prediction_type"]
        )
        self.estimator = DegradationEstimator(build_dinov2(backbone["dem"]))
        self.adapter = Adapter.for_networks(
            self.unet, self.vae, unet_rank=adapter["unet_rank"], vae_rank=adapter["vae_rank"]
        )
        # From nothing, Σ ≈ 0 beside U = 0 would leave the branches without gradient: start from plain LoRA, Σ = I
        for head in self.adapter.heads.values():
            head.fuse.bias.data.copy_(torch.eye(head.rank).flatten())
        # and every residual branch silent: the deep chain starts as its short linear path
        for name, parameter in self.named_parameters():
            if name.startswith(("unet.", "vae.")) and SILENT.search(name):
                nn.init.zeros_(parameter)
        width = backbone["unet"]["cross_attention_dim"]
        self.register_buffer("text_embedding", torch.randn(1, TEXT_TOKENS, width))

    def load_files(self, folder: Path) -> None:
        """Take all parameters from exported ``backbone.safetensors`` and ``weights.safetensors`` of the same sizes."""
        backbone = load_backbone(folder / "backbone.safetensors", device="cpu", dtype="fp32")
        weights = load_weights(folder / "weights.safetensors")
        for ours, theirs in (
            (self.unet, backbone.unet),
            (self.vae, backbone.vae),
            (self.estimator, weights.estimator),
            (self.adapter, weights.adapter),
        ):
            ours.load_state_dict(theirs.state_dict())
        self.text_embedding.copy_(weights.text_embedding)

    def reconstruct(self, images: Tensor) -> Tensor:
        """The autoencoder alone, ``[B, 1, H, W]`` in [-1, 1] to the same."""
        return self.backbone.decode(self.backbone.encode(images.expand(-1, 3, -1, -1))).mean(dim=1, keepdim=True)

    def forward(self, degraded: Tensor, strength: float) -> Tensor:
        """``[B, 1, H, W]`` in [-1, 1] to the same; gradients reach every parameter at strengths above 0."""
        images = degraded.expand(-1, 3, -1, -1)
        modulated = self.adapter.modulate(self.estimator(images), strength)
        with modulated.attached("vae", self.backbone.lookup("vae")):
            latent = self.backbone.encode(images)
        with modulated.attached("unet", self.backbone.lookup("unet")):
            latent = self.backbone.denoise(latent, self.text_embedding)
        return self.backbone.decode(latent).mean(dim=1, keepdim=True)


@torch.no_grad()
def start_as_identity(model: Enhancer, images: Tensor) -> float:
    """Solve the UNet's last convolution so that one step returns the latent it is given.

    At t = 999 nothing of the latent passes by the network: from random weights it would first have to learn to copy.

    Args:
        model: with silent residual branches and a trained autoencoder.
        images: ``[B, 1, H, W]`` in [-1, 1] to fit on.

    Returns:
        The share of the variance that is left unexplained.
    """
    latent = model.backbone.encode(images.expand(-1, 3, -1, -1))
    layer = model.unet.conv_out
    seen: list[Tensor] = []
    with_features = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model.backbone.predict_noise(latent, model.text_embedding)
    with_features.remove()
    columns = nn.functional.unfold(seen[0].float(), layer.kernel_size, padding=layer.padding)  # (B, C·9, h·w)
    columns = torch.cat([columns, torch.ones_like(columns[:, :1])], dim=1).transpose(1, 2).flatten(0, 1).double()
    alpha = alpha_cumprod()
    wanted = (alpha**0.5 - 1) / (1 - alpha) ** 0.5 * latent  # v for which the denoised latent is z
    wanted = wanted.float().flatten(2).transpose(1, 2).flatten(0, 1).double()
    gram = columns.T @ columns
    gram += 1e-4 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    solution = torch.linalg.solve(gram, columns.T @ wanted)  # (C·9 + 1, latent channels)
    layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
    layer.bias.copy_(solution[-1])
    return ((columns @ solution - wanted).var() / wanted.var()).item()


def learning_rate(step: int, run: dict[str, Any]) -> float:
    """Linear warm-up, then half a cosine from ``lr`` to ``final_lr``."""
    if step < run["warmup"]:
        return run["lr"] * (step + 1) / run["warmup"]
    share = (step - run["warmup"]) / max(1, run["steps"] - run["warmup"])
    return run["final_lr"] + (run["lr"] - run["final_lr"]) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def draw_strength(run: dict[str, Any], generator: torch.Generator) -> float:
    """1 mostly; else, so that the strength slider blends, uniform in [0, 1] or (a third of the time) exactly 0."""
    draw, value = torch.rand(2, generator=generator).tolist()
    if draw >= run["partial_strength"]:
        return 1.0
    return 0.0 if draw < run["partial_strength"] / 3 else value


def train(config: dict[str, Any], output: Path) -> None:
    """Run or resume the joint training of ``config``; ends with the export."""
    run, data = config["run"], config["data"]
    torch.manual_seed(run["seed"])
    model = Enhancer(config).to(memory_format=torch.channels_last).train()
    speed_up_group_norm(model)
    images = load_folder(Path(data["train"]), data["crop"])
    log.info("%d images, %.1f M parameters", len(images), sum(p.numel() for p in model.parameters()) / 1e6)
    optimiser = torch.optim.AdamW(model.parameters(), lr=run["lr"], weight_decay=run["weight_decay"], fused=True)
    checkpoint = output / "checkpoint.pt"
    first = 0
    from_nothing = run["init"] is None
    if not from_nothing:
        model.load_files(Path(run["init"]))
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        average, first = state["average"], state["step"]
        log.info("resumed %s at step %d", checkpoint, first)
    else:
        average = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}

    def save(step: int) -> None:
        with atomic_path(checkpoint) as temporary:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "average": average, "step": step}
            torch.save(state, temporary)

    dataset = DegradedCrops(
        images, data["presets"], data["crop"], data["frame"], run["seed"], run["steps"] * run["batch"]
    )
    remaining = range(first * run["batch"], len(dataset))  # sample i depends on i alone: resuming repeats nothing
    loader = DataLoader(dataset, run["batch"], sampler=remaining, num_workers=data["workers"], drop_last=True)
    columns = ("step", "loss", "strength", "lr", "grad_norm", "seconds")
    with open(output / "log.csv", "a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(columns)
        step, started = first, time.monotonic()
        bar = tqdm(loader, total=run["steps"] - first, dynamic_ncols=True)
        try:
            for degraded, clean in bar:
                if from_nothing and step == run["autoencoder_steps"]:
                    share = start_as_identity(model, torch.cat([dataset[i][1][None] for i in range(32)]))
                    log.info("the UNet starts as a copy of its input but for %.1f %% of the variance", 100 * share)
                    average.update((name, p.detach().clone()) for name, p in model.named_parameters())
                strength = draw_strength(run, torch.Generator().manual_seed(run["seed"] + step))
                for group in optimiser.param_groups:
                    group["lr"] = learning_rate(step, run)
                with torch.autocast("cpu", getattr(torch, run["dtype"]), enabled=run["dtype"] != "float32"):
                    # an autoencoder that works first spares the deep chain a long plateau at the start
                    alone = from_nothing and step < run["autoencoder_steps"]
                    enhanced = model.reconstruct(clean) if alone else model(degraded, strength)
                target = clean if alone else torch.lerp(degraded, clean, strength)
                loss = reconstruction_loss(enhanced.float(), target, config["loss"]["ssim"])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), run["clip"])
                if torch.isfinite(norm):  # one bad batch must not poison the run
                    optimiser.step()
                step += 1
                decay = min(run["ema"], (1 + step) / (10 + step))
                torch._foreach_lerp_(list(average.values()), [p.detach() for p in model.parameters()], 1 - decay)
                bar.set_postfix(loss=f"{loss.item():.4f}")
                seconds = time.monotonic() - started
                writer.writerow((step, loss.item(), strength, learning_rate(step, run), norm.item(), seconds))
                if step % run["checkpoint_every"] == 0:
                    save(step)
                    file.flush()
        except KeyboardInterrupt:
            log.info("interrupted at step %d", step)
        save(step)
    export(config, output)


def export(config: dict[str, Any], output: Path) -> None:
    """Write the averaged parameters of the checkpoint as the two files that inference loads."""
    state = torch.load(output / "checkpoint.pt", weights_only=True)
    model = Enhancer(config)
    model.load_state_dict(state["model"])
    for name, parameter in model.named_parameters():
        parameter.data.copy_(state["average"][name])
    training = {
        "strategy": "joint",
        "steps": state["step"],
        "batch": config["run"]["batch"],
        "seed": config["run"]["seed"],
        "degradations": config["data"]["presets"],
    }
    save_backbone(model.backbone, output / "backbone.safetensors")
    weights = Weights(model.estimator, model.adapter, model.text_embedding, model.name, training)
    save_weights(weights, output / "weights.safetensors", dtype=torch.float16)
    log.info("exported %s at step %d", output, state["step"])


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
        place[key] = yaml.safe_load(value)
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
            train(config, output)
    except (ValueError, OSError) as error:
        log.error("error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
