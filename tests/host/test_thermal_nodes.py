"""Load Thermal Image and Save Thermal Image in the real host."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from client import HostClient, PromptRejectedError
from PIL import Image

from hidra_core.thermal import write_thermal
from hidra_core.thermal.readers import read_thermal
from hidra_core.thermal.sample import thermal_sample

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import HostServer


def load(**inputs: Any) -> dict[str, Any]:
    defaults = {
        "sample": "street",
        "mapping": "auto",
        "clip": 0.5,
        "plateau": 3.0,
        "kelvin_per_count": 0.0,
        "raw_size": "",
    }
    return {"class_type": "HiDRA_LoadThermal", "inputs": {"file": ""} | defaults | inputs}


def save(image: list | None = None, **inputs: Any) -> dict[str, Any]:
    defaults = {"filename_prefix": "HiDRA", "format": "TIFF", "radiometric": False, "shading": False}
    links = {"image": image or ["load", 0], "thermal": ["load", 1]}
    return {"class_type": "HiDRA_SaveThermal", "inputs": links | defaults | inputs}


def upload(client: HostClient, folder: Path, name: str, pages: int = 1) -> np.ndarray:
    """A 16-bit TIFF of sample scenes in the host's input folder; its counts."""
    first = thermal_sample(height=96, width=128).image
    counts = np.concatenate([thermal_sample(height=96, width=128, seed=seed).image.counts for seed in range(pages)])
    write_thermal(folder / name, counts, replace(first, counts=counts))
    client.upload(folder / name)
    return counts


def noise(*shape: int) -> np.ndarray:
    """Smooth 16-bit counts."""
    generator = np.random.default_rng(0)
    planes = np.cumsum(np.cumsum(generator.normal(0, 3, shape), -1), -2)
    return np.clip(29000 + planes, 20000, 40000).astype(np.uint16)


def placed(host: HostServer, name: str, content: bytes) -> None:
    (host.folder("input") / name).write_bytes(content)


def record(client: HostClient, **inputs: Any) -> dict[str, Any]:
    """The record that Load Thermal Image gives."""
    prompt = {"load": load(**inputs), "show": {"class_type": "PreviewAny", "inputs": {"source": ["load", 2]}}}
    return json.loads(client.run(prompt).outputs["show"]["text"][0])


def refusal(client: HostClient, **inputs: Any) -> str:
    """The message with which Load Thermal Image fails."""
    result = client.wait(client.queue({"load": load(**inputs), "save": save()}))
    assert result.status == "error"
    return result.error["exception_message"]


def saved(host: HostServer, prefix: str) -> list[Path]:
    return sorted(host.folder("output").glob(f"{prefix}*"))


def test_save_is_an_output_node_and_load_offers_the_input_folder(client: HostClient, tmp_path: Path) -> None:
    assert client.object_info("HiDRA_SaveThermal")["output_node"]
    upload(client, tmp_path, "offered.tiff")
    inputs = client.object_info("HiDRA_LoadThermal")["input"]
    _, options = inputs["required"]["file"]
    assert "offered.tiff" in options["options"]
    assert {".seq", ".csq", ".raw", ".y16", ".fff", ".npy", ".tif"} <= set(options["hidra_upload"].split(","))
    assert list(inputs["optional"])[:5] == ["raw_order", "raw_offset", "plane", "crop", "telemetry"]


@pytest.mark.parametrize("mapping", ["auto", "percentile", "plateau"])
def test_unchanged_images_are_saved_bit_for_bit(
    client: HostClient, host: HostServer, tmp_path: Path, mapping: str
) -> None:
    counts = upload(client, tmp_path, "frame.tiff")
    prefix = f"same-{mapping}"
    result = client.run({"load": load(file="frame.tiff", mapping=mapping), "save": save(filename_prefix=prefix)})
    (path,) = saved(host, prefix)
    again = read_thermal(path)
    assert np.array_equal(again.counts, counts)
    assert again.relation == thermal_sample(height=96, width=128).image.relation
    assert len(result.images("load")) == len(result.images("save")) == 1


def test_pages_are_a_batch_and_stay_together(client: HostClient, host: HostServer, tmp_path: Path) -> None:
    counts = upload(client, tmp_path, "pages.tiff", pages=3)
    prompt = {"load": load(file="pages.tiff"), "save": save(filename_prefix="pages"), "png": save(format="PNG")}
    prompt["png"]["inputs"]["filename_prefix"] = "deep/single"
    result = client.run(prompt)
    assert len(result.images("save")) == 3
    (path,) = saved(host, "pages")
    assert np.array_equal(read_thermal(path).counts, counts)
    singles = sorted((host.folder("output") / "deep").glob("single*.png"))
    assert [np.array_equal(read_thermal(one).counts[0], page) for one, page in zip(singles, counts, strict=True)] == [
        True
    ] * 3


def test_radiometric_run_of_the_whole_graph(client: HostClient, host: HostServer) -> None:
    prompt = {
        "load": load(),
        "small": {"class_type": "HiDRA_LoadSDTurbo", "inputs": {"checkpoint": "hidra-tiny"}},
        "estimate": {
            "class_type": "HiDRA_EstimateDegradation",
            "inputs": {"image": ["load", 0], "weights": "hidra-tiny"},
        },
        "apply": {
            "class_type": "HiDRA_ApplyLoRA",
            "inputs": {"model": ["small", 0], "vae": ["small", 1], "degradation": ["estimate", 0], "strength": 1.0},
        },
        "enhance": {
            "class_type": "HiDRA_OneStepEnhance",
            "inputs": {
                "model": ["apply", 0],
                "vae": ["apply", 1],
                "image": ["load", 0],
                "upscale": 1,
                "tiling": "auto",
            },
        },
        "save": save(["enhance", 0], filename_prefix="kelvin", radiometric=True),
    }
    result = client.run(prompt)
    report, picture = saved(host, "kelvin")
    entry = json.loads(report.read_text())["report"][0]
    assert abs(entry["residual_kelvin"]["mean"]) < 0.1
    truth = thermal_sample()
    enhanced = read_thermal(picture)
    before, after = (np.abs(image.kelvin(image.counts[0]) - truth.kelvin).mean() for image in (truth.image, enhanced))
    assert after <= before / 2
    shown = Image.open(io.BytesIO(client.view(result.images("save")[0])))
    assert shown.size == (640, 512)


def test_bad_input_says_what_is_wrong(client: HostClient, tmp_path: Path) -> None:
    upload(client, tmp_path, "good.tiff")
    (tmp_path / "cut.tiff").write_bytes((tmp_path / "good.tiff").read_bytes()[:4000])
    Image.fromarray(np.full((32, 32), np.nan, np.float32)).save(tmp_path / "nan.tiff")
    colours = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32))
    colours.putpalette([value for step in range(256) for value in (step, 0, 255 - step)])
    colours.save(tmp_path / "palette.png")
    for name, message in (
        ("cut.tiff", "is damaged or incomplete"),
        ("nan.tiff", "no pixel of page 1 has data"),
        ("palette.png", "palette"),
    ):
        client.upload(tmp_path / name)
        result = client.wait(client.queue({"load": load(file=name), "save": save()}))
        assert result.status == "error"
        assert name in result.error["exception_message"]
        assert message in result.error["exception_message"]
    with pytest.raises(PromptRejectedError, match=r"missing\.tiff"):
        client.queue({"load": load(file="missing.tiff"), "save": save()})


def test_images_of_another_file_are_refused(client: HostClient, tmp_path: Path) -> None:
    upload(client, tmp_path, "one.tiff")
    upload(client, tmp_path, "two.tiff", pages=2)
    prompt = {"load": load(file="one.tiff"), "other": load(file="two.tiff"), "save": save(["other", 0])}
    result = client.wait(client.queue(prompt))
    assert "2 enhanced images for the 1 pages" in result.error["exception_message"]


def test_a_changed_file_is_read_again(client: HostClient, host: HostServer, tmp_path: Path) -> None:
    prompt = {"load": load(file="live.tiff"), "save": save(filename_prefix="live")}
    upload(client, tmp_path, "live.tiff")
    client.run(prompt)
    counts = upload(client, tmp_path, "live.tiff", pages=2)
    client.run(prompt)
    assert np.array_equal(read_thermal(saved(host, "live")[-1]).counts, counts)


def test_telemetry_is_cut_off_and_put_back(client: HostClient, host: HostServer) -> None:
    frame = noise(122, 160)
    frame[120:] = np.arange(320, dtype=np.uint16).reshape(2, 160) * 200
    placed(host, "lepton.raw", frame.tobytes())
    result = client.run({"load": load(file="lepton.raw"), "save": save(filename_prefix="lepton")})
    for node in ("load", "save"):
        assert Image.open(io.BytesIO(client.view(result.images(node)[0]))).size == (160, 120)
    (path,) = saved(host, "lepton")
    assert np.array_equal(tifffile.imread(path), frame)


def test_no_data_and_georeference_come_back(client: HostClient, host: HostServer, tmp_path: Path) -> None:
    counts = noise(60, 80)
    counts[:, :20] = counts[30:34, 50:60] = 0
    scale, corner = (0.05, 0.05, 0.0), (0.0, 0.0, 0.0, 500000.0, 5200000.0, 0.0)
    keys = (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)
    tags = [(33550, 12, 3, scale), (33922, 12, 6, corner), (34735, 3, len(keys), keys), (42113, 2, 2, "0")]
    tifffile.imwrite(tmp_path / "geo.tif", counts, extratags=tags, metadata=None)
    client.upload(tmp_path / "geo.tif")
    result = client.run({"load": load(file="geo.tif"), "save": save(filename_prefix="geo")})
    assert Image.open(io.BytesIO(client.view(result.images("load")[0]))).size == (60, 60)
    (path,) = saved(host, "geo")
    with tifffile.TiffFile(path) as tif:
        page = tif.pages.first
        assert np.array_equal(page.asarray(), counts)
        assert [page.tags[code].value for code in (33550, 33922, 34735)] == [scale, corner, keys]
        assert page.tags[42113].value.strip("\0 ") == "0"


def test_frames_are_described_by_the_inputs(client: HostClient, host: HostServer) -> None:
    frames = noise(2, 96, 64)
    placed(host, "frames.raw", b"\0" * 10 + frames.astype(">u2").tobytes())
    described = {"file": "frames.raw", "raw_size": "64x96", "raw_offset": 10, "raw_order": "big"}
    whole = record(client, **described)
    assert (whole["pages"], whole["height"], whole["highest"]) == (2, 96, frames.max())
    lower = record(client, **described, plane="lower", crop="8,4,40x30", telemetry="6,0")
    assert (lower["width"], lower["height"]) == (40, 30)
    part = frames[:, 48:][:, 4:34, 8:48][:, 2:]
    assert (lower["lowest"], lower["highest"]) == (part.min(), part.max())


def test_messages_speak_of_inputs(client: HostClient, host: HostServer, tmp_path: Path) -> None:
    placed(host, "unknown.raw", b"\0" * 1234)
    message = refusal(client, file="unknown.raw")
    assert "raw_size WIDTHxHEIGHT" in message
    assert "--" not in message
    upload(client, tmp_path, "small.tiff")
    assert "raw_size can be set for raw frames" in refusal(client, file="small.tiff", raw_size="128x96")
    assert "is not inside its frames of 128x96; give a smaller crop" in refusal(
        client, file="small.tiff", crop="9,9,128x96"
    )
    for name, text in (("crop", "1,2,3"), ("telemetry", "two"), ("raw_size", "640")):
        message = refusal(client, file="unknown.raw" if name == "raw_size" else "small.tiff", **{name: text})
        assert re.match(f"{name}: expected .* got '{text}'", message)


def test_what_was_recognised_is_in_text_and_record(client: HostClient, host: HostServer) -> None:
    frame = noise(122, 160)
    frame[120:] = 7
    placed(host, "said.raw", frame.tobytes())
    prompt = {"load": load(file="said.raw"), "save": save(filename_prefix="said")}
    (text,) = client.run(prompt).outputs["load"]["text"]
    notes = record(client, file="said.raw")["notes"]
    for words in (text, "\n".join(notes)):
        assert "telemetry TOP,BOTTOM says otherwise" in words
        assert words.count("are telemetry") == 1
        assert "--" not in words


def test_a_files_own_kelvin_wins_unless_forced(client: HostClient, tmp_path: Path) -> None:
    upload(client, tmp_path, "own.tiff")
    own = record(client, file="own.tiff", kelvin_per_count=0.015625)
    assert own["linear"]["scale"] == 0.04
    assert any("states its own relation" in note and "turn force_kelvin on" in note for note in own["notes"])
    forced = record(client, file="own.tiff", kelvin_per_count=0.015625, force_kelvin=True)
    assert forced["linear"]["scale"] == 0.015625
    assert not any("states its own relation" in note for note in forced["notes"])
    assert any("no temperature of a scene" in note for note in forced["notes"])  # 0.04 K per count is right


def test_some_pages_are_loaded_and_saved(client: HostClient, host: HostServer, tmp_path: Path) -> None:
    counts = upload(client, tmp_path, "many.tiff", pages=5)
    some = load(file="many.tiff", first_page=3, page_count=2)
    client.run({"load": some, "save": save(filename_prefix="some")})
    (path,) = saved(host, "some")
    assert np.array_equal(read_thermal(path).counts, counts[2:4])
    assert "has 5 pages, and pages 5 to 6 are asked for" in refusal(
        client, file="many.tiff", first_page=5, page_count=2
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [((1200, 512, 640), "first_page and page_count"), ((1, 6000, 6000), "a part of it with crop")],
)
def test_what_is_too_large_is_refused(
    client: HostClient, host: HostServer, shape: tuple[int, int, int], message: str
) -> None:
    np.lib.format.open_memmap(host.folder("input") / "huge.npy", "w+", np.uint16, shape).flush()
    assert message in refusal(client, file="huge.npy")


def test_temperatures_are_saved_as_floats(client: HostClient, host: HostServer, tmp_path: Path) -> None:
    counts = upload(client, tmp_path, "warm.tiff")
    client.run({"load": load(file="warm.tiff"), "save": save(filename_prefix="warm", unit="celsius")})
    (path,) = saved(host, "warm")
    assert np.allclose(tifffile.imread(path), counts[0] * 0.04 - 273.15, atol=1e-3)
    refused = client.wait(client.queue({"load": load(file="warm.tiff"), "save": save(format="PNG", unit="kelvin")}))
    assert "set format to TIFF" in refused.error["exception_message"]
    tifffile.imwrite(tmp_path / "float.tif", counts[0] * np.float32(0.04))
    client.upload(tmp_path / "float.tif")
    result = client.wait(client.queue({"load": load(file="float.tif"), "save": save(format="PNG")}))
    assert "set format to TIFF" in result.error["exception_message"]
