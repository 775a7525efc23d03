"""Video, baking, simulation and degradation files in the real host, over its API."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from client import HostClient, PromptRejectedError
from helpers import clip_files
from test_nodes import failure, graph, pictures, scene

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import HostServer

NODES = (
    "HiDRA_SmoothDegradation",
    "HiDRA_EnhanceVideo",
    "HiDRA_SimulateDegradation",
    "HiDRA_DegradationByHand",
    "HiDRA_SaveDegradation",
    "HiDRA_LoadDegradation",
    "HiDRA_BlendDegradations",
    "HiDRA_EditDegradation",
    "HiDRA_BakeLoRA",
    "HiDRA_LoadBakedVAE",
)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def simulate(image: list, **inputs: Any) -> dict[str, Any]:
    return node(
        "HiDRA_SimulateDegradation", **{"image": image, "preset": "fpn", "seed": 1, "batch": "one camera"} | inputs
    )


def enhance_video(video: list, **inputs: Any) -> dict[str, Any]:
    defaults = {
        "model": ["load", 0],
        "vae": ["load", 1],
        "video": video,
        "weights": "hidra-tiny",
        "degradation_per": "frame",
        "smoothing": 0.9,
        "strength": 1.0,
        "upscale": 1,
        "tiling": "auto",
        "on_broken_frame": "stop",
    }
    return {
        "load": node("HiDRA_LoadSDTurbo", checkpoint="hidra-tiny"),
        "video": node("HiDRA_EnhanceVideo", **defaults | inputs),
        "text": node("PreviewAny", source=["video", 1]),
        "save": node("SaveVideo", video=["video", 0], filename_prefix="clear", format="auto", codec="auto"),
    }


def flickers(result: Any) -> tuple[float, float]:
    text = " ".join(result.outputs["video"]["text"])
    return tuple(float(number) for number in re.findall(r"([\d.]+) (?:before|after)", text))


def test_all_nodes_are_there_with_tooltips(client: HostClient) -> None:
    for name in NODES:
        info = client.object_info(name)
        assert info["category"].startswith("image/HiDRA")
        assert info["description"]
        inputs = info["input"].get("required", {}) | info["input"].get("optional", {})
        assert all(spec[1].get("tooltip") for spec in inputs.values())


# ---------------------------------------------------------------- video


@pytest.fixture
def clip(host: HostServer) -> Path:
    path = host.folder("input") / "clip.mp4"
    return path if path.exists() else clip_files.write_clip(path, clip_files.static_scene(12, 64, 96), sound=True)


def test_a_video_file_is_enhanced_with_its_times_and_sound(client: HostClient, host: HostServer, clip: Path) -> None:
    from hidra_core.video import ClipReader

    result = client.run(enhance_video(["file", 0]) | {"file": node("LoadVideo", file=clip.name)})
    before, after = flickers(result)
    assert after < 0.6 * before  # contrast is restored, and with it part of what flickers
    (saved,) = result.images("save")
    path = host.folder("output") / saved["subfolder"] / saved["filename"]
    with ClipReader(path) as result_clip, ClipReader(clip) as source:
        assert [frame.pts for frame in result_clip.frames()] == [frame.pts for frame in source.frames()]
        assert result_clip.rate == source.rate
        assert result_clip.container.streams.audio
    assert any(name == "video" and done == 1000 for name, done, _ in result.progress)
    assert not list(host.folder("temp").glob(".hidra-*"))


def test_smoothing_and_one_for_the_clip_lower_flicker(client: HostClient, clip: Path) -> None:
    file = {"file": node("LoadVideo", file=clip.name)}
    alone, smooth, one = (
        flickers(client.run(enhance_video(["file", 0], **options) | file))[1]
        for options in ({"smoothing": 0.0}, {}, {"degradation_per": "clip"})
    )
    assert max(smooth, one) < alone


def test_frames_in_memory_become_a_video_too(client: HostClient) -> None:
    prompt = enhance_video(["create", 0]) | {
        "scene": scene(degradation="none", width=96, height=64),
        "repeat": node("RepeatImageBatch", image=["scene", 1], amount=5),
        "simulate": simulate(["repeat", 0]),
        "create": node("CreateVideo", images=["simulate", 0], fps=10.0),
        "parts": node("GetVideoComponents", video=["video", 0]),
        "frames": node("SaveImage", images=["parts", 0], filename_prefix="frame"),
    }
    result = client.run(prompt)
    assert len(result.images("frames")) == 5
    before, after = flickers(result)
    assert after < before


def test_a_broken_frame_stops_or_is_skipped(client: HostClient, host: HostServer) -> None:
    path = host.folder("input") / "broken.mp4"
    clip_files.break_frame(clip_files.write_clip(path, clip_files.static_scene(8, 64, 64)), 5)
    file = {"file": node("LoadVideo", file=path.name)}
    assert "is broken" in failure(client, enhance_video(["file", 0]) | file)
    client.run(enhance_video(["file", 0], on_broken_frame="skip") | file)
    assert not list(host.folder("temp").glob(".hidra-*"))


def saved(host: HostServer, result: Any) -> list[np.ndarray]:
    """The frames of the video that Save Video wrote, in grey levels."""
    from hidra_core.video import ClipReader

    (file,) = result.images("save")
    with ClipReader(host.folder("output") / file["subfolder"] / file["filename"]) as reader:
        return [frame.pixels[..., 0].numpy() * 255 for frame in reader.frames()]


def test_a_video_of_more_than_8_bits_is_stretched_and_its_counts_are_kept(client: HostClient, host: HostServer) -> None:
    from hidra_core.video import ClipReader

    frames = clip_files.counts_scene(5, 16, 64, 96)
    source = clip_files.write_clip(host.folder("input") / "deep.mkv", frames, codec="ffv1", layout="gray16le")
    result = client.run(enhance_video(["file", 0]) | {"file": node("LoadVideo", file=source.name)})
    shown = np.stack(saved(host, result))
    assert np.quantile(shown, 0.99) - np.quantile(shown, 0.01) > 100  # 13 of 256 levels before
    text = " ".join(result.outputs["video"]["text"])
    assert "The video has 16 bits" in text
    name = re.search(r"counts are in the output folder: (.*\.mkv)", text)[1]
    (entry,) = result.outputs["video"]["files"]
    assert name == f"{entry['subfolder']}/{entry['filename']}"
    path = host.folder("output") / name
    with ClipReader(path) as reader, ClipReader(source) as before:
        assert reader.bits == 16
        for new, old in zip(reader.frames(), before.frames(), strict=True):
            assert new.pts == old.pts
            assert abs(new.pixels.mean() - old.pixels.mean()) * 65535 < 0.02 * 65535


def test_false_colours_are_reported_and_turned_back(client: HostClient, host: HostServer) -> None:
    frames = clip_files.coloured_scene(3, "rainbow", 64, 96)
    source = clip_files.write_clip(host.folder("input") / "rainbow.mp4", frames, layout="yuv444p")
    file = {"file": node("LoadVideo", file=source.name)}
    plain = client.run(enhance_video(["file", 0], strength=0.0) | file)
    text = " ".join(plain.outputs["video"]["text"])
    assert "rainbow.mp4 is in false colours" in text
    assert "set palette to auto" in text
    assert "--" not in text
    turned = client.run(enhance_video(["file", 0], strength=0.0, palette="auto") | file)
    assert "false colours" not in " ".join(turned.outputs["video"]["text"])
    scene = clip_files.scenes.render("street", 64, 96, 1)
    likeness = [np.corrcoef(saved(host, run)[0].ravel(), scene.ravel())[0, 1] for run in (plain, turned)]
    assert likeness[0] < 0.9 < likeness[1]
    loaded = enhance_video(["create", 0], palette="auto") | file
    loaded |= {
        "parts": node("GetVideoComponents", video=["file", 0]),
        "create": node("CreateVideo", images=["parts", 0], fps=10.0),
    }
    assert "false colours" not in " ".join(client.run(loaded).outputs["video"]["text"])
    loaded["video"]["inputs"]["palette"] = "none"
    assert "the video is in false colours" in " ".join(client.run(loaded).outputs["video"]["text"])


def test_smoothed_batches(client: HostClient) -> None:
    prompt = graph(simulate(["repeat", 0])) | {
        "scene": scene(degradation="none", width=96, height=64),
        "repeat": node("RepeatImageBatch", image=["scene", 1], amount=4),
        "smooth": node(
            "HiDRA_SmoothDegradation",
            degradation=["estimate", 0],
            image=["image", 0],
            degradation_per="frame",
            smoothing=0.9,
        ),
    }
    prompt["apply"]["inputs"]["degradation"] = ["smooth", 0]
    assert len(pictures(client, client.run(prompt))) == 4
    prompt["smooth"]["inputs"]["image"] = ["scene", 1]
    assert "4 degradation vectors for 1 frames" in failure(client, prompt)


# ---------------------------------------------------------------- simulation


def parameters(result: Any, name: str) -> Any:
    return json.loads(result.outputs[name]["text"][0])


def test_simulation_is_repeated_from_its_parameters(client: HostClient) -> None:
    prompt = {
        "scene": scene(degradation="none", width=96, height=64),
        "repeat": node("RepeatImageBatch", image=["scene", 1], amount=3),
        "first": simulate(["repeat", 0], preset="composite", seed=5, batch="own draws"),
        "again": simulate(["repeat", 0], parameters=["first", 1], seed=77),
        "text": node("PreviewAny", source=["first", 1]),
        "one": node("SaveImage", images=["first", 0], filename_prefix="one"),
        "two": node("SaveImage", images=["again", 0], filename_prefix="two"),
    }
    result = client.run(prompt)
    assert len(parameters(result, "text")) == 3
    for a, b in zip(pictures(client, result, "one"), pictures(client, result, "two"), strict=True):
        assert (a == b).all()


def test_one_camera_keeps_its_stripes(client: HostClient) -> None:
    prompt = {
        "scene": scene(degradation="none", width=96, height=64),
        "repeat": node("RepeatImageBatch", image=["scene", 1], amount=2),
        "hand": node(
            "HiDRA_DegradationByHand",
            **by_hand(client, stripes="column", stripe_gain=0.0, stripe_offset=20.0, gaussian_sigma=2.0),
        ),
        "degrade": simulate(["repeat", 0], parameters=["hand", 0]),
        "save": node("SaveImage", images=["degrade", 0], filename_prefix="camera"),
    }
    first, second = (picture[..., 0] for picture in pictures(client, client.run(prompt)))
    assert 1 < np.abs(first - second).mean() < 5
    assert np.abs((first - second).mean(axis=0)).max() < 2


def by_hand(client: HostClient, **values: Any) -> dict[str, Any]:
    inputs = client.object_info("HiDRA_DegradationByHand")["input"]["required"]
    defaults = {name: spec[1].get("default", 0) for name, spec in inputs.items()}
    return defaults | values


def test_bad_parameters_say_what_is_wrong(client: HostClient) -> None:
    def prompt(text: str) -> dict[str, Any]:
        return {
            "scene": scene(degradation="none"),
            "degrade": simulate(["scene", 1], parameters=text),
            "save": node("PreviewImage", images=["degrade", 0]),
        }

    for text, message in (
        ("{", "parameters is not JSON"),
        ('{"smoke": 1}', "unknown entries: smoke"),
        ('{"gaussian_sigma": "much"}', "a value that cannot be used"),
        ("[{}, {}]", "2 sets for 1 images"),
    ):
        assert message in failure(client, prompt(text))


# ---------------------------------------------------------------- vectors as files


def test_a_degradation_is_saved_loaded_and_blended(client: HostClient, host: HostServer) -> None:
    saving = graph(scene()) | {
        "keep": node(
            "HiDRA_SaveDegradation",
            degradation=["estimate", 0],
            filename_prefix="hidra_degradations/here",
            average=False,
        )
    }
    direct = pictures(client, client.run(saving))[0]
    (file,) = [path.name for path in host.folder("output", "hidra_degradations").glob("here*")]
    loading = graph(scene())
    loading["load file"] = node("HiDRA_LoadDegradation", file=file, weights="hidra-tiny")
    loading["blend"] = node("HiDRA_BlendDegradations", first=["load file", 0], second=["estimate", 0], share=0.5)
    loading["apply"]["inputs"]["degradation"] = ["blend", 0]
    assert np.abs(pictures(client, client.run(loading))[0] - direct).max() <= 1
    loading["load file"]["inputs"]["file"] = "none.safetensors"
    with pytest.raises(PromptRejectedError, match=r"none\.safetensors"):
        client.queue(loading)


def test_a_degradation_of_other_weights_is_refused(client: HostClient, host: HostServer, weights) -> None:
    import torch

    from hidra_core.enhance import DegradationVectors
    from hidra_core.vectors import save_degradation

    folder = host.folder("models", "hidra_degradations")
    save_degradation(DegradationVectors(torch.zeros(1, 256), weights), folder / "foreign.safetensors")
    prompt = graph(scene())
    prompt["file"] = node("HiDRA_LoadDegradation", file="foreign.safetensors", weights="hidra-tiny")
    prompt["apply"]["inputs"]["degradation"] = ["file", 0]
    assert "belongs to the weights" in failure(client, prompt)


def edited(**changes: float) -> dict[str, Any]:
    kinds = ("stripes", "noise", "blur", "low_resolution", "low_contrast", "non_uniformity")
    return node("HiDRA_EditDegradation", degradation=["estimate", 0], **dict.fromkeys(kinds, 0.0) | changes)


def test_an_edit_changes_the_report_and_the_picture(client: HostClient) -> None:
    prompt = graph(scene())
    prompt["none"] = edited()
    prompt["more"] = edited(stripes=0.3)
    prompt["apply"]["inputs"]["degradation"] = ["more", 0]
    prompt["plain"] = prompt["apply"] | {"inputs": prompt["apply"]["inputs"] | {"degradation": ["none", 0]}}
    prompt["clear"] = one_step(model=["plain", 0], vae=["plain", 1])
    prompt["save2"] = node("SaveImage", images=["clear", 0], filename_prefix="unedited")
    result = client.run(prompt)
    first, second = (pictures(client, result, key)[0] for key in ("save", "save2"))
    assert np.abs(first - second).max() > 1
    before, after = ("".join(result.outputs[key]["text"]) for key in ("none", "more"))
    stripes, *others = (line for line in before.splitlines() if line[0] in "█░")
    changed, *kept = (line for line in after.splitlines() if line[0] in "█░")
    assert kept == others
    assert changed.count("█") > stripes.count("█")


# ---------------------------------------------------------------- baking


def test_baked_files_give_what_the_hooks_give(client: HostClient, host: HostServer) -> None:
    prompt = graph(scene(seed=8), strength=0.9)
    prompt["enhance"]["inputs"] |= {"restraint": False, "corrector": False}  # files that are baked have none
    prompt["bake"] = node("HiDRA_BakeLoRA", model=["apply", 0], vae=["apply", 1], name="fixed")
    prompt["baked"] = one_step(model=["bake", 0], vae=["bake", 1], conditioning=["bake", 2])
    prompt["save2"] = node("SaveImage", images=["baked", 0], filename_prefix="baked")
    result = client.run(prompt)
    (hooked,) = pictures(client, result)
    (here,) = pictures(client, result, "save2")
    (lora,) = [path.name for path in host.folder("output", "loras").glob("fixed*")]
    (vae,) = [path.name for path in host.folder("output", "vae").glob("fixed*")]

    client.free()  # as in another session: nothing but the files
    loading = {
        "load": node("HiDRA_LoadSDTurbo", checkpoint="hidra-tiny"),
        "image": scene(seed=8),
        "lora": node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=1.0),
        "vae": node("HiDRA_LoadBakedVAE", file=vae),
        "enhance": one_step(model=["lora", 0], vae=["vae", 0], conditioning=["vae", 1]),
        "save": node("SaveImage", images=["enhance", 0], filename_prefix="loaded"),
        "plain": one_step(model=["load", 0], vae=["load", 1], conditioning=["vae", 1]),
        "save2": node("SaveImage", images=["plain", 0], filename_prefix="plain"),
    }
    before = len(host.log_text())
    result = client.run(loading)
    (loaded,) = pictures(client, result)
    (plain,) = pictures(client, result, "save2")
    assert np.abs(loaded - hooked).mean() < 1
    assert np.abs(here - loaded).mean() < 1
    assert np.abs(plain - hooked).mean() > 2  # twice what counts as the same, else it would show nothing
    assert "lora key not loaded" not in host.log_text()[before:]


def one_step(**inputs: Any) -> dict[str, Any]:
    return node("HiDRA_OneStepEnhance", **{"image": ["image", 0], "upscale": 1, "tiling": "auto"} | inputs)


def test_a_baked_model_enhances_video(client: HostClient, clip: Path) -> None:
    prompt = graph(scene(seed=9, width=96, height=64))
    prompt["bake"] = node("HiDRA_BakeLoRA", model=["apply", 0], vae=["apply", 1], name="video")
    prompt |= enhance_video(["file", 0], model=["bake", 0], vae=["bake", 1], conditioning=["bake", 2]) | {
        "file": node("LoadVideo", file=clip.name)
    }
    before, after = flickers(client.run(prompt))
    assert after < before


def test_wrong_pairs_are_refused(client: HostClient) -> None:
    prompt = graph(scene())
    prompt["bake"] = node("HiDRA_BakeLoRA", model=["load", 0], vae=["load", 1], name="plain")
    assert "same Apply Degradation-Guided LoRA" in failure(client, prompt)
    prompt["bake"]["inputs"] |= {"model": ["apply", 0], "vae": ["apply", 1]}
    prompt["enhance"]["inputs"]["conditioning"] = ["bake", 2]
    assert "Disconnect conditioning" in failure(client, prompt)


def test_one_baked_half_is_refused(client: HostClient, clip: Path) -> None:
    prompt = without_enhance(graph(scene(width=96, height=64)))
    prompt["bake"] = node("HiDRA_BakeLoRA", model=["apply", 0], vae=["apply", 1], name="half")
    prompt["file"] = node("LoadVideo", file=clip.name)
    plain, baked = ["load", 0], ["bake", 0]
    for model, vae, words in (
        (plain, ["bake", 1], "the VAE is baked, and this MODEL has no LoRA"),
        (baked, ["load", 1], "this MODEL has a LoRA, and the VAE is not the baked one"),
    ):
        halves = {"model": model, "vae": vae, "conditioning": ["bake", 2]}
        show = {"show": node("PreviewImage", images=["enhance", 0])}
        assert words in failure(client, prompt | show | {"enhance": one_step(**halves)})
        assert words in failure(client, prompt | enhance_video(["file", 0], **halves))


def without_enhance(prompt: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in prompt.items() if name not in ("enhance", "save")}
