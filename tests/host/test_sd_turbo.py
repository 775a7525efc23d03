"""SD-Turbo at its real size through the real host, compared with its plain backbone.

Needs the files that ``python benchmarks/sd_turbo.py make FOLDER`` writes (random weights) and time: set HIDRA_SD_TURBO
to that folder, and HIDRA_IMAGE to an image file; prints times and memory.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from client import HostClient
from PIL import Image
from test_nodes import graph, pictures

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import HostServer

FOLDER = os.environ.get("HIDRA_SD_TURBO")
IMAGE = os.environ.get("HIDRA_IMAGE")

pytestmark = pytest.mark.skipif(
    not (FOLDER and IMAGE),
    reason="HIDRA_SD_TURBO and HIDRA_IMAGE are not set: a folder of random weights and an image file",
)


def test_real_size_from_a_single_file(
    host_factory: Callable[..., HostServer], capsys: pytest.CaptureFixture[str]
) -> None:
    def place(base: Path) -> None:
        for kind, name in (("checkpoints", "sd_turbo.safetensors"), ("hidra", "hidra-sd-turbo.safetensors")):
            (base / "models" / kind).mkdir(parents=True, exist_ok=True)
            (base / "models" / kind / name).symlink_to(Path(FOLDER, name).resolve())

    server = host_factory(prepare=place)
    process = psutil.Process(server.process.pid)
    lines = []
    with HostClient(server.url) as session:
        name = session.upload(Path(IMAGE))
        for what, strength in (("first, loading", 1.0), ("plain backbone", 0.0), ("adapted", 0.9)):
            prompt = graph(
                {"class_type": "LoadImage", "inputs": {"image": name}},
                checkpoint="sd_turbo.safetensors",
                weights="hidra-sd-turbo.safetensors",
                strength=strength,
            )
            started = time.monotonic()
            result = session.run(prompt, timeout=1500)
            seconds = time.monotonic() - started
            (picture,) = pictures(session, result)
            assert picture.shape[:2] == Image.open(IMAGE).size[::-1]
            lines.append(f"{what}: {seconds:.1f} s, {process.memory_info().rss / 1e9:.1f} GB resident")
    with capsys.disabled():
        os.write(1, ("\n" + "\n".join(lines) + "\n").encode())
