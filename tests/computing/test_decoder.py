"""Decoders in the place of the backbone's own: every layout that they come in, and those of other latents."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from helpers.commands import save_picture
from helpers.reference import assert_close
from safetensors.torch import save_file

from hidra_core import DiffusersBackbone, load_backbone
from hidra_core.backbone import SD_TURBO_UNET, SD_TURBO_VAE, build_diffusers
from hidra_core.sources import Beside, enhance_file, open_source

TINY = {"encoder_block_out_channels": (8,) * 4, "decoder_block_out_channels": (8,) * 4}
SMALL = {**SD_TURBO_VAE, "layers_per_block": 1, "block_out_channels": [32] * 4}


@pytest.fixture(scope="module")
def thin() -> AutoencoderTiny:
    """A decoder of TAESD's shape with random weights."""
    torch.manual_seed(0)
    return AutoencoderTiny(**TINY).eval().requires_grad_(False)


@pytest.fixture
def backbone() -> DiffusersBackbone:
    """A small one whose latents have the shape of Stable Diffusion's."""
    torch.manual_seed(1)
    unet = {
        **SD_TURBO_UNET,
        "layers_per_block": 1,
        "block_out_channels": [32, 32],
        "attention_head_dim": 2,
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "cross_attention_dim": 16,
    }
    return DiffusersBackbone(*build_diffusers(unet, SMALL), name="small")


def own_layout(thin: AutoencoderTiny, prefix: str) -> dict[str, torch.Tensor]:
    """The decoder's tensors with TAESD's numbers of layers, which count the clamp."""
    named = ((key.removeprefix("layers.").partition("."), tensor) for key, tensor in thin.decoder.state_dict().items())
    return {f"{prefix}{int(number) + 1}.{name}": tensor for (number, _, name), tensor in named}


@pytest.mark.parametrize("layout", ["alone", "joined", "diffusers", "folder"])
@torch.no_grad()
def test_every_layout_decodes_alike(backbone, thin, tmp_path, layout):
    path = tmp_path / "taesd.safetensors"
    if layout == "folder":
        path = tmp_path / "taesd"
        thin.save_pretrained(path)
    elif layout == "diffusers":
        save_file(thin.state_dict(), path)
    elif layout == "joined":
        save_file(own_layout(thin, "taesd_decoder.") | {"vae_scale": torch.tensor(0.18215)}, path)
    else:
        save_file(own_layout(thin, ""), path)
    latent = torch.randn(2, 4, 8, 16, generator=torch.Generator().manual_seed(0))
    own = backbone.decode(latent)
    backbone.use_decoder(path)
    assert_close(backbone.decode(latent), thin.decode(latent).sample, 1e-4)
    assert backbone.decode(latent).shape == own.shape
    assert backbone.decoder_name == "taesd"


@torch.no_grad()
def test_a_full_decoder_of_the_same_latents(backbone, tmp_path):
    torch.manual_seed(2)
    AutoencoderKL(**SMALL).save_pretrained(tmp_path / "mse")
    other = AutoencoderKL.from_pretrained(tmp_path / "mse")
    latent = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    backbone.use_decoder(tmp_path / "mse")
    assert_close(backbone.decode(latent), other.decode(latent / 0.18215).sample, 1e-4)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (AutoencoderTiny, {**TINY, "latent_channels": 16}, r"takes 16 channels.*which have 4 channels|no decoder.*16"),
        (AutoencoderTiny, {**TINY, "scaling_factor": 0.5}, "scaling factor is 0.5 with shift 0; expected 1 without"),
        (AutoencoderKL, {**SMALL, "scaling_factor": 0.13025}, "scaling factor is 0.13025 .*expected 0.18215"),
        (AutoencoderKL, {**SMALL, "shift_factor": 0.1}, "with shift 0.1; expected 0.18215 without shift"),
    ],
)
def test_folders_of_other_latents_are_refused(backbone, tmp_path, kind, options, message):
    kind(**options).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=message):
        backbone.use_decoder(tmp_path / "other")
    assert backbone.decoder_name is None


def test_files_of_other_kinds_are_refused(backbone, thin, tmp_path):
    path = tmp_path / "file.safetensors"
    cases = {
        "no layers in it have numbers": {"weight": torch.zeros(2)},
        "scaling factor 0.13025; expected 0.18215": own_layout(thin, "") | {"vae_scale": torch.tensor(0.13025)},
        r"no decoder of TAESD's shape": {"1.weight": torch.zeros(8, 4, 3, 3), "1.bias": torch.zeros(8)},
        "is it an encoder": {"0.weight": torch.zeros(8, 3, 3, 3), "1.weight": torch.zeros(8, 16, 3, 3)},
        "takes 8 channels": own_layout(AutoencoderTiny(**TINY, latent_channels=8), ""),
    }
    for message, tensors in cases.items():
        save_file(tensors, path)
        with pytest.raises(ValueError, match=message):
            backbone.use_decoder(path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="not a folder of diffusers"):
        backbone.use_decoder(tmp_path)
    with pytest.raises(FileNotFoundError):
        backbone.use_decoder(tmp_path / "absent.safetensors")


def test_hidra_tiny_needs_none(thin, tmp_path):
    save_file(own_layout(thin, ""), tmp_path / "taesd.safetensors")
    with pytest.raises(
        ValueError, match=r"hidra-tiny, which have 8 channels, 1/2 .*takes 4 channels, 1/8 .*own is thin"
    ):
        load_backbone("hidra-tiny", device="cpu", dtype="fp32").use_decoder(tmp_path / "taesd.safetensors")


def test_the_trust_report_names_it(tiny, tmp_path, monkeypatch):
    backbone, weights = tiny
    source = save_picture(tmp_path / "in.png")
    for name in (None, "taesd"):
        monkeypatch.setattr(backbone, "decoder_name", name)
        beside = Beside(trust=(tmp_path / f"{name}.png", tmp_path / f"{name}.json"))
        enhance_file(open_source(source), tmp_path / f"out-{name}.png", backbone, weights, beside=beside)
        assert json.loads((tmp_path / f"{name}.json").read_text()).get("decoder") == name
