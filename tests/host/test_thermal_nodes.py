"""Load Thermal Image and Save Thermal Image in the real host."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from client import HostClient, PromptRejectedError
from PIL import Image

from hidra_core.thermal import write_thermal
from hidra_core.thermal.readers import read_thermal
from hidra_core.thermal.sample import thermal_sample

if TYPE_CHECKING:
    from conftest import HostServer
    from frontend import Frontend

WORKFLOWS = Path(__file__).parents[2] / "example_workflows"


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
    write_thermal(folder / name, counts, first)
    client.upload(folder / name)
    return counts


def saved(host: HostServer, prefix: str) -> list[Path]:
    return sorted(host.folder("output").glob(f"{prefix}*"))


def test_save_is_an_output_node_and_load_offers_the_input_folder(client: HostClient, tmp_path: Path) -> None:
    assert client.object_info("HiDRA_SaveThermal")["output_node"]
    upload(client, tmp_path, "offered.tiff")
    kind, options = client.object_info("HiDRA_LoadThermal")["input"]["required"]["file"]
    assert "offered.tiff" in options["options"]
    assert options["image_upload"]


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
    for name, message in (("cut.tiff", "damaged"), ("nan.tiff", "floating-point"), ("palette.png", "palette")):
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


def test_workflow_runs_as_it_opens(frontend: Frontend) -> None:
    frontend.load(WORKFLOWS / "Sixteen-bit radiometric.json")
    assert not frontend.missing_nodes()
    frontend.check()
    frontend.run(timeout=300)
    frontend.screenshot("sixteen-bit.png")
    assert frontend.shown_images()
    frontend.check()
