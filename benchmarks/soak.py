"""Does the host stay well under many prompts? Memory, files left behind, and warnings.

    COMFYUI_PATH=… python benchmarks/soak.py FOLDER                             # 1,000 prompts, of which 50 are videos
    COMFYUI_PATH=… python benchmarks/soak.py FOLDER --prompts 100 --videos 5    # a tenth of it

Starts a ComfyUI server on the CPU, with the classic cache, as the default one fills the memory on purpose. Sends
workflows in random order over ``/prompt``: enhancement, batches, tiles, plain backbone, simulation, comparison, baking
and video. Every tenth is to be cancelled at a random time. Weights are copied in under one of three names, used,
replaced by others while a degradation of the former is still cached, and deleted.
FOLDER receives ``soak.md``, written anew with every row, and ``soak.log``, what the server printed.

Memory is the server's resident memory after a prompt. It is flat if the mean of the last tenth is at most 3 % above
that of the second tenth: the first warms up. Ends with 1 if it is not, if a prompt failed that was not to, if a file is
left in the folders for temporary files, the host's and the system's, that is no preview, or if the host warned of
anything.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from common import options_of
from host_gpu import graph, start

from hidra_core.backbone import MODELS
from hidra_core.evaluation.tables import to_markdown

if TYPE_CHECKING:
    from host_gpu import Server

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "host"))  # for the client of the tests

from client import HostClient, PromptRejectedError

HEADER = ("prompts", "minutes", "RSS MB", "cancelled", "failed", "files in temp", "warnings")
SIZE, LARGE = (160, 128), (576, 128)
FLAT = 0.03
CANCELLED = 0.1
"""Share of prompts that are cancelled."""
PATIENCE = 1800
"""Seconds that a prompt may take."""
WEIGHTS = MODELS / "hidra-tiny" / "weights.safetensors"
WARNING = re.compile(r"warning|traceback|memory leak|exception", re.IGNORECASE)
PREVIEW = re.compile(r"ComfyUI_temp_\w+_\d+_\.png|ComfyUI_\w*_?\d+_\.\w+")
"""Names of the host's own previews, which it keeps until it starts again."""
TEMPORARY = "temporary"
NAMES = ("first.safetensors", "second.safetensors", "third.safetensors")


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    """A node of a prompt.

    Args:
        kind: its id.
        **inputs: values and links.
    """
    return {"class_type": kind, "inputs": inputs}


def image_prompt(draw: random.Random, weights: str) -> dict[str, Any]:
    """A workflow for images, of one of six kinds.

    Args:
        draw: of kind, scene and strength.
        weights: file to use.
    """
    kind = draw.choice(("plain", "plain", "tiles", "batch", "simulate", "compare", "bake"))
    prompt = graph(
        ("hidra-tiny", weights),
        LARGE if kind == "tiles" else SIZE,
        draw.randrange(40),
        strength=draw.choice((0.0, 0.5, 1.0)) if kind == "plain" else 1.0,
        tiling="512" if kind == "tiles" else "auto",
        bake=kind == "bake",
    )
    source = None
    if kind == "batch":
        prompt["repeated"] = node("RepeatImageBatch", image=["image", 0], amount=draw.randint(2, 4))
        source = ["repeated", 0]
    elif kind == "simulate":
        values = {"preset": "moderate", "seed": draw.randrange(40), "batch": "one camera", "parameters": ""}
        prompt["simulated"] = node("HiDRA_SimulateDegradation", image=["image", 1], **values)
        source = ["simulated", 0]
    elif kind == "compare":
        prompt["report"] = node("HiDRA_TrustReport", image=["image", 0], enhanced=["enhance", 0])
        prompt["shown"] = node("PreviewImage", images=["report", 0])
    if source:
        prompt["estimate"]["inputs"]["image"] = prompt["enhance"]["inputs"]["image"] = source
    return prompt


def video_prompt(draw: random.Random, weights: str) -> dict[str, Any]:
    """A short clip, enhanced and saved.

    Args:
        draw: of the scene and of how its degradation is estimated.
        weights: file to use.
    """
    scene = {"scene": "street", "degradation": "fpn", "seed": draw.randrange(40), "width": 128, "height": 96}
    links = {"model": ["load", 0], "vae": ["load", 1], "video": ["clip", 0]}
    settings = {
        "weights": weights,
        "degradation_per": draw.choice(("frame", "clip")),
        "smoothing": 0.9,
        "strength": 1.0,
        "upscale": 1,
        "tiling": "auto",
        "on_broken_frame": "stop",
    }
    return {
        "load": node("HiDRA_LoadSDTurbo", checkpoint="hidra-tiny"),
        "image": node("HiDRA_SampleScene", **scene),
        "frames": node("RepeatImageBatch", image=["image", 0], amount=draw.randint(4, 10)),
        "clip": node("CreateVideo", images=["frames", 0], fps=10.0),
        "enhance": {"class_type": "HiDRA_EnhanceVideo", "inputs": links | settings},
        "save": node("SaveVideo", video=["enhance", 0], filename_prefix="soak", format="auto", codec="auto"),
    }


@dataclass
class Soak:
    """The run, and what is known of it so far.

    Attributes:
        server: that is soaked.
        base: the folder of its models, of its own folder ``soak``, and of the system's temporary files.
        output: folder of the table.
        draw: of everything that is random.
        memory: of the server after each prompt, in MB.
        cancelled: prompts that were.
        usual: seconds that a prompt takes: those that are cancelled are within that time.
        failures: what the host said of prompts that failed and were not to.
        rows: see ``HEADER``.
    """

    server: Server
    base: Path
    output: Path
    draw: random.Random
    memory: list[float] = field(default_factory=list)
    cancelled: int = 0
    usual: float = 1.0
    failures: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def change_weights(self) -> str:
        """Put a weights file in, replace or delete one; the name of one that is there."""
        folder = self.base / "models" / "hidra"
        name = self.draw.choice(NAMES)
        if self.draw.random() < 0.3:
            (folder / name).unlink(missing_ok=True)
        elif self.draw.random() < 0.5:
            shutil.copyfile(WEIGHTS, folder / name)
        present = sorted(path.name for path in folder.iterdir())
        return self.draw.choice(["hidra-tiny", *present])

    def send(self, client: HostClient, prompt: dict[str, Any]) -> None:
        """Run a prompt, or cancel it at a random time, and note the server's memory.

        Args:
            client: of the server.
            prompt: to run.
        """
        try:
            number = client.queue(prompt)
        except PromptRejectedError as error:
            self.failures.append(error.text)
            return
        timer = None
        if self.draw.random() < CANCELLED:
            timer = threading.Timer(self.draw.uniform(0, self.usual), client.interrupt)
            timer.start()
        began = time.monotonic()
        result = client.wait(number, timeout=PATIENCE)
        if timer is not None:
            timer.cancel()
            timer.join()
        self.usual = 0.9 * self.usual + 0.1 * (time.monotonic() - began)
        if result.status == "interrupted":
            self.cancelled += 1
        elif result.status != "success":
            self.failures.append(str((result.error or {}).get("exception_message", result.status)))
        self.memory.append(psutil.Process(self.server.process.pid).memory_info().rss / 1e6)

    def left(self) -> list[str]:
        """Files in the folders for temporary files that are no previews."""
        folders = (self.base / "soak" / "temp", self.base / TEMPORARY)
        files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
        return sorted(path.name for path in files if not PREVIEW.fullmatch(path.name))

    def warnings(self) -> list[str]:
        """Lines of the server that warn, after its start."""
        printed = self.server.log.read_text(encoding="utf-8", errors="replace").partition("To see the GUI")[2]
        return [line.strip() for line in printed.splitlines() if WARNING.search(line) and "Interrupt" not in line]

    def note(self) -> None:
        """Add a row and write the table."""
        recent = self.memory[-10:]
        self.rows.append(
            [
                str(len(self.memory)),
                f"{(time.monotonic() - self.started) / 60:.1f}",
                f"{sum(recent) / len(recent):.0f}",
                *(str(count) for count in (self.cancelled, len(self.failures), len(self.left()), len(self.warnings()))),
            ]
        )
        print(" | ".join(self.rows[-1]), flush=True)
        (self.output / "soak.md").write_text(to_markdown(HEADER, self.rows) + "\n", encoding="utf-8")

    def growth(self) -> float:
        """The mean memory of the last tenth of the prompts, compared with that of the second tenth."""
        tenth = max(1, len(self.memory) // 10)
        first, last = self.memory[tenth : 2 * tenth], self.memory[-tenth:]
        return sum(last) / len(last) / (sum(first) / len(first)) - 1


def main() -> int:
    """Soak the server; 1 if it did not stay well."""
    parser = options_of(__doc__)
    parser.add_argument("output", type=Path, help="folder to write into; made if it is missing")
    parser.add_argument("--prompts", type=int, default=1000, help="prompts, videos included (default: 1000)")
    parser.add_argument("--videos", type=int, default=50, help="how many of them are videos (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is random (default: 1)")
    options = parser.parse_args()
    if not 0 <= options.videos <= options.prompts or options.prompts < 20:
        parser.error("--prompts: expected at least 20, and not fewer than --videos")
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    draw = random.Random(options.seed)
    kinds = [video_prompt] * options.videos + [image_prompt] * (options.prompts - options.videos)
    draw.shuffle(kinds)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "models" / "hidra").mkdir(parents=True)
        (base / TEMPORARY).mkdir()
        os.environ["TMPDIR"] = str(base / TEMPORARY)  # of the server
        server = start("soak", ["--cpu", "--cache-classic"], base, output)
        try:
            server.wait(PATIENCE)
            soak = Soak(server, base, output, draw)
            with HostClient(server.url) as client:
                for number, kind in enumerate(kinds, 1):
                    soak.send(client, kind(draw, soak.change_weights()))
                    if number % max(1, options.prompts // 20) == 0:
                        soak.note()
        finally:
            server.stop()
        growth, left, warnings = soak.growth(), soak.left(), soak.warnings()
    print(to_markdown(HEADER, soak.rows))
    print(f"memory: {growth:+.1%} from the second tenth of the prompts to the last (flat: at most {FLAT:+.0%})")
    for name, lines in (("failed", soak.failures), ("left in temp", left), ("warned", warnings)):
        for line in dict.fromkeys(lines):
            print(f"{name}: {line}")
    return int(growth > FLAT or bool(soak.failures or left or warnings))


if __name__ == "__main__":
    raise SystemExit(main())
