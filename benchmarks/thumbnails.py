"""Thumbnails of the example workflows, from runs of these workflows in a real host.

    COMFYUI_PATH=… python benchmarks/thumbnails.py            # all: example_workflows/*.jpg
    COMFYUI_PATH=… python benchmarks/thumbnails.py 01 05      # those whose names begin so; what they need runs too
    python benchmarks/thumbnails.py --sample                  # the image that the first of them opens

Starts a ComfyUI server on the CPU and runs the workflows as they are, in the order of their numbers, with what the
nodes get and give shown besides. On the left of a thumbnail is what the workflow was given, on the right what it made
of it. The workflow that needs SD-Turbo is left out: its thumbnail is its graph, drawn by ``tests/host/screens.py``.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from common import options_of
from host_gpu import ROOT, start
from PIL import Image, ImageDraw, ImageFont

from hidra_core import degradations, scenes
from hidra_core.degradations import DegradationRecord
from hidra_core.images.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence

sys.path.insert(0, str(ROOT / "tests" / "host"))  # for the client of the tests

from client import HostClient
from workflows import api_prompt

WORKFLOWS = ROOT / "example_workflows"
SAMPLE = WORKFLOWS / "input" / "hidra-sample.png"
WIDTH = 512
"""Of a thumbnail, in pixels."""
ENHANCED = ("HiDRA_OneStepEnhance", 0)
SIMULATED = ("HiDRA_SimulateDegradation", 0)
SHOWN: dict[str, tuple[tuple[str, int], ...]] = {
    "01": (("LoadImage", 0), ENHANCED),
    "03": (("HiDRA_TrustReport", 0),),
    "04": (("HiDRA_LoadThermal", 0), ("HiDRA_SaveThermal", 0)),
    "05": (SIMULATED, ("GetVideoComponents", 0)),
    "06": (SIMULATED, ENHANCED),
    "07": (("ImageFromBatch", 0), ENHANCED),
    "08": (SIMULATED, ENHANCED),
    "09": (("HiDRA_SampleScene", 0), ENHANCED),
    "10": (("HiDRA_SampleScene", 0), ENHANCED),
    "11": (SIMULATED,),
    "12": (SIMULATED, ENHANCED),
}
"""The node and its output that are shown of each workflow: given and made, or one picture alone."""
NEEDED = {"08": "07", "10": "09", "12": "11"}
"""Which workflow saves what another loads."""
WRITTEN = {"11": "LoRA + VAE"}
"""What is made where it is no picture."""
RECORD = {
    "seed": 4,
    "low_contrast": {"alpha": 0.55, "beta": 0.25},
    "stripes": [{"axis": "column", "gain_sigma": 0.02, "offset_sigma": 6}],
    "gaussian_sigma": 7,
    "dead_fraction": 0.0008,
}
"""What is wrong with the sample image."""


def write_sample() -> None:
    """Render the image of a small camera that the first workflow opens."""
    clean = torch.from_numpy(scenes.render("street", 288, 384, 3))[None, None]
    grey = degradations.apply(clean, DegradationRecord.from_dict(RECORD))[0, 0]
    with atomic_path(SAMPLE) as temporary:
        Image.fromarray((grey * 255).round().byte().numpy()).save(temporary, format="PNG", optimize=True)


def with_previews(prompt: dict[str, Any], shown: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """A prompt that shows what some of its nodes give.

    Args:
        prompt: in the format of the API.
        shown: the nodes' ids and places of their outputs.

    Returns:
        with the previews ``shown 0`` and following.
    """
    video = [name for name, node in prompt.items() if node["class_type"] == "HiDRA_EnhanceVideo"]
    extended = {**prompt}
    if video:
        extended["frames"] = {"class_type": "GetVideoComponents", "inputs": {"video": [video[0], 0]}}
    for number, (kind, place) in enumerate(shown):
        (name,) = [name for name, node in extended.items() if node["class_type"] == kind]
        extended[f"shown {number}"] = {"class_type": "PreviewImage", "inputs": {"images": [name, place]}}
    return extended


def thumbnail(pictures: Sequence[Image.Image], words: str) -> Image.Image:
    """One picture as it is, or the left half of the first beside the right half of the second.

    Args:
        pictures: one or two.
        words: what stands in the place of a second one.
    """
    given = pictures[0].convert("RGB")
    height = round(WIDTH * given.height / given.width)
    given = given.resize((WIDTH, height), Image.Resampling.LANCZOS)
    if len(pictures) == 1 and not words:
        return given
    made = Image.new("RGB", given.size, "#202020")
    if words:
        font = ImageFont.load_default(32)
        ImageDraw.Draw(made).text((WIDTH * 3 // 4, height // 2), words, "white", font, "mm")
    else:
        made = pictures[1].convert("RGB").resize(given.size, Image.Resampling.LANCZOS)
    halves = np.concatenate([np.asarray(given)[:, : WIDTH // 2], np.asarray(made)[:, WIDTH // 2 :]], axis=1)
    halves[:, WIDTH // 2 - 1 : WIDTH // 2 + 1] = 255
    return Image.fromarray(halves)


def draw(client: HostClient, path: Path) -> Image.Image:
    """Run a workflow and draw its thumbnail.

    Args:
        client: of the host.
        path: of the workflow.
    """
    number = path.stem[:2]
    prompt = with_previews(api_prompt(path, client.object_info), SHOWN[number])
    result = client.run(prompt, timeout=1800)
    firsts = [result.images(f"shown {place}")[0] for place in range(len(SHOWN[number]))]
    pictures = [Image.open(io.BytesIO(client.view(first))) for first in firsts]
    return thumbnail(pictures, WRITTEN.get(number, ""))


def main() -> None:
    """Write the thumbnails."""
    parser = options_of(__doc__)
    parser.add_argument("begins", nargs="*", help="beginnings of the names of workflows; all if there are none")
    parser.add_argument("--sample", action="store_true", help="write the sample image and nothing else")
    options = parser.parse_args()
    if options.sample:
        write_sample()
        return
    paths = {path.stem[:2]: path for path in sorted(WORKFLOWS.glob("*.json")) if path.stem[:2] in SHOWN}
    wanted = {number for number, path in paths.items() if path.stem.startswith(tuple(options.begins) or "")}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        (base / "models").mkdir()
        server = start("thumbnails", ["--cpu"], base, base)
        try:
            server.wait(900)
            with HostClient(server.url) as client:
                for number in sorted(wanted | {NEEDED[one] for one in wanted & set(NEEDED)}):
                    with atomic_path(paths[number].with_suffix(".jpg")) as temporary:
                        draw(client, paths[number]).save(temporary, format="JPEG", quality=85)
                    print(paths[number].with_suffix(".jpg").relative_to(ROOT))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
