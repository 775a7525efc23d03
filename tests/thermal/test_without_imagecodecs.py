"""TIFF where imagecodecs is not installed, as inside ComfyUI: Pillow decodes what tifffile then cannot."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from helpers import ROOT
from helpers.thermal_files import frame

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("imagecodecs", reason="the files of these tests are written with imagecodecs")

PROGRAM = """
import sys
sys.modules["imagecodecs"] = None
import numpy as np
from pathlib import Path
from hidra_core.thermal.readers import read_input, stored
folder = Path(sys.argv[1])
for at_once in (0, 1 << 26):
    stored._AT_ONCE = at_once
    for path in sorted(folder.glob("*.tif")):
        try:
            np.save(folder / f"{path.stem}-{at_once}.npy", np.asarray(read_input(path).counts))
        except ImportError as error:
            print(error)
"""

OPTIONS = {
    "lzw": {"compression": "lzw"},
    "lzw-predictor": {"compression": "lzw", "predictor": 2},
    "lzw-white-is-zero": {"compression": "lzw", "photometric": "miniswhite"},
    "lzw-tiles": {"compression": "lzw", "tile": (16, 16)},
    "deflate": {"compression": "zlib", "predictor": 2},
}
TYPES = ("uint8", "uint16", "float32")


def pages(dtype: str) -> list[np.ndarray]:
    return [(frame(seed=seed) // (80 if dtype == "uint8" else 1)).astype(dtype) for seed in range(2)]


@pytest.fixture(scope="module")
def read_without(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """(folder with the files and what was read of each, messages of those that were not)."""
    folder = tmp_path_factory.mktemp("files")
    for dtype in TYPES:
        for name, options in OPTIONS.items():
            predictor = {"predictor": 3} if dtype == "float32" and "predictor" in options else {}
            with tifffile.TiffWriter(folder / f"{name}-{dtype}.tif") as writer:
                for page in pages(dtype):
                    writer.write(page, metadata=None, **{**options, **predictor})
    tifffile.imwrite(folder / "lerc.tif", frame(), compression="lerc")
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    return folder, subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("at_once", [0, 1 << 26])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("dtype", TYPES)
def test_usual_compressions_are_read(read_without, name, dtype, at_once) -> None:
    folder, _ = read_without
    assert np.array_equal(np.load(folder / f"{name}-{dtype}-{at_once}.npy"), np.stack(pages(dtype)))


def test_others_name_the_package(read_without) -> None:
    assert "lerc.tif: its compression needs imagecodecs: pip install imagecodecs" in read_without[1]


def test_frames_saved_as_channels_are_refused_with_the_remedy(tmp_path) -> None:
    from hidra_core.thermal.readers import read_input

    frames = np.stack([frame(seed=seed) for seed in range(3)])
    tifffile.imwrite(tmp_path / "a.tif", frames, photometric="rgb", planarconfig="separate")
    with pytest.raises(ValueError, match=r"3 planes of 16 bits as the channels.*photometric='minisblack'"):
        read_input(tmp_path / "a.tif")
