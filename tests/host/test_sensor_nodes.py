"""Correct Thermal Sensor, Calibrate Thermal Camera, Load and Apply Camera Profile in the real host."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
from client import PromptRejectedError
from helpers import moving
from PIL import Image

from hidra_core import degradations, scenes
from hidra_core.degradations.batches import record_by_hand
from hidra_core.sensor import CameraProfile, load_profile, undo_sensor

if TYPE_CHECKING:
    from pathlib import Path

    from client import HostClient, Result
    from conftest import HostServer

NODES = ("HiDRA_CorrectSensor", "HiDRA_CalibrateCamera", "HiDRA_LoadCameraProfile", "HiDRA_ApplyCameraProfile")
STRIPED = record_by_hand(seed=2, stripes="column", stripe_offset=6, dead_fraction=0.003, gaussian_sigma=2)
FEW, SIZE = 24, {"width": 128, "height": 96}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def degraded(frames: int = 1) -> dict[str, Any]:
    """A scene, clean as ``scene``, with stripes and dead pixels as ``image``."""
    return {
        "scene": node("HiDRA_SampleScene", scene="street", degradation="none", seed=3, frames=frames, **SIZE),
        "image": node(
            "HiDRA_SimulateDegradation",
            image=["scene", 1],
            preset="fpn",
            seed=2,
            batch="one camera",
            parameters=json.dumps(STRIPED.to_dict()),
        ),
    }


def correct(**inputs: Any) -> dict[str, Any]:
    defaults = {"image": ["image", 0], "dead_pixels": "auto", "stripes": "auto", "shading": "auto"}
    return node("HiDRA_CorrectSensor", **defaults | inputs)


def calibrate(**inputs: Any) -> dict[str, Any]:
    defaults = {"image": ["image", 0], "flat": False, "filename_prefix": "hidra_cameras/test"}
    return node("HiDRA_CalibrateCamera", **defaults | inputs)


def shown(name: str) -> dict[str, Any]:
    return {f"{name} shown": node("PreviewImage", images=[name, 0])}


def pictures(client: HostClient, result: Result, name: str) -> list[np.ndarray]:
    images = result.images(f"{name} shown")
    return [np.asarray(Image.open(io.BytesIO(client.view(image)))).astype(int)[..., 0] for image in images]


def text(result: Result, name: str) -> str:
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


def test_the_host_corrects_as_the_library_does(client: HostClient) -> None:
    result = client.run(degraded() | {"correct": correct()} | shown("correct"))
    (picture,) = pictures(client, result, "correct")
    scene = torch.from_numpy(scenes.render("street", 96, 128, 3))[None, None]
    # the frames of one camera differ from the record in the seed of their noise alone
    image = degradations.apply(scene, degradations.batches.sample_batch(STRIPED, 1, 2, "one camera"))[0, 0].numpy()
    expected, found = undo_sensor(image * np.float32(255))
    assert np.abs(picture - expected.clip(0, 255)).max() <= 1  # the host truncates to 8 bits
    assert text(result, "correct") == found.summary()
    assert re.search(r"\d+ dead pixels; columns \d\.\d grey levels", found.summary())


def test_colours_are_left_alone_and_it_is_said(client: HostClient) -> None:
    colours = {"colour": node("HiDRA_ColourMap", image=["scene", 1], direction="grey to colour", palette="ironbow")}
    prompt = degraded() | colours | {"correct": correct(image=["colour", 0])} | shown("correct") | shown("colour")
    result = client.run(prompt)
    assert np.array_equal(pictures(client, result, "correct"), pictures(client, result, "colour"))
    warning, said = text(result, "correct").splitlines()
    assert "Colour Thermal Image (Palette)" in warning
    assert said == "its colours are no grey: left alone"


def test_all_parts_off_is_an_error(client: HostClient) -> None:
    off = dict.fromkeys(("dead_pixels", "stripes", "shading"), "off")
    assert "are all off: set one to auto" in failure(
        client, degraded() | {"correct": correct(**off)} | shown("correct")
    )
    with pytest.raises(PromptRejectedError, match="stripes"):
        client.queue(degraded() | {"correct": correct(stripes="maybe")} | shown("correct"))


def test_a_profile_is_calibrated_saved_loaded_and_applied(client: HostClient, host: HostServer) -> None:
    frames = degraded(FEW) | {"calibrate": calibrate()}
    for name in ("correct", "apply"):
        camera = {"image": ["image", 0], "camera": ["calibrate", 0]}
        frames[name] = correct(**camera) if name == "correct" else node("HiDRA_ApplyCameraProfile", **camera)
    clean = {"scene shown": node("PreviewImage", images=["scene", 1])}
    result = client.run(frames | clean | shown("image") | shown("apply") | shown("correct"), timeout=300)
    (path,) = host.folder("output", "hidra_cameras").glob("test_*_.safetensors")
    profile = load_profile(path)
    assert profile.summary() in text(result, "calibrate")
    assert f"saved in the output folder: hidra_cameras/{path.name}" in text(result, "calibrate")
    assert result.images("calibrate")
    assert text(result, "apply").startswith(f"image 1: {profile.dead.sum()} dead pixels; columns")
    truth, before, after, both = (
        np.stack(pictures(client, result, name)) for name in ("scene", "image", "apply", "correct")
    )
    assert np.abs(after - truth).mean() < 0.5 * np.abs(before - truth).mean()
    assert np.abs(both - truth).mean() < 0.5 * np.abs(before - truth).mean()
    load = {"load": node("HiDRA_LoadCameraProfile", file=path.name)}
    loaded = node("HiDRA_ApplyCameraProfile", image=["image", 0], camera=["load", 0])
    again = client.run(degraded(FEW) | load | {"apply": loaded} | shown("apply"))
    # the file holds 32-bit floats, and the host truncates to 8 bits
    assert np.abs(np.stack(pictures(client, again, "apply")) - after).max() <= 1
    assert text(again, "load") == profile.summary()
    small = {
        "small": node("ImageScale", image=["image", 0], upscale_method="area", width=64, height=48, crop="disabled")
    }
    loaded["inputs"]["image"] = ["small", 0]
    said = failure(client, degraded() | small | load | {"apply": loaded} | shown("apply"))
    assert "for frames of 128x96, and this one is 64x48" in said


def test_frames_that_are_no_use_are_refused(client: HostClient) -> None:
    still = degraded() | {
        "repeated": node("RepeatImageBatch", image=["scene", 1], amount=FEW),
        "calibrate": calibrate(image=["repeated", 0]),
    }
    said = failure(client, still)
    assert "it would be burnt" in said or "nothing moves" in said
    assert "--" not in said
    assert "needs at least 20" in failure(client, degraded(8) | {"calibrate": calibrate()})
    escaped = degraded(FEW) | {"calibrate": calibrate(filename_prefix="../elsewhere")}
    assert "does not lie in the output folder" in failure(client, escaped)


def test_counts_are_calibrated_with_their_file(client: HostClient, host: HostServer, tmp_path: Path) -> None:
    seen = moving.views(moving.large_scene(), FEW)
    counts = 20000 + 10 * moving.camera().frames(seen).astype(np.uint16)
    tifffile.imwrite(tmp_path / "pan.tiff", counts, photometric="minisblack")
    client.upload(tmp_path / "pan.tiff")
    load = node("HiDRA_LoadThermal", file="pan.tiff", sample="street", mapping="auto", clip=0.5, plateau=3.0)
    load["inputs"] |= {"kelvin_per_count": 0.0, "raw_size": ""}
    image = {"image": ["load", 0], "thermal": ["load", 1]}
    prompt = {
        "load": load,
        "calibrate": calibrate(**image, filename_prefix="hidra_cameras/counts"),
        "apply": node("HiDRA_ApplyCameraProfile", camera=["calibrate", 0], **image),
    }
    result = client.run(prompt | shown("apply"), timeout=300)
    (path,) = host.folder("output", "hidra_cameras").glob("counts_*_.safetensors")
    profile = load_profile(path)
    assert isinstance(profile, CameraProfile)
    assert profile.unit == "counts"
    assert profile.offsets.std() > 30
    assert re.search(r"columns \d+ counts", text(result, "apply"))
    del prompt["apply"]["inputs"]["thermal"]
    assert "connect thermal, from Load Thermal Image, too" in failure(client, prompt | shown("apply"))
