"""How long a user waits after *Cancel*: heavy nodes on a large image in a real server, stopped at random times.

    COMFYUI_PATH=… python benchmarks/cancel.py FOLDER                       # every node, three times, one thread
    COMFYUI_PATH=… python benchmarks/cancel.py FOLDER --rounds 5 sensor video
    COMFYUI_PATH=… python benchmarks/cancel.py FOLDER --threads 2

Starts a ComfyUI server on the CPU, queues a workflow over ``/prompt``, and waits until its heavy node has begun. Then
it waits for a random time, posts ``/interrupt``, and measures until the websocket says ``execution_interrupted``.
Round ``k`` of ``n`` interrupts in the ``k``-th of ``n`` equal parts of the time that the node takes, so that its end
is reached too. FOLDER receives ``cancel.md``, written anew with every row, and ``cancel.log``, what the server printed.

The seconds of the server's processor say how long a cancel takes on a machine without other work, whose load is said.
Ends with 1 if a cancel took longer than 2 of these.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from common import options_of
from host_gpu import start
from PIL import Image
from soak import node

from hidra_core.evaluation.tables import to_markdown
from hidra_core.images import palettes
from hidra_core.scenes import render

if TYPE_CHECKING:
    from host_gpu import Server

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "host"))  # for the client of the tests

from client import HostClient

HEADER = ("node", "input", "s until it stopped", "of the processor", "ended before", "load")
GOAL = 2.0
SIZE, UNTILED = (4096, 3072), (2048, 1536)
"""Width and height of the large image, and of the one that goes through the networks in one piece."""
PATIENCE = 1800
"""Seconds that a step may take."""


def write_images(folder: Path) -> None:
    """Write what the workflows read: a large image with noise and stripes, clean, coloured, as counts, and smaller.

    Args:
        folder: the server's ``input``.
    """
    width, height = SIZE
    tile = render("street", 512, 640, 1)
    clean = np.tile(tile, (-(-height // 512), -(-width // 640)))[:height, :width]
    draw = np.random.default_rng(0)
    noisy = (clean + draw.normal(0, 0.03, clean.shape) + draw.normal(0, 0.01, width)).clip(0, 1).astype(np.float32)
    pictures = {
        "large": noisy,
        "clean": clean,
        "untiled": noisy[: UNTILED[1], : UNTILED[0]],
        "small": noisy[:256, :256],
    }
    for name, grey in pictures.items():
        Image.fromarray((grey * 255).round().astype(np.uint8)).save(folder / f"{name}.png")
    coloured = (palettes.colour(noisy, "ironbow") * 255).round().astype(np.uint8)
    Image.fromarray(coloured).save(folder / "coloured.png")
    Image.fromarray((7000 + noisy * 1500).astype(np.uint16)).save(folder / "counts.tiff")


@dataclass(frozen=True)
class Heavy:
    """A workflow with one node that takes long.

    Attributes:
        title: of the node.
        given: what it is given.
        seconds: that it takes, about, with one thread.
        nodes: of the prompt; the node is called ``heavy``.
    """

    title: str
    given: str
    seconds: float
    nodes: dict[str, dict[str, Any]]


def picture(name: str) -> dict[str, Any]:
    """A node that loads an image.

    Args:
        name: of a file that ``write_images`` has written, without its ending.
    """
    return node("LoadImage", image=f"{name}.png")


def enhancing(image: str, tiling: str) -> dict[str, dict[str, Any]]:
    """Enhance an image with the degradation of a small one.

    Args:
        image: see ``picture``.
        tiling: of One-Step Enhance.
    """
    adapted = {"model": ["apply", 0], "vae": ["apply", 1]}
    return {
        "load": node("HiDRA_LoadSDTurbo", checkpoint="hidra-tiny"),
        "small": picture("small"),
        "estimate": node("HiDRA_EstimateDegradation", image=["small", 0], weights="hidra-tiny"),
        "apply": node("HiDRA_ApplyLoRA", model=["load", 0], vae=["load", 1], degradation=["estimate", 0], strength=1.0),
        "image": picture(image),
        "heavy": node("HiDRA_OneStepEnhance", **adapted, image=["image", 0], upscale=1, tiling=tiling),
        "save": node("PreviewImage", images=["heavy", 0]),
    }


def filming() -> dict[str, dict[str, Any]]:
    """A clip of three large frames, enhanced and saved."""
    settings = {"weights": "hidra-tiny", "degradation_per": "frame", "smoothing": 0.9, "strength": 1.0, "upscale": 1}
    return {
        "load": node("HiDRA_LoadSDTurbo", checkpoint="hidra-tiny"),
        "image": picture("large"),
        "frames": node("RepeatImageBatch", image=["image", 0], amount=3),
        "clip": node("CreateVideo", images=["frames", 0], fps=10.0),
        "heavy": node(
            "HiDRA_EnhanceVideo",
            model=["load", 0],
            vae=["load", 1],
            video=["clip", 0],
            **settings,
            tiling="auto",
            on_broken_frame="stop",
        ),
        "save": node("SaveVideo", video=["heavy", 0], filename_prefix="cancel", format="auto", codec="auto"),
    }


def workflows() -> dict[str, Heavy]:
    """What is cancelled, by its name on the command line."""
    large, untiled = (f"{width}×{height}" for width, height in (SIZE, UNTILED))
    image = {"image": picture("large")}
    pair = {"enhanced": picture("clean"), **image}
    shown = {"save": node("PreviewImage", images=["heavy", 0])}
    counts = {"file": "counts.tiff", "sample": "street", "mapping": "auto", "clip": 0.5, "plateau": 3.0}
    saving = {"filename_prefix": "cancel", "format": "TIFF", "radiometric": True, "shading": True}
    return {
        "enhance": Heavy("One-Step Enhance", f"{large}, in tiles", 210, enhancing("large", "auto")),
        "untiled": Heavy("One-Step Enhance", f"{untiled}, tiling off", 50, enhancing("untiled", "off")),
        "video": Heavy("Enhance Thermal Video", f"3 frames of {large}", 100, filming()),
        "estimate": Heavy(
            "Estimate TIR Degradation",
            large,
            20,
            image
            | {"heavy": node("HiDRA_EstimateDegradation", image=["image", 0], weights="hidra-tiny")}
            | {"save": node("PreviewAny", source=["heavy", 1])},
        ),
        "sensor": Heavy(
            "Correct Thermal Sensor",
            large,
            6,
            image
            | shown
            | {
                "heavy": node(
                    "HiDRA_CorrectSensor", image=["image", 0], dead_pixels="auto", stripes="auto", shading="auto"
                )
            },
        ),
        "trust": Heavy(
            "Trust Report",
            large,
            28,
            pair | shown | {"heavy": node("HiDRA_TrustReport", image=["image", 0], enhanced=["enhanced", 0])},
        ),
        "quality": Heavy(
            "Measure Thermal Image Quality",
            large,
            14,
            pair
            | {"heavy": node("HiDRA_QualityMetrics", image=["image", 0], number="PSNR", reference=["enhanced", 0])},
        ),
        "save": Heavy(
            "Save Thermal Image",
            f"{large}, radiometric, with shading",
            70,
            {
                "load": node("HiDRA_LoadThermal", **counts, kelvin_per_count=0.0, raw_size=""),
                "image": picture("clean"),
                "heavy": node("HiDRA_SaveThermal", image=["image", 0], thermal=["load", 1], **saving),
            },
        ),
        "grey": Heavy(
            "Colour Thermal Image",
            f"{large}, colour to grey",
            12,
            {"image": picture("coloured")}
            | shown
            | {"heavy": node("HiDRA_ColourMap", image=["image", 0], direction="colour to grey", palette="auto")},
        ),
    }


@dataclass
class Cancels:
    """The cancels so far.

    Attributes:
        output: folder of the table.
        client: of the server.
        process: of the server.
        draw: of the times.
        about: the machine, for the head of the table.
        rows: see ``HEADER``.
        longest: seconds of the processor that a cancel took, of all.
    """

    output: Path
    client: HostClient
    process: psutil.Process
    draw: random.Random
    about: str
    rows: list[list[str]] = field(default_factory=list)
    longest: float = 0.0

    def used(self) -> float:
        """Seconds of the processor that the server has used."""
        times = self.process.cpu_times()
        return times.user + times.system

    def stopped_after(self, heavy: Heavy, seconds: float) -> tuple[float, float] | None:
        """Run a workflow, cancel its heavy node, and say how many seconds that took.

        Args:
            heavy: the workflow.
            seconds: from the node's beginning until it is cancelled.

        Returns:
            seconds, and seconds of the processor; None where the node had ended before.

        Raises:
            HostError: it failed.
        """
        number = self.client.queue(heavy.nodes)
        self.client.wait_for_node(number, "heavy", PATIENCE)
        asked: list[float] = []

        def cancel() -> None:
            asked.extend([time.monotonic(), self.used()])
            self.client.interrupt()

        timer = threading.Timer(seconds, cancel)
        timer.start()
        result = self.client.wait(number, PATIENCE)
        ended, used = time.monotonic(), self.used()
        timer.cancel()
        timer.join()
        if result.status == "interrupted" and result.interrupted_at == "heavy":
            return ended - asked[0], used - asked[1]
        if result.status != "interrupted":
            result.check()
        return None

    def repeat(self, heavy: Heavy, rounds: int) -> None:
        """Cancel a workflow several times, and add its row.

        Args:
            heavy: the workflow.
            rounds: how often.
        """
        times, load = [], 0.0
        for index in range(rounds):
            taken = self.stopped_after(heavy, heavy.seconds * (index + self.draw.random()) / rounds)
            load = max(load, os.getloadavg()[0])
            if taken is not None:
                times.append(taken)
            said = "ended before" if taken is None else f"{taken[0]:.2f} s, {taken[1]:.2f} of the processor"
            print(f"  {heavy.title}, {heavy.given}: {said}", flush=True)
        self.longest = max([self.longest, *(used for _, used in times)])
        each = [", ".join(f"{one:.1f}" for one in kind) for kind in zip(*times, strict=True)] or ["", ""]
        self.rows.append([heavy.title, heavy.given, *each, str(rounds - len(times)), f"{load:.0f}"])
        text = f"{self.about}\n\n{to_markdown(HEADER, self.rows)}\n"
        (self.output / "cancel.md").write_text(text, encoding="utf-8")


def serve(base: Path, output: Path, threads: int) -> Server:
    """Start a server that has the images.

    Args:
        base: folder of all that it needs.
        output: folder of its log.
        threads: that it computes with.
    """
    (base / "models").mkdir()
    os.environ["OMP_NUM_THREADS"] = str(threads)
    server = start("cancel", ["--cpu", "--cache-lru", "30"], base, output)
    write_images(base / "cancel" / "input")
    return server


def main() -> int:
    """Cancel, and print the table; 1 if a cancel took too long."""
    parser = options_of(__doc__)
    parser.add_argument("output", type=Path, help="folder to write into; made if it is missing")
    parser.add_argument("names", nargs="*", help=f"what is cancelled: {', '.join(workflows())}; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is cancelled (default: 3)")
    parser.add_argument("--threads", type=int, default=1, help="of the server (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the times (default: 1)")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(workflows())):
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(workflows())}")
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        server = serve(Path(folder), output, options.threads)
        try:
            server.wait(PATIENCE)
            about = f"{os.cpu_count()} cores, {options.threads} threads of the server"
            with HostClient(server.url) as client:
                process = psutil.Process(server.process.pid)
                cancels = Cancels(output, client, process, random.Random(options.seed), about)
                for name, heavy in workflows().items():
                    if not options.names or name in options.names:
                        cancels.repeat(heavy, options.rounds)
        finally:
            server.stop()
    print((output / "cancel.md").read_text(encoding="utf-8"))
    return int(cancels.longest > GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
