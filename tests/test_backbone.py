"""The one-step backbone: its schedule, its step, and every kind of file it comes in."""

import json
import shutil

import pytest
import torch
from helpers.reference import assert_close, assert_same, load, make_backbone, meta, network_states, run
from safetensors.torch import load_file, save_file

from hidra_core import backbone as module
from hidra_core import load_backbone
from hidra_core.adapter import NETWORKS
from hidra_core.backbone import alpha_cumprod, denoise_step, save_backbone
from hidra_core.computing import devices, pick_device, pick_dtype

WEIGHT_FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The reference backbone as a diffusers folder, fp32; tests copy what they change."""
    path = tmp_path_factory.mktemp("diffusers")
    save_folder(make_backbone(), path)
    return path


def save_folder(backbone, path, **options):
    backbone.unet.save_pretrained(path / "unet", **options)
    backbone.vae.save_pretrained(path / "vae", **options)


@pytest.fixture
def own_copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def assert_same_parameters(loaded, dtype=torch.float32):
    for network in NETWORKS:
        state = getattr(loaded, network).state_dict()
        expected = network_states()[network]
        assert state.keys() == expected.keys()
        for key, tensor in state.items():
            assert_same(tensor, expected[key].to(dtype))


def test_alpha_cumprod():
    assert alpha_cumprod() == pytest.approx(0.00466009508818388, abs=1e-9)
    assert alpha_cumprod() == pytest.approx(meta()["alpha_cumprod_999"], abs=1e-9)
    assert alpha_cumprod(0) == pytest.approx(1 - 0.00085, abs=1e-6)


def test_epsilon_step_undoes_the_noise():
    clean, noise = torch.randn(2, 1, 4, 8, 8).unbind(0)
    alpha = alpha_cumprod()
    noisy = alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise
    assert_close(denoise_step(noisy, noise), clean, 1e-4)
    velocity = alpha**0.5 * noise - (1 - alpha) ** 0.5 * clean
    assert_close(denoise_step(noisy, velocity, "v_prediction"), clean, 1e-5)


def test_step_of_the_reference():
    vectors = load("enhance")
    assert_close(denoise_step(vectors["latent"], vectors["noise_prediction"]), vectors["denoised_latent"], 1e-4)


def test_step_keeps_the_type_but_subtracts_in_fp32():
    latent, noise = torch.randn(2, 1, 4, 8, 8).half().unbind(0)
    clean = denoise_step(latent, noise)
    assert clean.dtype == torch.float16
    assert_same(clean, denoise_step(latent.float(), noise.float()).half())


def test_unknown_prediction_type():
    with pytest.raises(ValueError, match="sample"):
        denoise_step(torch.zeros(1), torch.zeros(1), "sample")


@torch.no_grad()
def test_denoise_is_prediction_and_step(backbone):
    vectors = load("enhance")
    clean = backbone.denoise(vectors["latent"], vectors["text_embedding"])
    noise = backbone.predict_noise(vectors["latent"], vectors["text_embedding"])
    assert_same(clean, denoise_step(vectors["latent"], noise))


def test_diffusers_folder(folder):
    loaded = load_backbone(folder, device="cpu", dtype="fp32")
    assert (loaded.name, loaded.dtype, loaded.prediction_type) == (folder.name, torch.float32, "epsilon")
    assert_same_parameters(loaded)
    assert not any(p.requires_grad for m in loaded.modules() for p in m.parameters())
    assert loaded.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", ["bf16", torch.float16])
def test_diffusers_folder_in_half_precision(folder, dtype):
    loaded = load_backbone(folder, device="cpu", dtype=dtype)
    expected = {"bf16": torch.bfloat16}.get(dtype, dtype)
    assert loaded.dtype == loaded.vae.dtype == expected
    assert_same_parameters(loaded, expected)


def test_folder_with_only_the_fp16_variant(tmp_path):
    half = make_backbone()
    half.unet.half()
    half.vae.half()
    save_folder(half, tmp_path, variant="fp16")
    assert not list(tmp_path.rglob(WEIGHT_FILE))
    loaded = load_backbone(tmp_path, device="cpu", dtype="fp16")
    assert_same_parameters(loaded, torch.float16)


def test_folder_with_a_scheduler(own_copy):
    (own_copy / "scheduler").mkdir()
    config = own_copy / "scheduler" / "scheduler_config.json"
    config.write_text(json.dumps({"prediction_type": "v_prediction"}))
    assert load_backbone(own_copy, device="cpu", dtype="fp32").prediction_type == "v_prediction"


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def drop_tensor(path):
    tensors = load_file(path)
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, path)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: truncate(path / WEIGHT_FILE),
        lambda path: drop_tensor(path / WEIGHT_FILE),
        lambda path: (path / WEIGHT_FILE).unlink(),
        lambda path: (path / "config.json").write_text("{"),
    ],
    ids=["truncated", "a tensor missing", "no weights", "broken config"],
)
def test_damaged_folder(own_copy, network, damage):
    damage(own_copy / network)
    with pytest.raises(ValueError, match=rf"(?s)cannot load .*copy/{network}.*Download the folder again"):
        load_backbone(own_copy, device="cpu", dtype="fp32")


def test_broken_scheduler(own_copy):
    (own_copy / "scheduler").mkdir()
    (own_copy / "scheduler" / "scheduler_config.json").write_text("{")
    with pytest.raises(ValueError, match="scheduler_config.json"):
        load_backbone(own_copy, device="cpu", dtype="fp32")


@pytest.mark.parametrize("network", NETWORKS)
def test_folder_that_is_not_a_diffusers_folder(own_copy, network):
    shutil.rmtree(own_copy / network)
    with pytest.raises(FileNotFoundError, match=rf"no {network}/config.json in .*copy"):
        load_backbone(own_copy)


def test_own_file_round_trip(tmp_path):
    original, path = make_backbone(), tmp_path / "own.safetensors"
    original.prediction_type = "v_prediction"
    save_backbone(original, path)
    loaded = load_backbone(path, device="cpu", dtype="fp16")
    assert (loaded.name, loaded.prediction_type) == ("reference", "v_prediction")
    assert_same_parameters(loaded, torch.float16)
    assert loaded.unet.config["block_out_channels"] == original.unet.config["block_out_channels"]
    assert loaded.vae.config.scaling_factor == original.vae.config.scaling_factor


@pytest.mark.parametrize("damage", ["config", "tensor", "extra", "no config"])
def test_damaged_own_file(tmp_path, damage):
    path = tmp_path / "own.safetensors"
    save_backbone(make_backbone(), path)
    tensors, metadata = module.read_safetensors(path)
    if damage == "config":
        metadata["unet_config"] = metadata["unet_config"].replace("32,", "48,", 1)
    elif damage == "no config":
        del metadata["vae_config"]
    elif damage == "tensor":
        del tensors["vae.quant_conv.weight"]
    else:
        tensors["unet.foreign"] = torch.zeros(1)
    save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match=r"own\.safetensors is a damaged HiDRA backbone file"):
        load_backbone(path)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*sd_turbo\.safetensors"):
        load_backbone(tmp_path / "sd_turbo.safetensors")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 a picture renamed", b"\x10\x00\x00\x00\x00\x00\x00\x00{ no json here }"]
)
def test_renamed_file(tmp_path, content):
    path = tmp_path / "renamed.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"renamed\.safetensors is not a readable safetensors file"):
        load_backbone(path)


def test_truncated_file(tmp_path):
    path = tmp_path / "own.safetensors"
    save_backbone(make_backbone(), path)
    truncate(path)
    with pytest.raises(ValueError, match=r"own\.safetensors is not a readable safetensors file.*truncated"):
        load_backbone(path)


def test_foreign_file(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match=r"foreign\.safetensors is not SD-Turbo in the original layout.*missing"):
        load_backbone(path)


@pytest.mark.parametrize("key", module.SD_TURBO_SHAPES)
@pytest.mark.parametrize("fault", ["missing", "another width"])
def test_every_telling_tensor_of_an_original_file_is_checked(tmp_path, monkeypatch, key, fault):
    """The real file has gigabytes: here its tensors are shapes without memory."""
    tensors = {name: torch.empty(shape, device="meta") for name, shape in module.SD_TURBO_SHAPES.items()}
    if fault == "missing":
        del tensors[key]
    else:
        tensors[key] = torch.empty(768, *tensors[key].shape[1:], device="meta")
    monkeypatch.setattr(module, "read_safetensors", lambda path: (tensors, {}))
    with pytest.raises(ValueError, match=rf"model\.safetensors is not SD-Turbo.*'{key}'.*(missing|768)"):
        load_backbone(tmp_path / "model.safetensors")


def test_original_file_without_the_other_tensors(tmp_path, monkeypatch):
    tensors = {name: torch.zeros(shape) for name, shape in module.SD_TURBO_SHAPES.items()}
    monkeypatch.setattr(module, "read_safetensors", lambda path: (tensors, {}))
    with pytest.raises(ValueError, match=r"cannot load the unet of .*model\.safetensors.*Download"):
        load_backbone(tmp_path / "model.safetensors")


@pytest.mark.parametrize("device", ["tpu9000", "cuda:77", "xpu", ""])
def test_unknown_device(device):
    with pytest.raises(ValueError, match=rf"cannot compute on device '{device}'.*try auto, cpu, cuda, xpu or mps"):
        load_backbone("hidra-tiny", device=device)


@pytest.mark.parametrize("dtype", ["int8", "float32", torch.float64, None])
def test_unknown_dtype(dtype):
    with pytest.raises(ValueError, match="unknown dtype .*choose auto, fp32, bf16, fp16"):
        load_backbone("hidra-tiny", dtype=dtype)


def test_automatic_device_and_dtype(monkeypatch):
    assert pick_device("auto") == (torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu"))
    assert pick_device("cpu") == pick_device(torch.device("cpu")) == torch.device("cpu")
    assert pick_dtype("auto", torch.device("cuda")) == torch.float16
    monkeypatch.setattr(devices, "cpu_type", lambda backbone: "bf16" if backbone == "sd.safetensors" else "fp32")
    assert pick_dtype("auto", torch.device("cpu")) == torch.float32
    assert pick_dtype("auto", torch.device("cpu"), "sd.safetensors") == torch.bfloat16


@torch.no_grad()
def test_built_in_backbone_runs(tiny):
    backbone, weights = tiny
    enhanced = run(backbone, torch.zeros(1, 3, 64, 64), weights.text_embedding)["enhanced"]
    assert enhanced.shape == (1, 3, 64, 64)
    assert torch.isfinite(enhanced).all()


@pytest.mark.parametrize("kind", ["cuda", "xpu", "mps"])
def test_auto_chooses_the_accelerator_of_the_machine(monkeypatch, kind):
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: torch.device(kind))
    assert pick_device("auto") == torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: None)
    assert pick_device("auto") == torch.device("cpu")
