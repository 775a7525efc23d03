"""Which of bf16 and fp32 a processor computes the networks faster in: measured once, and remembered.

Instructions alone do not tell. A processor with AMX needs half the time in bf16; one that has AVX-512's bf16
instructions and no AMX loses by them; emulated bf16 takes many times as long. So blocks of the networks' own kinds and
sizes are timed in both types, for a fraction of a second. The result is kept in the user's cache folder under the
processor, PyTorch's version and the number of threads; ``HIDRA_CALIBRATE=1`` in the environment measures again, and
``HIDRA_CACHE`` names another folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import platform
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F

from ..images.files import write_json
from ..names import HIDRA_TINY

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

CACHE_VARIABLE = "HIDRA_CACHE"
AGAIN_VARIABLE = "HIDRA_CALIBRATE"
FILE = "calibration.json"

BLOCKS: dict[str, tuple[tuple[int, int, int, int], ...]] = {
    HIDRA_TINY: ((256, 16, 40, 2), (128, 32, 80, 2), (64, 64, 160, 2), (32, 128, 320, 2), (16, 256, 640, 2)),
    "sd-turbo": ((320, 32, 32, 32), (640, 16, 32, 32), (1280, 8, 16, 32), (512, 16, 32, 32), (128, 64, 128, 32)),
}
"""For each backbone, blocks of normalisation, activation and convolution: channels, height, width and groups.

hidra-tiny's are those for 256×640 pixels. SD-Turbo's have fewer pixels than its own, which would take seconds and
change nothing in the order of the types.
"""

TOKENS = {HIDRA_TINY: (256, 8, 640), "sd-turbo": (640, 10, 1024)}
"""For each backbone an attention: channels, heads and tokens."""

ROUNDS = 2
"""Measured rounds; the fastest counts, as anything else that runs can only add time."""

MARGIN = 0.97
"""bf16 has to be faster by this factor, as it is less exact."""

HOPELESS = 8.0
"""How many times slower a block is in bf16 where it is emulated, at least; the rest is left out then."""


def cpu_type(backbone: str) -> str:
    """``"bf16"`` or ``"fp32"``, whichever this processor computes a backbone faster in.

    Args:
        backbone: ``hidra-tiny``, or anything else for SD-Turbo.
    """
    return _cpu_type(HIDRA_TINY if backbone == HIDRA_TINY else "sd-turbo", torch.get_num_threads())


@cache
def _cpu_type(sizes: str, threads: int) -> str:
    key = f"{_processor()}, torch {torch.__version__}, {threads} threads, {sizes}"
    file = cache_folder() / FILE
    remembered = _remembered(file)
    entry = remembered.get(key)
    if isinstance(entry, dict) and entry.get("type") in ("bf16", "fp32") and not os.environ.get(AGAIN_VARIABLE):
        return entry["type"]
    if _emulates_bf16():
        return "fp32"
    times = measure(sizes)
    chosen = "bf16" if times["bf16"] < MARGIN * times["fp32"] else "fp32"
    in_words = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in times.items())
    log.info("%s computes %s in %s, as measured: %s", _processor(), sizes, chosen, in_words)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {**remembered, key: {"type": chosen, "seconds": times}})
    except OSError as error:
        log.info("which number type is faster is measured in every run: %s cannot be written (%s)", file, error)
    return chosen


def cache_folder() -> Path:
    """The folder of what is remembered from run to run; it need not exist."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    name = "hidra-thermal"
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home, as in some containers
        home = Path("/nonexistent")
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / name
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / name
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / name


def _remembered(file: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is none, or where it is damaged, which the next result mends."""
    try:
        remembered = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


@cache
def _processor() -> str:
    """The processor and, as a hash, its instructions: virtual machines hide some of them under the same name."""
    lines = []
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        lines = [f"model name : {platform.processor() or platform.machine()}"]
    found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = found.get("model name") or " ".join(found.get(key, "") for key in ("CPU implementer", "CPU part"))
    instructions = " ".join(
        [
            found.get("flags", found.get("Features", "")),
            torch.backends.cpu.get_cpu_capability(),
            os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        ]
    )
    return f"{name.strip()} ({hashlib.sha256(instructions.encode()).hexdigest()[:8]})"


def _emulates_bf16() -> bool:
    """Whether the processor is one of Intel's or AMD's kind that has no bf16 instructions, where PyTorch can tell."""
    checks = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return platform.machine().lower() in ("x86_64", "amd64") and not any(has is None or has() for has in checks)


@torch.inference_mode()
def measure(sizes: str) -> dict[str, float]:
    """Seconds for the blocks of a backbone in each number type; of one block alone where bf16 is far slower in it.

    Args:
        sizes: key of :data:`BLOCKS`.
    """
    work = {name: _work(sizes, dtype) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    best = {name: [float("inf")] * len(blocks) for name, blocks in work.items()}
    for turn in range(1 + ROUNDS):
        for index in range(len(work["fp32"])):
            seconds = {}
            for name, blocks in work.items():
                started = time.perf_counter()
                blocks[index]()
                seconds[name] = time.perf_counter() - started
                if turn:  # the first call of each prepares memory and kernels
                    best[name][index] = min(best[name][index], seconds[name])
            if seconds["bf16"] > HOPELESS * seconds["fp32"]:
                return {"fp32": seconds["fp32"], "bf16": seconds["bf16"]}
    return {name: sum(seconds) for name, seconds in best.items()}


def _work(sizes: str, dtype: torch.dtype) -> list[Callable[[], object]]:
    """One function for each block of a backbone."""
    work: list[Callable[[], object]] = []

    def numbers(*shape: int) -> torch.Tensor:
        return torch.linspace(-1, 1, math.prod(shape)).to(dtype).view(shape)

    for channels, height, width, groups in BLOCKS[sizes]:
        maps = numbers(1, channels, height, width).contiguous(memory_format=torch.channels_last)
        kernel = (numbers(channels, channels, 3, 3) / 64).contiguous(memory_format=torch.channels_last)

        def block(maps: torch.Tensor = maps, kernel: torch.Tensor = kernel, groups: int = groups) -> object:
            return maps + F.conv2d(F.silu(F.group_norm(maps, groups)), kernel, padding=1)

        work.append(block)
    channels, heads, tokens = TOKENS[sizes]
    rows, matrix = numbers(1, tokens, channels), numbers(4 * channels, channels)

    def attention() -> object:
        parts = rows.view(1, tokens, heads, -1).transpose(1, 2)
        return F.scaled_dot_product_attention(parts, parts, parts), F.linear(rows, matrix)

    work.append(attention)
    return work
