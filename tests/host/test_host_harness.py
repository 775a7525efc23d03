"""The harness itself, with the host's own nodes: what these tests rely on in the others."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from client import HostClient, HostError, PromptRejectedError
from PIL import Image

if TYPE_CHECKING:  # at run time "conftest" may be another folder's
    from collections.abc import Callable
    from pathlib import Path

    from conftest import HostServer
    from frontend import Frontend


def invert_graph(picture: str) -> dict[str, Any]:
    """LoadImage, ImageInvert, and both a saved and a shown result, in API format."""
    return {
        "1": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "harness"}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small image that no other test has, so that nothing comes from the host's cache."""
    values = np.random.default_rng().integers(0, 256, (48, 64, 3), dtype=np.uint8)
    path = tmp_path / f"{tmp_path.name}.png"
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def uploaded(client: HostClient, picture: Path) -> str:
    """Its name in the host. Ask for it before ``frontend``, which lists the host's files when it starts."""
    return client.upload(picture)


def test_graph_runs_and_returns_its_pictures(client: HostClient, picture: Path) -> None:
    result = client.run(invert_graph(client.upload(picture)))
    assert result.status == "success"
    assert set(result.executed) == {"1", "2", "3", "4"}
    assert result.images("3")[0]["type"] == "output"
    assert result.images("4")[0]["type"] == "temp"
    assert ("2", 0.0, 1.0) in result.progress
    inverted = np.asarray(Image.open(io.BytesIO(client.view(result.images("3")[0]))))
    expected = 255 - np.asarray(Image.open(picture)).astype(int)
    assert np.abs(expected - inverted).max() <= 1  # the host's SaveImage truncates, it does not round


def test_second_run_is_cached_but_still_shows_its_pictures(client: HostClient, picture: Path) -> None:
    graph = invert_graph(client.upload(picture))
    client.run(graph)
    again = client.run(graph)
    assert set(again.cached) == {"1", "2", "3", "4"}
    assert again.images("4")


def test_invalid_input_names_the_node(client: HostClient) -> None:
    graph = invert_graph("there is no such file.png")
    with pytest.raises(PromptRejectedError, match="Invalid image file") as refused:
        client.queue(graph)
    assert refused.value.node_errors["1"]["class_type"] == "LoadImage"


def test_unknown_node_is_rejected(client: HostClient, picture: Path) -> None:
    graph = invert_graph(client.upload(picture))
    graph["2"]["class_type"] = "NoSuchNode"
    with pytest.raises(PromptRejectedError, match="NoSuchNode"):
        client.queue(graph)
    with pytest.raises(HostError, match="NoSuchNode"):
        client.object_info("NoSuchNode")


def test_error_while_running_carries_the_message(client: HostClient, host: HostServer) -> None:
    bad = host.folder("models", "upscale_models") / "broken.safetensors"
    bad.write_bytes(b"not a model")
    graph = {
        "1": {"class_type": "UpscaleModelLoader", "inputs": {"model_name": bad.name}},
        "2": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 0}},
        "3": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["1", 0], "image": ["2", 0]}},
        "4": {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}},
    }
    result = client.wait(client.queue(graph))
    assert result.status == "error"
    assert result.error is not None
    assert result.error["node_type"] == "UpscaleModelLoader"
    with pytest.raises(HostError, match="UpscaleModelLoader"):
        result.check()


def test_interrupt_stops_a_running_prompt(client: HostClient) -> None:
    # The host's own image nodes cannot be stopped inside, so this is many of them in a row.
    graph: dict[str, Any] = {
        "0": {"class_type": "EmptyImage", "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 4242}},
    }
    for step in range(1, 40):
        inputs = {"image": [str(step - 1), 0], "blur_radius": 31, "sigma": 10.0}
        graph[str(step)] = {"class_type": "ImageBlur", "inputs": inputs}
    graph["40"] = {"class_type": "PreviewImage", "inputs": {"images": ["39", 0]}}
    prompt_id = client.queue(graph)
    client.wait_for_node(prompt_id, "1")
    timer = threading.Timer(0.1, client.interrupt)
    timer.start()
    result = client.wait(prompt_id)
    timer.join()
    assert result.status == "interrupted"
    assert result.interrupted_at is not None
    assert "40" not in result.executed


def test_second_server_with_its_own_model_folder(host_factory: Callable[..., HostServer], tmp_path: Path) -> None:
    (tmp_path / "elsewhere.safetensors").write_bytes(b"")
    server = host_factory(
        "--disable-all-custom-nodes",
        pack=False,
        extra_model_paths=f"harness:\n  upscale_models: {tmp_path}\n",
    )
    try:
        with HostClient(server.url) as client:
            assert "elsewhere.safetensors" in client.get("/models/upscale_models")
    finally:
        server.stop()


def ui_node(number: int, kind: str, x: int, **fields: Any) -> dict[str, Any]:
    """A node in UI format."""
    common = {"id": number, "type": kind, "pos": [x, 0], "size": [300, 320], "flags": {}, "order": number, "mode": 0}
    rest = {"inputs": [], "outputs": [], "properties": {"Node name for S&R": kind}, "widgets_values": []}
    return common | rest | fields


def ui_workflow(picture: str) -> dict[str, Any]:
    """The same graph without the saved picture, in UI format: LoadImage, ImageInvert, PreviewImage."""
    load = ui_node(
        *(1, "LoadImage", 0),
        outputs=[{"name": "IMAGE", "type": "IMAGE", "links": [1]}, {"name": "MASK", "type": "MASK", "links": None}],
        widgets_values=[picture, "image"],
    )
    invert = ui_node(
        *(2, "ImageInvert", 360),
        inputs=[{"name": "image", "type": "IMAGE", "link": 1}],
        outputs=[{"name": "IMAGE", "type": "IMAGE", "links": [2]}],
    )
    show = ui_node(3, "PreviewImage", 720, inputs=[{"name": "images", "type": "IMAGE", "link": 2}])
    return {
        "last_node_id": 3,
        "last_link_id": 2,
        "nodes": [load, invert, show],
        "links": [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]],
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def test_frontend_opens_and_runs_a_workflow(uploaded: str, frontend: Frontend) -> None:
    frontend.load(ui_workflow(uploaded))
    frontend.check()
    assert frontend.widgets(1)["image"] == uploaded
    history = frontend.run()
    assert history["outputs"]["3"]["images"]
    frontend.check()
    assert frontend.shown_images() == {"1": 1, "3": 1}
    assert frontend.screenshot().stat().st_size > 10_000


def test_frontend_reports_a_missing_node(frontend: Frontend) -> None:
    workflow = ui_workflow("example.png")
    workflow["nodes"][1]["type"] = "NoSuchNode"
    frontend.load(workflow)
    assert frontend.missing_nodes() == ["NoSuchNode"]
    assert frontend.dialogs()
    with pytest.raises(AssertionError, match="missing node: NoSuchNode"):
        frontend.check()


def test_frontend_reports_a_missing_model(frontend: Frontend) -> None:
    workflow = ui_workflow("example.png")
    node = workflow["nodes"][1]
    node["type"], node["widgets_values"] = "UpscaleModelLoader", ["absent.safetensors"]
    url = "https://huggingface.co/none/none/resolve/main/absent.safetensors"
    node["properties"]["models"] = [{"name": "absent.safetensors", "url": url, "directory": "upscale_models"}]
    frontend.load(workflow)
    assert frontend.missing_models() == ["absent.safetensors"]
    frontend.close_dialogs()
    assert frontend.dialogs() == []


def test_frontend_reports_contradicting_links(uploaded: str, frontend: Frontend) -> None:
    workflow = ui_workflow(uploaded)
    workflow["nodes"][0]["outputs"][0]["links"] = []
    frontend.load(workflow)
    with pytest.raises(AssertionError, match="notice: "):
        frontend.check()
