"""The first thing to try: enhance rendered sample scenes into a before/after picture.

    python benchmarks/demo.py FOLDER

Writes the degraded scenes, the enhanced ones and ``before-after.png`` into the folder; the enhancing is done by the
``hidra`` command, as a user would.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from common import clean_images
from PIL import Image
from quality import degrade, sheet

from hidra_core import cli, scenes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    before, after = folder / "before", folder / "after"
    before.mkdir(parents=True, exist_ok=True)
    truth = {name: scenes.render(name, 512, 640, 3) for name in scenes.SCENES}
    for seed, (name, clean) in enumerate(truth.items()):
        degraded = degrade(clean, "moderate", seed)
        Image.fromarray((degraded * 255).round().astype(np.uint8)).save(before / f"{name}.png")
    code = cli.main(["enhance", str(before), "--output", str(after), "--overwrite"])
    if code:
        return code
    rows = [(name, [clean_images(before)[name], clean_images(after)[name], clean]) for name, clean in truth.items()]
    sheet(rows, ["before", "after", "truth"], folder / "before-after.png", width=480)
    print(f"look at {folder / 'before-after.png'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
