"""The pack's nodes in the real host, through its API."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from client import HostClient, PromptRejectedError
from PIL import Image
from safetensors.torch import load_file, save_file
from test_native import taesd

import hidra_core
from hidra_core import degradations, scenes
from hidra_core.backbone import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import HostServer

ROOT = Path(__file__).parents[2]
NODES = (
    "HiDRA_LoadSDTurbo",
    "HiDRA_EstimateDegradation",
    "HiDRA_ApplyLoRA",
    "HiDRA_OneStepEnhance",
    "HiDRA_SampleScene",
    "HiDRA_LoadThermal",
    "HiDRA_SaveThermal",
    "HiDRA_TrustReport",
    "HiDRA_ColourMap",
    "HiDRA_QualityMetrics",
)


def scene(**inputs: Any) -> dict[str, Any]:
    defaults = {"scene": "street", "degradation": "fpn", "seed": 1, "width": 128, "height": 96}
    return {"class_type": "HiDRA_SampleScene", "inputs": defaults | inputs}


def graph(
    image: dict[str, Any],
    *,
    checkpoint: str = "hidra-tiny",
    weights: str = "hidra-tiny",
    strength: float = 1.0,
    upscale: int = 1,
    tiling: str = "auto",
    estimated: list | None = None,
) -> dict[str, Any]:
    """Load, estimate, apply, enhance; ``estimated`` is the link of the image to estimate, the same by default."""
    return {
        "load": {"class_type": "HiDRA_LoadSDTurbo", "inputs": {"checkpoint": checkpoint}},
        "image": image,
        "estimate": {
            "class_type": "HiDRA_EstimateDegradation",
            "inputs": {"image": estimated or ["image", 0], "weights": weights},
        },
        "apply": {
            "class_type": "HiDRA_ApplyLoRA",
            "inputs": {
                "model": ["load", 0],
                "vae": ["load", 1],
                "degradation": ["estimate", 0],
                "strength": strength,
            },
        },
        "enhance": {
            "class_type": "HiDRA_OneStepEnhance",
            "inputs": {
                "model": ["apply", 0],
                "vae": ["apply", 1],
                "image": ["image", 0],
                "upscale": upscale,
                "tiling": tiling,
            },
        },
        "save": {"class_type": "SaveImage", "inputs": {"images": ["enhance", 0], "filename_prefix": "hidra"}},
    }


def pictures(client: HostClient, result: Any, node: str = "save") -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(client.view(image)))).astype(int) for image in result.images(node)]


def failure(client: HostClient, prompt: dict[str, Any]) -> str:
    """What the host says when this prompt fails."""
    result = client.wait(client.queue(prompt))
    assert result.status == "error"
    return result.error["exception_message"]


def library(image: torch.Tensor, weights_file: str | Path = "hidra-tiny", **options: Any) -> np.ndarray:
    """What the library makes of a grey image ``[H, W]``, in grey levels."""
    weights = hidra_core.load_weights(weights_file)
    backbone = hidra_core.load_backbone("hidra-tiny", device="cpu", dtype="fp32")
    images = image[None, :, :, None]
    enhanced = hidra_core.enhance(images, backbone, hidra_core.estimate(images, weights), **options)
    return (enhanced[0, :, :, 0] * 255).numpy()


@pytest.fixture(scope="module")
def degraded() -> torch.Tensor:
    """What ``scene()`` gives."""
    clean = torch.from_numpy(scenes.render("street", 96, 128, 1))[None, None]
    record = degradations.sample("fpn", torch.Generator().manual_seed(1))
    return degradations.apply(clean, record)[0, 0]


def test_all_nodes_are_there_with_tooltips(client: HostClient) -> None:
    for node in NODES:
        info = client.object_info(node)
        assert info["category"].startswith("image/HiDRA")
        assert info["description"]
        inputs = info["input"].get("required", {}) | info["input"].get("optional", {})
        assert all(spec[1].get("tooltip") for spec in inputs.values())


@pytest.mark.parametrize("address", ["/workflow_templates", "/api/workflow_templates"])
def test_workflows_are_listed_by_number(client: HostClient, address: str) -> None:
    """The host lists them in the order of its file system."""
    listed = client.get(address)
    assert listed["ComfyUI-HiDRA"] == sorted(path.stem for path in (ROOT / "example_workflows").glob("*.json"))


def test_the_host_enhances_as_the_library_does(client: HostClient, degraded: torch.Tensor) -> None:
    result = client.run(graph(scene()))
    (enhanced,) = pictures(client, result)
    expected = library(degraded)
    # the host truncates to 8 bits; kernels differ in the last bits
    assert np.abs(enhanced[..., 0] - expected).max() <= 2
    assert (enhanced[..., 0] == enhanced[..., 2]).all()
    assert any(node == "enhance" and done == 1000 for node, done, _ in result.progress)
    assert not result.previews  # on newer hosts they would stay beside the result


def test_report_is_shown(client: HostClient) -> None:
    result = client.run(graph(scene(seed=2)))
    text = " ".join(result.outputs["estimate"]["text"])
    assert re.search(r"128×96, measured in the pixels: noise \d+\.\d, stripes \d+\.\d / \d+\.\d grey levels", text)


def test_batch_of_two_equals_each_alone(client: HostClient) -> None:
    first, second = scene(seed=3), scene(seed=4, degradation="severe")
    batch = graph({"class_type": "ImageBatch", "inputs": {"image1": ["first", 0], "image2": ["second", 0]}})
    together = pictures(client, client.run(batch | {"first": first, "second": second}))
    alone = [pictures(client, client.run(graph(image)))[0] for image in (first, second)]
    for one, other in zip(together, alone, strict=True):
        assert np.abs(one - other).max() <= 1


def test_one_degradation_serves_a_batch(client: HostClient) -> None:
    batch = graph(
        {"class_type": "ImageBatch", "inputs": {"image1": ["first", 0], "image2": ["second", 0]}},
        estimated=["first", 0],
    )
    result = client.run(batch | {"first": scene(seed=3), "second": scene(seed=4)})
    assert len(pictures(client, result)) == 2


def test_upscale_and_tiles(client: HostClient) -> None:
    result = client.run(graph(scene(width=304, height=296, seed=5), upscale=2, tiling="512"))
    assert pictures(client, result)[0].shape == (592, 608, 3)
    steps = [done for node, done, _ in result.progress if node == "enhance"]
    assert len(set(steps)) >= 4


def test_strength_zero_is_the_plain_backbone(client: HostClient, degraded: torch.Tensor) -> None:
    (enhanced,) = pictures(client, client.run(graph(scene(), strength=0.0)))
    assert np.abs(enhanced[..., 0] - library(degraded, strength=0.0)).max() <= 2


def test_restraint_can_be_switched_off(client: HostClient) -> None:
    clean = torch.from_numpy(scenes.render("street", 96, 128, 1))
    changes = {}
    for restraint in (True, False):
        prompt = _with(graph(scene(degradation="none")), "enhance", restraint=restraint)
        (picture,) = pictures(client, client.run(prompt))
        assert np.abs(picture[..., 0] - library(clean, restraint=restraint)).max() <= 2
        changes[restraint] = np.abs(picture[..., 0] - clean.numpy() * 255).mean()
    assert changes[True] < changes[False]


def test_model_works_in_a_stock_sampler(client: HostClient) -> None:
    prompt = graph(scene(width=128, height=128))
    prompt |= {
        "encode": {"class_type": "VAEEncode", "inputs": {"pixels": ["image", 0], "vae": ["apply", 1]}},
        "noise": {"class_type": "DisableNoise", "inputs": {}},
        "sampler": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}},
        "sigmas": {
            "class_type": "BasicScheduler",
            "inputs": {"model": ["apply", 0], "scheduler": "normal", "steps": 1, "denoise": 1.0},
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["encode", 0], "vae": ["apply", 1]}},
        "save2": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "stock"}},
    }
    result = client.run(prompt)
    assert pictures(client, result, "save2")[0].shape == (128, 128, 3)


def test_each_image_has_its_vector_in_a_stock_sampler_with_guidance(client: HostClient) -> None:
    prompt = graph(scene(width=128, height=128), estimated=["two", 0])
    prompt |= {
        "two": {"class_type": "RepeatImageBatch", "inputs": {"image": ["image", 0], "amount": 2}},
        "three": {"class_type": "RepeatImageBatch", "inputs": {"image": ["image", 0], "amount": 3}},
        "latent": {"class_type": "VAEEncode", "inputs": {"pixels": ["three", 0], "vae": ["load", 1]}},
        "bake": {"class_type": "HiDRA_BakeLoRA", "inputs": {"model": ["apply", 0], "vae": ["apply", 1], "name": "cfg"}},
        "sample": {
            "class_type": "KSampler",
            "inputs": {
                "model": ["apply", 0],
                "positive": ["bake", 2],
                "negative": ["bake", 2],
                "latent_image": ["latent", 0],
                "seed": 1,
                "steps": 1,
                "cfg": 4.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        },
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["sample", 0], "filename_prefix": "cfg"}},
    }
    del prompt["enhance"]
    assert "2 degradation vectors for 3 images" in failure(client, prompt)
    prompt["latent"]["inputs"]["pixels"] = ["two", 0]
    client.run(prompt)


def test_vae_of_apply_works_tiled(client: HostClient) -> None:
    prompt = graph(scene(width=256, height=256))
    prompt |= {
        "encode": {
            "class_type": "VAEEncodeTiled",
            "inputs": {
                "pixels": ["image", 0],
                "vae": ["apply", 1],
                "tile_size": 192,
                "overlap": 32,
                "temporal_size": 64,
                "temporal_overlap": 8,
            },
        },
        "decode": {"class_type": "VAEDecode", "inputs": {"samples": ["encode", 0], "vae": ["load", 1]}},
        "save2": {"class_type": "SaveImage", "inputs": {"images": ["decode", 0], "filename_prefix": "tiled"}},
    }
    assert pictures(client, client.run(prompt), "save2")[0].shape == (256, 256, 3)


def test_cancel_between_tiles(client: HostClient) -> None:
    prompt = graph(scene(width=1024, height=1024, seed=6), upscale=2, tiling="512")
    identifier = client.queue(prompt)
    client.wait_for_node(identifier, "enhance")
    time.sleep(1)
    started = time.monotonic()
    threading.Timer(0, client.interrupt).start()
    result = client.wait(identifier)
    assert result.interrupted_at == "enhance"
    assert time.monotonic() - started < 60
    client.run(graph(scene(seed=7)))  # and the host goes on


ERRORS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "count": (
        lambda: (
            graph(
                {"class_type": "RepeatImageBatch", "inputs": {"image": ["one", 0], "amount": 3}}, estimated=["two", 0]
            )
            | {
                "one": scene(),
                "two": {"class_type": "RepeatImageBatch", "inputs": {"image": ["one", 0], "amount": 2}},
            }
        ),
        "2 degradation vectors for 3 images",
    ),
    "mixed up": (
        lambda: _with(graph(scene()), "enhance", vae=["load", 1]),
        "same Apply Degradation-Guided LoRA",
    ),
    "not applied": (
        lambda: _with(graph(scene()), "enhance", model=["load", 0]),
        "same Apply Degradation-Guided LoRA",
    ),
}


def _with(prompt: dict[str, Any], node: str, **inputs: Any) -> dict[str, Any]:
    prompt[node]["inputs"] |= inputs
    return prompt


@pytest.mark.parametrize("case", ERRORS)
def test_bad_graphs_say_what_is_wrong(client: HostClient, case: str) -> None:
    make, message = ERRORS[case]
    assert message in failure(client, make())


def test_another_decoder(client: HostClient, host: HostServer) -> None:
    """Its name is said, and one of other latents is refused; the VAE itself as decoder gives what it gives without."""
    plain, other = (graph(scene()) for _ in range(2))
    _with(other, "enhance", decoder=["load", 1])
    first, second = (client.run(prompt) for prompt in (plain, other))
    assert np.array_equal(pictures(client, first)[0], pictures(client, second)[0])
    assert second.outputs["enhance"]["text"] == ["decoder: AutoencoderKL"]
    folder = host.folder("models", "vae_approx")
    tensors = taesd()
    for side in ("encoder", "decoder"):
        prefix = f"taesd_{side}."
        part = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        save_file(part, folder / f"taesd_{side}.safetensors")
    thin = _with(graph(scene()), "enhance", decoder=["thin", 0])
    thin["thin"] = {"class_type": "VAELoader", "inputs": {"vae_name": "taesd"}}
    said = failure(client, thin)
    assert "decoder (TAESD) takes latents of 4 channels" in said
    assert "expected 8 channels, 2 axes and 2: disconnect decoder" in said


def test_values_out_of_range_are_refused_before_running(client: HostClient) -> None:
    with pytest.raises(PromptRejectedError, match="strength"):
        client.queue(graph(scene(), strength=3.0))
    with pytest.raises(PromptRejectedError, match="tiling"):
        client.queue(graph(scene(), tiling="100"))


def test_bad_weights_files_say_what_is_wrong(client: HostClient, host: HostServer) -> None:
    folder = host.folder("models", "hidra")
    folder.mkdir(parents=True, exist_ok=True)
    good = (MODELS / "hidra-tiny" / "weights.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(good[: len(good) // 2])
    (folder / "text.safetensors").write_text("not a model")
    save_file({"a": torch.zeros(1)}, folder / "foreign.safetensors")
    (folder / "ignored.ckpt").write_bytes(b"")
    options = client.object_info("HiDRA_EstimateDegradation")["input"]["required"]["weights"][1]["options"]
    assert options[0] == "hidra-tiny"
    assert "ignored.ckpt" not in options
    for name, message in (
        ("truncated", "not a readable safetensors"),
        ("text", "not a readable safetensors"),
        ("foreign", "not a HiDRA weights file"),
    ):
        said = failure(client, graph(scene(), weights=f"{name}.safetensors"))
        assert message in said
        assert f"{name}.safetensors" in said
    (folder / "copy.safetensors").write_bytes(good)
    client.run(graph(scene(), weights="copy.safetensors"))
    (folder / "copy.safetensors").unlink()
    with pytest.raises(PromptRejectedError, match=r"copy\.safetensors"):
        client.queue(graph(scene(), weights="copy.safetensors"))


def test_what_training_writes_loads(client: HostClient, host: HostServer, degraded: torch.Tensor) -> None:
    options = ["--config", "toy", "solver.iterations=2", "solver.warmup_iterations=1", "run.batch=1", "solver.period=2"]
    output = host.folder("training")
    program = [sys.executable, str(ROOT / "train" / "run.py"), *options, f"run.output={output}"]
    subprocess.run([*program, "run.validation_images=1"], check=True, timeout=300, stderr=subprocess.DEVNULL)
    trained = host.folder("models", "hidra") / "trained.safetensors"
    trained.write_bytes((output / "weights.safetensors").read_bytes())
    (image,) = pictures(client, client.run(graph(scene(), weights="trained.safetensors")))
    assert np.abs(image[..., 0] - library(degraded, trained)).mean() < 1


def test_foreign_checkpoints_say_what_is_wrong(client: HostClient, host: HostServer) -> None:
    folder = host.folder("models", "checkpoints")
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"a": torch.zeros(1)}, folder / "foreign.safetensors")
    tensors = load_file(MODELS / "hidra-tiny" / "backbone.safetensors")
    save_file(tensors, folder / "tiny.safetensors")
    for name in ("foreign", "tiny"):
        said = failure(client, graph(scene(), checkpoint=f"{name}.safetensors"))
        assert f"{name}.safetensors" in said
        assert "sd_turbo.safetensors" in said


def test_extra_model_paths_are_merged(client: HostClient, host: HostServer) -> None:
    here, elsewhere = host.folder("models", "hidra"), host.folder("elsewhere", "hidra")
    good = (MODELS / "hidra-tiny" / "weights.safetensors").read_bytes()
    for path in (here / "here.safetensors", elsewhere / "mine.safetensors"):
        path.write_bytes(good)
    (elsewhere / "mine.pkl").write_bytes(b"")
    options = client.object_info("HiDRA_EstimateDegradation")["input"]["required"]["weights"][1]["options"]
    assert options[0] == "hidra-tiny"
    assert set(options[1:]) == {path.name for path in here.glob("*.safetensors")} | {"mine.safetensors"}


def test_false_colours_are_warned_of_by_estimate_and_enhance(client: HostClient) -> None:
    prompt = graph(scene(degradation="none"))
    palette = {"image": ["image", 0], "direction": "grey to colour", "palette": "rainbow"}
    prompt["colour"] = {"class_type": "HiDRA_ColourMap", "inputs": palette}
    for name in ("estimate", "enhance"):
        prompt[name]["inputs"]["image"] = ["colour", 0]
    outputs = client.run(prompt).outputs
    for name in ("estimate", "enhance"):
        (text,) = outputs[name]["text"]
        assert text.startswith("warning: the image is in false colours: "), name
    assert client.run(graph(scene(degradation="none"))).outputs["enhance"]["text"] == []
