"""The pack that users get, in a host that has nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from client import HostClient
from workflows import api_prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import HostServer

ROOT = Path(__file__).parents[2]


def unpack(base: Path) -> None:
    """Make the pack and unpack it where a host with this base folder looks for packs."""
    file = base / "pack.zip"
    subprocess.run([sys.executable, str(ROOT / "benchmarks" / "pack.py"), str(file)], check=True)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(base / "custom_nodes" / "hidra-thermal")


def test_the_pack_runs_the_starter_in_an_empty_host(host_factory: Callable[..., HostServer]) -> None:
    server = host_factory(pack=False, prepare=unpack)
    try:
        assert not (server.base / "custom_nodes" / "ComfyUI-HiDRA").exists()
        (starter,) = (server.base / "custom_nodes").rglob("example_workflows/01 Enhance a thermal image.json")
        with HostClient(server.url) as client:
            prompt = api_prompt(starter, client.object_info)
            result = client.run(prompt)
        (enhance,) = (name for name, node in prompt.items() if node["class_type"] == "HiDRA_OneStepEnhance")
        assert enhance in result.executed
        shown = [name for name, node in prompt.items() if node["class_type"] == "SaveImage"]
        assert shown
        assert all(result.images(name) for name in shown)
        # the host may lack modules for nodes of its own
        assert not [line for line in server.log_text().splitlines() if "IMPORT FAILED" in line and "hidra" in line]
    finally:
        server.stop()
