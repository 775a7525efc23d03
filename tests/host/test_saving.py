"""What nodes write: names, numbers, what the history says of it, and the workflow in the files."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from client import PromptRejectedError
from PIL import Image
from test_nodes import failure, graph, scene
from test_thermal_nodes import load, save, saved

from hidra_core.thermal.readers import read_thermal
from hidra_core.thermal.writing import stored_record

if TYPE_CHECKING:
    from pathlib import Path

    from client import HostClient
    from conftest import HostServer


def bake(name: str) -> dict[str, Any]:
    inputs = {"model": ["apply", 0], "vae": ["apply", 1], "name": name}
    return {"class_type": "HiDRA_BakeLoRA", "inputs": inputs}


def save_degradation(prefix: str) -> dict[str, Any]:
    inputs = {"degradation": ["estimate", 0], "filename_prefix": prefix, "average": False}
    return {"class_type": "HiDRA_SaveDegradation", "inputs": inputs}


def entry(name: str, subfolder: str = "") -> dict[str, str]:
    return {"filename": name, "subfolder": subfolder, "type": "output"}


def without(prompt: dict[str, Any], *nodes: str) -> dict[str, Any]:
    return {name: one for name, one in prompt.items() if name not in nodes}


@pytest.mark.parametrize("name", ["", "  ", "../evil", "/x/evil", "a/../../evil", "folder/", "C:\\evil"])
def test_names_that_lead_nowhere_are_refused(client: HostClient, host: HostServer, name: str) -> None:
    before = {path for path in host.base.rglob("*") if path.suffix in (".safetensors", ".tiff", ".json")}
    estimated = without(graph(scene()), "enhance", "save")
    prompts = {
        "name": estimated | {"bake": bake(name)},
        "filename_prefix": without(estimated, "apply", "load") | {"keep": save_degradation(name)},
        "filename_prefix ": {"load": load(), "save": save(filename_prefix=name)},
    }
    for source, prompt in prompts.items():
        message = failure(client, prompt)
        assert message.startswith(source.strip())
        assert "give a name, or folder/name" in message
    after = {path for path in host.base.rglob("*") if path.suffix in (".safetensors", ".tiff", ".json")}
    assert after == before


def test_what_belongs_together_has_one_number(client: HostClient, host: HostServer) -> None:
    (host.folder("output", "vae") / "pair_00007_.safetensors").write_bytes(b"")
    result = client.run(without(graph(scene()), "enhance", "save") | {"bake": bake("pair")})
    name = "pair_00008_.safetensors"
    assert result.outputs["bake"]["files"] == [entry(name, "loras"), entry(name, "vae")]
    for folder in ("loras", "vae"):
        assert (host.folder("output", folder) / name).stat().st_size > 0
        assert f"{folder}/{name}" in result.outputs["bake"]["text"][0]


def test_saved_files_are_in_the_history(client: HostClient, host: HostServer) -> None:
    prompt = {"load": load(), "save": save(filename_prefix="kept/thermal", radiometric=True)}
    prompt["show"] = {"class_type": "PreviewAny", "inputs": {"source": ["save", 1]}}
    identifier = client.queue(prompt)
    result = client.wait(identifier).check()
    files = client.history(identifier)["outputs"]["save"]["files"]
    assert files == [entry("thermal_00001_.tiff", "kept"), entry("thermal_00001_.json", "kept")]
    assert client.view(files[0]) == (host.folder("output", "kept") / "thermal_00001_.tiff").read_bytes()
    assert json.loads(result.outputs["show"]["text"][0])["saved"] == ["kept/thermal_00001_.tiff"]
    assert "kept/thermal_00001_.tiff" in result.outputs["save"]["text"][0]


def test_saved_files_hold_their_workflow(client: HostClient, host: HostServer) -> None:
    for kind in ("PNG", "TIFF"):
        client.run({"load": load(), "save": save(filename_prefix="workflow", format=kind)})
    png, tiff = sorted(saved(host, "workflow"), key=lambda path: path.suffix)
    with Image.open(png) as picture:
        assert json.loads(picture.info["prompt"])["load"]["class_type"] == "HiDRA_LoadThermal"
    note = stored_record(read_thermal(tiff).metadata.exif)
    assert note is not None
    assert note["workflow"]["prompt"]["save"]["inputs"]["format"] == "TIFF"


def test_files_elsewhere_are_not_read(client: HostClient, tmp_path: Path) -> None:
    Image.new("L", (64, 48), 100).save(tmp_path / "secret.png")
    for name in (str(tmp_path / "secret.png"), f"../../{tmp_path.name}/secret.png", "../server.log"):
        with pytest.raises(PromptRejectedError, match="is not in ComfyUI's input folder"):
            client.queue({"load": load(file=name), "save": save()})


@pytest.mark.parametrize("placeholder", ["%date:yyyy-MM-dd%", "%Load Thermal Image.file%"])
def test_placeholders_that_only_the_page_knows_are_refused(client: HostClient, placeholder: str) -> None:
    message = failure(client, {"load": load(), "save": save(filename_prefix=f"day/{placeholder}")})
    assert f"{placeholder} is nothing that ComfyUI's server replaces" in message
    assert "%year%" in message


def test_placeholders_of_the_server_and_percent_signs_work(client: HostClient, host: HostServer) -> None:
    client.run({"load": load(), "save": save(filename_prefix="rest/100%_%width%_50%")})
    (tiff,) = saved(host, "rest/100%_*.tiff")
    assert re.fullmatch(r"100%_\d+_50%_00001_\.tiff", tiff.name)
