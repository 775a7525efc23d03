"""Record the SHA-256 of all results of the commands and of a training step on fixed inputs, and compare two records.

    python benchmarks/fingerprints.py before.json              # before a change
    python benchmarks/fingerprints.py after.json --against before.json

For changes that must not change any result, on one machine: the inputs are made from seeds, and the commands run in
fp32 on one thread. Images are hashed both as files and as decoded pixels, weights tensor by tensor. Entries of JSON
files that differ from run to run (times, paths, the machine) are left out. With ``--against`` every difference is
named, and the exit code is 1 if there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from safetensors import safe_open

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

VOLATILE = {"created", "machine", "command", "versions", "seconds", "file", "files", "source", "converted_from"}
"""Keys of JSON documents whose values differ between runs or folders."""

ENHANCE = {
    "enhance": (),
    "enhance-x2": ("--upscale", "2", "--compare", "--report"),
    "enhance-x2-whole": ("--upscale", "2", "--no-restraint"),
    "enhance-blend": ("--blend", "0.6", "--low-frequencies", "0.3"),
    "enhance-tiles": ("--tile", "256", "--strength", "0.8", "--no-restraint"),
    "enhance-radiometric": ("--radiometric", "--shading"),
    "enhance-plateau": ("--mapping", "plateau", "--kelvin", "0.04", "--format", "tiff"),
}
"""Options of ``hidra enhance`` by the name of the run; the last two runs read the files with counts only."""


def make_inputs(folder: Path) -> None:
    """Write images, counts, a radiometric JPEG and two clips, the same at every call.

    Args:
        folder: to write into.
    """
    import torch
    from helpers.clip_files import write_clip
    from helpers.thermal_files import fff, flir_jpeg, png_plane, tiff_pages

    def scene(height: int, width: int, seed: int) -> np.ndarray:
        rows, columns = np.mgrid[0:height, 0:width]
        blocks = 40 * ((rows // 24 + columns // 31) % 3)
        noise = np.random.default_rng(seed).normal(0, 7, (height, width))
        stripes = np.random.default_rng(seed + 1).normal(0, 4, width)
        return (50 + rows / 4 + columns / 5 + blocks + noise + stripes).clip(0, 255)

    for name in ("pictures", "counts", "clips", "clean"):
        (folder / name).mkdir()
    for number in range(3):
        Image.fromarray(scene(176, 192, 10 + number).astype(np.uint8)).save(folder / "clean" / f"{number}.png")
    grey = scene(120, 168, 0).astype(np.uint8)
    Image.fromarray(grey).save(folder / "pictures" / "grey.png")
    Image.fromarray(scene(300, 420, 1).astype(np.uint8)).save(folder / "pictures" / "large.png")
    Image.fromarray(grey).convert("RGB").save(folder / "pictures" / "colour.jpg", quality=92)
    with_alpha = Image.fromarray(grey).convert("RGBA")
    with_alpha.putalpha(Image.fromarray(grey[::-1].copy()))
    with_alpha.save(folder / "pictures" / "alpha.png")
    counts = [(20000 + 9 * scene(96, 128, seed)).astype(np.uint16) for seed in (2, 3, 4)]
    Image.fromarray(counts[0]).save(folder / "counts" / "frame.png")
    tiff_pages(folder / "counts" / "pages.tiff", counts)
    counts[1].astype("<u2").tofile(folder / "counts" / "raw_128x96.raw")
    flir_jpeg(folder / "counts" / "flir.jpg", fff(counts[2], png_plane(counts[2], swapped=True)), (128, 96))
    frames = [torch.from_numpy(scene(96, 128, 20 + number)).float()[..., None] / 255 for number in range(6)]
    write_clip(folder / "clips" / "eight.mp4", frames)
    narrow = [0.3 + 0.02 * frame for frame in frames]
    write_clip(folder / "clips" / "sixteen.mkv", narrow, codec="ffv1", layout="gray16le")


def run(program: list[str], folder: Path) -> str:
    """Run one command on one thread.

    Args:
        program: arguments of the Python interpreter.
        folder: to run in.

    Returns:
        Its standard output.

    Raises:
        RuntimeError: the command failed; with its error messages.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *program], cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(program)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def stable(value: Any) -> Any:
    """A JSON document without the entries that differ from run to run.

    Args:
        value: the document, or a part of it.
    """
    if isinstance(value, dict):
        return {key: stable(entry) for key, entry in value.items() if key not in VOLATILE}
    return [stable(entry) for entry in value] if isinstance(value, list) else value


def digest(*parts: bytes) -> str:
    """SHA-256 of some bytes, in hexadecimal.

    Args:
        parts: joined by a zero byte.
    """
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def fingerprints(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """Names and SHA-256 of a result: of its file and its content, if they are the same at every run.

    Args:
        name: of the result.
        path: its file.

    Yields:
        (what, SHA-256).
    """
    if path.suffix == ".json":
        content = stable(json.loads(path.read_text(encoding="utf-8")))
        yield f"{name} (content)", digest(json.dumps(content, sort_keys=True).encode())
        return
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            for key in sorted(file.keys()):
                tensor = file.get_tensor(key)
                yield f"{name}: {key}", digest(str((tensor.dtype, tensor.shape)).encode(), tensor.tobytes())
        return
    if path.suffix != ".mkv":  # which has a random identifier
        yield f"{name} (file)", digest(path.read_bytes())
    if path.suffix in (".mp4", ".mkv"):
        import av

        with av.open(str(path)) as clip:
            deep = path.suffix == ".mkv"
            frames = [(f.pts, f.to_ndarray(format="gray16le" if deep else "gray")) for f in clip.decode(video=0)]
        yield f"{name} (frames)", digest(*(str(pts).encode() + frame.tobytes() for pts, frame in frames))
    elif path.suffix in (".png", ".jpg", ".tif", ".tiff"):
        with Image.open(path) as image:
            pages = []
            for index in range(getattr(image, "n_frames", 1)):
                image.seek(index)
                pages.append(np.asarray(image))
        yield f"{name} (pixels)", digest(*(page.tobytes() for page in pages))


def record(folder: Path) -> dict[str, str]:
    """Run every command.

    Args:
        folder: an empty one, to run them in.

    Returns:
        SHA-256 by name.
    """
    make_inputs(folder)
    hidra = ["-m", "hidra_core"]
    common = ["--device", "cpu", "--quiet"]
    for name, options in ENHANCE.items():
        inputs = ["counts"] if name in ("enhance-radiometric", "enhance-plateau") else ["pictures", "counts"]
        run([*hidra, "enhance", *inputs, "-o", f"out/{name}", "--dtype", "fp32", *options, *common], folder)
    for name, per in (("clips", "frame"), ("clips-one", "clip")):
        options = ["--dtype", "fp32", "--compare", "--degradation-per", per]
        run([*hidra, "enhance", "clips", "-o", f"out/{name}", *options, *common], folder)
    (folder / "out" / "estimate").mkdir()
    for name in ("pictures", "counts"):
        run([*hidra, "estimate", name, "-o", f"out/estimate/{name}.json", *common], folder)
        text = run([*hidra, "estimate", name, "--text", "--device", "cpu"], folder)
        (folder / "out" / "estimate" / f"{name}.txt").write_text(text, encoding="utf-8")
    (folder / "out" / "bake").mkdir()
    for name in ("pictures", "counts"):
        run([*hidra, "bake", f"{name}/*.png", "-o", f"out/bake/{name}", *common], folder)
    options = ["--tasks", "composite,fpn,untouched", "--dtype", "fp32", "--baselines", "clahe,midway,nlm,median-3x3"]
    metrics = ["--metrics", "psnr,psnr_affine,ssim,ms_ssim"]
    run([*hidra, "evaluate", "clean", "-o", "out/evaluate", *options, *metrics, *common], folder)
    (folder / "out" / "evaluate" / "evaluation.md").unlink()  # names machine and command; the JSON has its numbers
    short = ["solver.iterations=2", "solver.warmup_iterations=1", "solver.period=2", "run.validate_every=2"]
    short += ["run.checkpoint_every=2", "run.device=cpu", "data.train=clean", "data.val=clean"]
    run([str(ROOT / "train/run.py"), "--config", "toy", *short, "run.output=out/train"], folder)
    phases = [f"{name}.steps=1" for name in ("estimator", "autoencoder", "joint", "finish", "whole")]
    small = [*phases, "data.train=clean", "data.frames=[[112,128]]", "data.pool=8", "data.workers=0"]
    small += [
        "joint.crop=64",
        "finish.crop=64",
        "autoencoder.crop=64",
        "whole.frames=[[112,128]]",
        "whole.batch=2",
        "run.dtype=float32",
    ]
    small += ["joint.batch=2", "finish.batch=2", "autoencoder.batch=2", "estimator.batch=2"]
    config = str(ROOT / "train/configs/hidra-tiny-prior.yaml")
    run([str(ROOT / "train/pretrain.py"), "--config", config, *small, "run.output=out/pretrain"], folder)
    unstable = {"config.yaml", "log.csv"}
    files = sorted(path for path in (folder / "out").rglob("*") if path.is_file() and path.name not in unstable)
    digests: dict[str, str] = {}
    for path in files:
        if path.suffix not in (".pt", ".csv") and "tensorboard" not in path.parts:
            digests |= dict(fingerprints(path.relative_to(folder / "out").as_posix(), path))
    return digests


def main() -> int:
    """Make a record, and compare it with an earlier one if asked to.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="JSON file to write the record to")
    parser.add_argument("--against", type=Path, help="an earlier record to compare with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        after = record(Path(folder))
    options.output.write_text(json.dumps(after, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{len(after)} fingerprints in {options.output}")
    if options.against is None:
        return 0
    before = json.loads(options.against.read_text(encoding="utf-8"))
    differing = [name for name in sorted(after.keys() | before.keys()) if after.get(name) != before.get(name)]
    for name in differing:
        state = "missing now" if name not in after else "new" if name not in before else "differs"
        print(f"{state}: {name}")
    print(f"{len(before) - sum(name in before for name in differing)} of {len(before)} are the same")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
