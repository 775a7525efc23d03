"""The nodes in a ComfyUI server on a CUDA GPU: with its dynamic VRAM and without, offloaded, and short of memory.

    COMFYUI_PATH=… python benchmarks/host_gpu.py FOLDER               # at most 100 s
    COMFYUI_PATH=… python benchmarks/host_gpu.py FOLDER --miniature   # hidra-tiny on the CPU: does the program work?

Writes an SD-Turbo checkpoint and weights of real size with random values, starts several servers, each with other
options for its memory, and drives the same workflows through all of them. FOLDER receives ``host.md``, a table that is
written anew after every step, and what each server printed. A step that fails is a row that says why.

Differences are to the same step on the first server that has it, at most, in grey levels of 255. Memory is the most
that was used on the GPU in a step, all other processes included; where it says so, a part of the GPU is occupied
beforehand, as on a small card.
"""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import in_own_process, options_of
from gpu_memory import LEFT_FREE, Gpu, small_card
from PIL import Image
from random_networks import REAL_SIZE, random_backbone, random_weights
from safetensors.torch import save_file
from sd_turbo import FILE, WEIGHTS, original_layout

from hidra_core.evaluation.tables import to_markdown
from hidra_core.weights import save_weights

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "host"))  # for the client of the tests

from client import HostClient

if TYPE_CHECKING:
    from hidra_core.backbone import DiffusersBackbone

ROOT = Path(__file__).resolve().parents[1]
HEADER = ("server", "step", "s", "GPU GiB", "difference", "note")
START_SECONDS = 60
STEP_SECONDS = 30
PATIENCE = 20
"""How many times longer a miniature may take: a busy CPU may take any time."""


def servers(total: float, miniature: bool) -> dict[str, list[str]]:
    """The options of each server.

    Args:
        total: memory of the GPU in GiB.
        miniature: see the program's options.
    """
    if miniature:
        return {"cpu": ["--cpu"]}
    most = f"{total - 3:.1f}"
    return {
        "dynamic": [],
        "static": ["--disable-dynamic-vram"],
        "dynamic, offloaded": ["--vram-headroom", most],
        "static, offloaded": ["--disable-dynamic-vram", "--reserve-vram", most],
    }


def write_models(folder: Path) -> None:
    """Write checkpoint and weights where the host looks for them.

    Args:
        folder: the host's ``models``.
    """
    device = torch.device("cuda")
    for kind in ("checkpoints", "hidra"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    backbone = random_backbone(REAL_SIZE, device, torch.float16)
    spread(backbone)
    save_file(original_layout(backbone), folder / "checkpoints" / FILE)
    backbone.unet.float()
    backbone.vae.float()
    save_weights(random_weights(REAL_SIZE, backbone), folder / "hidra" / WEIGHTS, dtype=torch.float16)


@torch.inference_mode()
def spread(backbone: DiffusersBackbone) -> None:
    """Scale the last layer so that pictures use the whole range: else differences between them would be hidden.

    Args:
        backbone: of random weights.
    """
    weight = backbone.vae.decoder.conv_out.weight
    text = torch.randn(1, 77, backbone.unet.config.cross_attention_dim).to(weight)
    images = torch.rand(1, 1, 512, 512).to(weight).expand(-1, 3, -1, -1) * 2 - 1
    enhanced = backbone.decode(backbone.denoise(backbone.encode(images), text)).float()
    if enhanced.isfinite().all() and enhanced.std() > 0:
        weight.mul_(0.4 / enhanced.std().item())
        backbone.vae.decoder.conv_out.bias.zero_()


# ---------------------------------------------------------------------------------------------------- the servers


@dataclass
class Server:
    """A running ComfyUI.

    Attributes:
        name: in the table.
        url: of the server.
        log: the file that it prints into.
        process: of the server.
    """

    name: str
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def wait(self, seconds: float) -> None:
        """Wait until the server answers.

        Args:
            seconds: at most.

        Raises:
            RuntimeError: it ended, or does not answer in time.
        """
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                opener.open(f"{self.url}/system_stats", timeout=5).close()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
            else:
                return
        raise RuntimeError(f"the server did not start: {self.log.read_text(errors='replace')[-150:]}")

    def stop(self) -> None:
        """End the server and whatever it started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(name: str, options: list[str], base: Path, output: Path) -> Server:
    """Start a server around this repository.

    Args:
        name: in the table.
        options: of the server's memory.
        base: folder with ``models``, shared by all servers.
        output: folder of the log.
    """
    own = base / re.sub(r"\W+", "-", name)
    for kind in ("input", "output", "temp", "user", "custom_nodes", "page"):
        (own / kind).mkdir(parents=True, exist_ok=True)
    (own / "models").symlink_to(base / "models", target_is_directory=True)
    (own / "custom_nodes" / "ComfyUI-HiDRA").symlink_to(ROOT, target_is_directory=True)
    (own / "page" / "index.html").write_text("<html></html>")  # in place of the frontend, which is not used
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host = Path(os.environ.get("COMFYUI_PATH", "~/comfy/ComfyUI")).expanduser()
    command = [
        *(os.environ.get("COMFYUI_PYTHON", sys.executable), "-u", str(host / "main.py"), "--disable-api-nodes"),
        *("--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(own)),
        *("--front-end-root", str(own / "page"), "--database-url", f"sqlite:///{own / 'user' / 'comfyui.db'}"),
        *options,
    ]
    log = output / f"{own.name}.log"
    with log.open("wb") as stream:
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen(
            command, cwd=own, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    return Server(name, f"http://127.0.0.1:{port}", log, process)


# ------------------------------------------------------------------------------------------------------ the steps


def graph(files: tuple[str, str], size: tuple[int, int], seed: int = 1, **inputs: Any) -> dict[str, Any]:
    """Load, estimate, apply, enhance, save.

    Args:
        files: checkpoint and weights.
        size: width and height in pixels.
        seed: of the scene.
        **inputs: ``strength`` of the adapter, ``tiling``, and ``bake`` to enhance with the baked adapter.
    """
    bake = inputs.get("bake", False)
    scene = {"scene": "street", "degradation": "fpn", "seed": seed, "width": size[0], "height": size[1]}
    apply = {"model": ["load", 0], "vae": ["load", 1], "degradation": ["estimate", 0]}
    source = "bake" if bake else "apply"
    enhance = {"model": [source, 0], "vae": [source, 1], "image": ["image", 0]}
    nodes = {
        "load": ("HiDRA_LoadSDTurbo", {"checkpoint": files[0]}),
        "image": ("HiDRA_SampleScene", scene),
        "estimate": ("HiDRA_EstimateDegradation", {"image": ["image", 0], "weights": files[1]}),
        "apply": ("HiDRA_ApplyLoRA", {**apply, "strength": inputs.get("strength", 1.0)}),
        "enhance": ("HiDRA_OneStepEnhance", {**enhance, "upscale": 1, "tiling": inputs.get("tiling", "auto")}),
        "save": ("SaveImage", {"images": ["enhance", 0], "filename_prefix": "hidra"}),
    }
    if bake:
        nodes["bake"] = ("HiDRA_BakeLoRA", {"model": ["apply", 0], "vae": ["apply", 1], "name": "camera"})
        nodes["enhance"][1]["conditioning"] = ["bake", 2]
    return {name: {"class_type": kind, "inputs": values} for name, (kind, values) in nodes.items()}


@dataclass
class Steps:
    """Runs the steps and keeps their rows.

    Attributes:
        output: folder of the table.
        gpu: whose memory is watched.
        about: the machine, for the head of the table.
        patience: factor on the seconds that a step may take.
        rows: so far, see ``HEADER``.
        pictures: of the first server that ran a step, by step.
    """

    output: Path
    gpu: Gpu
    about: str
    patience: int
    rows: list[list[str]] = field(default_factory=list)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def add(self, *cells: str) -> None:
        """Add a row, print it, and write the table.

        Args:
            *cells: see ``HEADER``.
        """
        self.rows.append(list(cells))
        print(f"{time.monotonic() - self.started:6.1f} s  {' | '.join(cells)}", flush=True)
        text = f"{self.about}\n\n{to_markdown(HEADER, self.rows)}\n"
        (self.output / "host.md").write_text(text, encoding="utf-8")

    def run(self, server: Server, client: HostClient, step: str, prompt: dict[str, Any], like: str = "") -> None:
        """Run a workflow and add its row, or that of its error.

        Args:
            server: to run it on.
            client: of the server.
            step: its name.
            prompt: the workflow.
            like: the step whose picture should be the same; by default this one.
        """
        before = server.log.stat().st_size
        with self.gpu.peak() as used:
            began = time.monotonic()
            try:
                result = client.run(prompt, timeout=STEP_SECONDS * self.patience)
                seconds = f"{time.monotonic() - began:.2f}"
                (shown,) = result.images("save")
                picture = np.asarray(Image.open(io.BytesIO(client.view(shown)))).astype(int)
            except Exception as error:  # noqa: BLE001  the other steps go on
                self.add(server.name, step, "", f"{used[-1]:.2f}", "", f"failed: {one_line(error)}")
                return
        first = self.pictures.setdefault(like or step, picture)
        difference = str(np.abs(first - picture).max()) if first.shape == picture.shape else "another size"
        printed = server.log.read_bytes()[before:].decode(errors="replace")
        notes = [f"{picture.std():.1f} grey levels of contrast"]
        if count := printed.count("out of memory; trying again"):
            notes.append(f"tried again {count}× with less")
        notes += [line.strip()[-120:] for line in printed.splitlines() if "ERROR" in line or "Traceback" in line][:2]
        self.add(server.name, step, seconds, f"{used[-1]:.2f}", difference, "; ".join(notes).replace("|", "/"))

    def all_of(self, server: Server, files: tuple[str, str], size: tuple[int, int], large: tuple[int, int]) -> None:
        """All steps of one server.

        Args:
            server: to run them on.
            files: checkpoint and weights.
            size: width and height of an ordinary image.
            large: of a large one.
        """
        with HostClient(server.url) as client:
            self.run(server, client, "first", graph(files, size))
            self.run(server, client, "plain backbone", graph(files, size, strength=0.0))
            self.run(server, client, "next image", graph(files, size, 2))
            self.run(server, client, "first, baked", graph(files, size, bake=True), like="first")
            self.run(server, client, "large, in tiles", graph(files, large))
            client.free()
            time.sleep(0.5)  # the server frees when it is idle
            self.run(server, client, "first, after unloading", graph(files, size), like="first")
            if self.gpu.total:
                client.free()
                time.sleep(0.5)
                with small_card():
                    self.run(server, client, f"first, {LEFT_FREE:g} GiB left", graph(files, size), like="first")
                    self.run(server, client, f"large, {LEFT_FREE:g} GiB left", graph(files, large, tiling="off"))
            client.free()


def one_line(error: BaseException) -> str:
    """An error in one cell of a table.

    Args:
        error: that was raised.
    """
    return " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")[:300]


def main() -> None:
    """Start the servers, run the steps, and print the table."""
    parser = options_of(__doc__)
    parser.add_argument("output", type=Path, help="folder to write into; made if it is missing")
    parser.add_argument("--miniature", action="store_true", help="hidra-tiny and small images on the CPU")
    options = parser.parse_args()
    output = options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    gpu = Gpu()
    if not options.miniature and not gpu.total:
        parser.error("no NVIDIA GPU is found here (package nvidia-ml-py); --miniature runs on any machine")
    patience = PATIENCE if options.miniature else 1
    steps = Steps(output, gpu, f"{gpu.total:.1f} GiB of GPU memory, torch {torch.__version__}", patience)
    files, size, large = (FILE, WEIGHTS), (640, 512), (2048, 1536)
    if options.miniature:
        files, size, large = ("hidra-tiny", "hidra-tiny"), (128, 96), (256, 192)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        base = Path(folder)
        (base / "models").mkdir()
        running = []
        for name, flags in servers(gpu.total, options.miniature).items():
            running.append(start(name, flags, base, output))
            stack.callback(running[-1].stop)
        if not options.miniature:
            began = time.monotonic()
            in_own_process(write_models, base / "models")
            steps.add("", "writing the models", f"{time.monotonic() - began:.1f}", "", "", "")
        for server in running:
            try:
                server.wait(START_SECONDS * patience)
                steps.all_of(server, files, size, large)
            except Exception as error:  # noqa: BLE001  the other servers go on
                steps.add(server.name, "not finished", "", "", "", one_line(error))
            server.stop()
    print((output / "host.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
