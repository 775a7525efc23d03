"""Compare Thermal Images, Colour Thermal Image, Measure Thermal Image Quality and blend in the real host."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from hidra_core.names import PALETTES

if TYPE_CHECKING:
    from client import HostClient, Result
    from conftest import Host

NODES = ("HiDRA_TrustReport", "HiDRA_ColourMap", "HiDRA_QualityMetrics")


def scene(seed: int = 1, degradation: str = "fpn") -> dict[str, Any]:
    inputs = {"scene": "street", "degradation": degradation, "seed": seed, "width": 256, "height": 192}
    return {"class_type": "HiDRA_SampleScene", "inputs": inputs}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def enhancing(**options: Any) -> dict[str, Any]:
    """Load, estimate, apply and enhance a scene; ``options`` are One-Step Enhance's."""
    return {
        "scene": scene(),
        "load": node("HiDRA_LoadSDTurbo", checkpoint="hidra-tiny"),
        "estimate": node("HiDRA_EstimateDegradation", image=["scene", 0], weights="hidra-tiny"),
        "apply": node("HiDRA_ApplyLoRA", model=["load", 0], vae=["load", 1], degradation=["estimate", 0], strength=1.0),
        "enhance": node(
            "HiDRA_OneStepEnhance",
            **{"model": ["apply", 0], "vae": ["apply", 1], "image": ["scene", 0], "upscale": 1, "tiling": "auto"}
            | options,
        ),
        "save": node("SaveImage", images=["enhance", 0], filename_prefix="trust"),
    }


def pictures(client: HostClient, result: Result, name: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(client.view(image)))).astype(int) for image in result.images(name)]


def shown_text(result: Result, name: str) -> str:
    return "".join(result.outputs[name]["text"])


def failure(client: HostClient, prompt: dict[str, Any]) -> str:
    result = client.wait(client.queue(prompt))
    assert result.status == "error"
    return result.error["exception_message"]


def test_nodes_are_there_with_tooltips(client: HostClient) -> None:
    for name in NODES:
        info = client.object_info(name)
        assert info["category"].startswith("image/HiDRA")
        assert info["description"]
        inputs = info["input"].get("required", {}) | info["input"].get("optional", {})
        assert all(spec[1].get("tooltip") for spec in inputs.values())


def test_new_inputs_of_enhance_come_last_and_may_be_left_out(client: HostClient) -> None:
    info = client.object_info("HiDRA_OneStepEnhance")["input"]
    assert list(info["required"]) == ["model", "vae", "image", "upscale", "tiling"]
    dials = {"blend": 1, "low_frequencies": 1, "cutoff": 64, "restraint": True, "corrector": True}
    assert list(info["optional"])[-6:] == [*dials, "decoder"]
    assert {name: info["optional"][name][1]["default"] for name in dials} == dials


def test_cutoff_is_an_advanced_input_where_the_host_has_them(client: HostClient, comfyui: Host) -> None:
    options = client.object_info("HiDRA_OneStepEnhance")["input"]["optional"]["cutoff"][1]
    known = '"advanced"' in (comfyui.path / "comfy_api" / "latest" / "_io.py").read_text(encoding="utf-8")
    assert options.get("advanced", False) == known
    assert {"default": 64, "min": 2, "max": 4096, "step": 1}.items() <= options.items()


def test_prompts_that_name_the_cutoff_run(client: HostClient) -> None:
    named, left_out = (
        pictures(client, client.run(enhancing(low_frequencies=0.5, **options)), "save")[0]
        for options in ({"cutoff": 64}, {})
    )
    assert (named == left_out).all()


def test_blend_from_input_to_output(client: HostClient) -> None:
    results = {}
    for blend in (None, 0.0, 0.5, 1.0):
        options = {} if blend is None else {"blend": blend}
        prompt = enhancing(**options) | {"before": node("SaveImage", images=["scene", 0], filename_prefix="before")}
        result = client.run(prompt)
        (results[blend],) = pictures(client, result, "save")
        if blend == 0:
            (before,) = pictures(client, result, "before")
    assert (results[0.0] == before).all()
    assert (results[None] == results[1.0]).all()
    assert np.abs(results[0.5] - (before + results[1.0]) / 2).max() <= 1.5


def test_low_frequencies_are_kept(client: HostClient) -> None:
    prompt = enhancing(low_frequencies=0.0) | {"before": node("PreviewImage", images=["scene", 0])}
    result = client.run(prompt)
    (kept,), (before,) = pictures(client, result, "save"), pictures(client, result, "before")
    (model,) = pictures(client, client.run(enhancing()), "save")
    assert abs(kept.mean() - before.mean()) < 1.5
    assert np.abs(kept - before).mean() < np.abs(model - before).mean()


def test_trust_report(client: HostClient) -> None:
    prompt = enhancing() | {
        "trust": node("HiDRA_TrustReport", image=["scene", 0], enhanced=["enhance", 0], degradation=["estimate", 0]),
        "mask": node("MaskToImage", mask=["trust", 1]),
        "flagged": node("PreviewImage", images=["mask", 0]),
        "json": node("PreviewAny", source=["trust", 2]),
        "score": node("PreviewAny", source=["trust", 3]),
    }
    result = client.run(prompt)
    (picture,) = pictures(client, result, "trust")
    assert picture.shape[1] > 2 * 256
    (flagged,) = pictures(client, result, "flagged")
    assert flagged.shape[:2] == (192, 256)
    (entry,) = json.loads(shown_text(result, "json"))
    assert (flagged[..., 0] > 128).mean() == pytest.approx(entry["edges"]["possible_hallucination_area"], abs=2e-3)
    assert entry["degradation"][0].startswith("256×192")
    assert float(shown_text(result, "score")) == pytest.approx(entry["score"], abs=1e-3)
    assert f"trust {entry['score']:.2f}" in shown_text(result, "trust")


def test_trust_report_of_a_batch_and_of_enlarged_images(client: HostClient) -> None:
    prompt = enhancing(upscale=2) | {"other": scene(2)}
    prompt["batch"] = node("ImageBatch", image1=["scene", 0], image2=["other", 0])
    for name in ("estimate", "enhance"):
        prompt[name]["inputs"]["image"] = ["batch", 0]
    prompt["trust"] = node("HiDRA_TrustReport", image=["batch", 0], enhanced=["enhance", 0])
    prompt["json"] = node("PreviewAny", source=["trust", 2])
    result = client.run(prompt)
    assert len(pictures(client, result, "trust")) == 2
    assert [entry["size"] for entry in json.loads(shown_text(result, "json"))] == [[512, 384]] * 2


def test_colours_and_back(client: HostClient) -> None:
    prompt = {
        "scene": scene(),
        "colour": node("HiDRA_ColourMap", image=["scene", 1], direction="grey to colour", palette="lava"),
        "grey": node("HiDRA_ColourMap", image=["colour", 0], direction="colour to grey", palette="auto"),
        "coloured": node("PreviewImage", images=["colour", 0]),
        "before": node("SaveImage", images=["scene", 1], filename_prefix="before"),
        "after": node("SaveImage", images=["grey", 0], filename_prefix="after"),
    }
    result = client.run(prompt)
    (before,), (after,) = pictures(client, result, "before"), pictures(client, result, "after")
    assert np.abs(before - after).max() <= 1
    assert "palette lava" in shown_text(result, "grey")
    assert "warning" not in shown_text(result, "grey")
    (coloured,) = pictures(client, result, "coloured")
    assert (coloured[..., 0] != coloured[..., 2]).mean() > 0.5


def test_palettes_offered_are_those_there_are(client: HostClient) -> None:
    options = client.object_info("HiDRA_ColourMap")["input"]["required"]["palette"][1]["options"]
    assert options == ["auto", *PALETTES]


def test_metrics_of_two_images(client: HostClient) -> None:
    prompt = {
        "scene": scene(),
        "metrics": node(
            "HiDRA_QualityMetrics", image=["scene", 0], reference=["scene", 1], number="PSNR after gain and offset"
        ),
        "json": node("PreviewAny", source=["metrics", 1]),
        "number": node("PreviewAny", source=["metrics", 2]),
    }
    result = client.run(prompt)
    measured = json.loads(shown_text(result, "json"))["images"][0]
    assert set(measured) == {"psnr", "psnr_after_gain_and_offset", "ssim", "ms_ssim", "noise", "stripes"}
    assert measured["psnr"] < measured["psnr_after_gain_and_offset"]
    assert float(shown_text(result, "number")) == pytest.approx(measured["psnr_after_gain_and_offset"], abs=1e-3)


def test_metrics_without_a_reference(client: HostClient) -> None:
    prompt = {
        "scene": scene(),
        "metrics": node("HiDRA_QualityMetrics", image=["scene", 0], number="noise"),
        "number": node("PreviewAny", source=["metrics", 2]),
    }
    assert float(shown_text(client.run(prompt), "number")) > 1
    prompt["metrics"]["inputs"]["number"] = "SSIM"
    assert "connect one" in failure(client, prompt)
    prompt["scene"]["inputs"] |= {"width": 160, "height": 128}
    prompt["metrics"]["inputs"] |= {"number": "MS-SSIM", "reference": ["scene", 1]}
    assert "MS-SSIM cannot be measured on 160×128 pixels, it needs 176 a side" in failure(client, prompt)


def test_pictures_that_do_not_belong_together_are_refused(client: HostClient) -> None:
    prompt = {
        "scene": scene(),
        "crop": node("ImageCrop", image=["scene", 1], width=128, height=192, x=0, y=0),
        "trust": node("HiDRA_TrustReport", image=["scene", 0], enhanced=["crop", 0]),
        "show": node("PreviewImage", images=["trust", 0]),
    }
    assert "different proportions" in failure(client, prompt)
