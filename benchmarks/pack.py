"""Make the pack that the registry gives to users, by the rules of .comfyignore, and state its size.

    python benchmarks/pack.py dist/hidra-thermal.zip

The pack has the files that git knows, less those that ``.comfyignore`` names, as ``comfy node publish`` takes them.
Fails if it weighs 2 MB more than the weights of the models in it. Needs git and nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SPARE = 2_000_000
"""Packed bytes of all that is no weights, at most."""


def pack_files() -> list[str]:
    """The files of the pack, relative to the project, in order.

    Raises:
        subprocess.CalledProcessError: git does not work here, as in a folder that is no checkout.
    """
    return sorted(_listed() - _listed("-i", "-X", ".comfyignore"))


def _listed(*options: str) -> set[str]:
    command = ["git", "ls-files", "-z", "-c", *options]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, encoding="utf-8")
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def make(output: Path) -> tuple[zipfile.ZipInfo, ...]:
    """Write the pack.

    Args:
        output: zip file to write; its folder is made if it is missing.

    Returns:
        its files.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in pack_files():
            archive.write(ROOT / name, name)
        return tuple(archive.infolist())


def beyond_weights(files: tuple[zipfile.ZipInfo, ...]) -> int:
    """The packed bytes of all that is no weights.

    Args:
        files: of the pack.
    """
    return sum(file.compress_size for file in files if not file.filename.endswith(".safetensors"))


def main() -> int:
    """Make the pack and print its size; 1 if it is too large."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="zip file to write")
    output = parser.parse_args().output
    files = make(output)
    size, rest = output.stat().st_size, beyond_weights(files)
    unpacked = sum(file.file_size for file in files)
    print(
        f"{output}: {len(files)} files, {size / 1e6:.2f} MB, of which {rest / 1e6:.2f} MB are no weights "
        f"(at most {SPARE / 1e6:g}); unpacked {unpacked / 1e6:.2f} MB"
    )
    if rest > SPARE:
        print("too large: name what ComfyUI does not need in .comfyignore")
    return int(rest > SPARE)


if __name__ == "__main__":
    raise SystemExit(main())
