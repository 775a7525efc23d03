"""The first thing to try: enhance rendered sample scenes and show them before and after, side by side.

    python benchmarks/demo.py FOLDER

Writes the degraded scenes, the enhanced ones and ``before-after.png`` into the folder. The scenes are enhanced with the
``hidra`` command, as a user would do it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import clean_images, options_of
from PIL import Image

from hidra_core import cli, scenes
from hidra_core.evaluation.sheets import sheet
from hidra_core.evaluation.tasks import degrade
from hidra_core.images.files import atomic_path


def main() -> int:
    """Run the demo; the exit code of the ``hidra`` command."""
    parser = options_of(__doc__)
    parser.add_argument("folder", type=Path, help="folder to write into; made if it is missing")
    folder = parser.parse_args().folder
    before, after = folder / "before", folder / "after"
    before.mkdir(parents=True, exist_ok=True)
    truth = {name: scenes.render(name, 512, 640, 3) for name in scenes.SCENES}
    for seed, (name, clean) in enumerate(truth.items()):
        degraded, _ = degrade(clean, "moderate", seed)
        Image.fromarray((degraded * 255).round().astype(np.uint8)).save(before / f"{name}.png")
    code = cli.main(["enhance", str(before), "--output", str(after), "--overwrite"])
    if code:
        return code
    degraded, enhanced = clean_images(before), clean_images(after)
    rows = [
        (name, {"before": degraded[name], "after": enhanced[name], "truth": clean}) for name, clean in truth.items()
    ]
    with atomic_path(folder / "before-after.png") as temporary:
        sheet(rows, width=480).save(temporary)
    print(f"look at {folder / 'before-after.png'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
