"""The device and the number type that networks compute with."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from ..names import HIDRA_TINY
from .calibration import cpu_type

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(device: str | torch.device) -> torch.device:
    """The requested device; ``"auto"`` is the machine's accelerator (CUDA, XPU, MPS) if it has one, else the CPU.

    Args:
        device: ``"auto"``, or what ``torch.device`` accepts.

    Raises:
        ValueError: an unknown device, or one that this machine or this PyTorch lacks.
    """
    if device == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        device = torch.device(device)
        torch.empty(1, device=device).item()  # the device "meta" has no values
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot compute on device '{device}' ({reason}); try auto, cpu, cuda, xpu or mps") from error
    return device


def pick_dtype(dtype: str | torch.dtype, device: torch.device, backbone: str = HIDRA_TINY) -> torch.dtype:
    """The requested number type; ``"auto"``: fp16 on a GPU, on a CPU whichever of bf16 and fp32 was measured faster.

    Args:
        dtype: ``"auto"``, a name of :data:`DTYPES`, or one of their types.
        device: the device to compute on.
        backbone: whose layers are measured: ``hidra-tiny``, or anything else for SD-Turbo.

    Raises:
        ValueError: an unknown type.
    """
    if dtype == "auto":
        return torch.float16 if device.type != "cpu" else DTYPES[cpu_type(backbone)]
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"unknown dtype '{dtype}'; choose auto, {', '.join(DTYPES)}")
    return DTYPES[dtype]


def free_bytes(device: torch.device) -> int | None:
    """Memory of a device that is free for tensors; None where it cannot be asked.

    Args:
        device: any device.
    """
    if device.type in ("cuda", "xpu"):
        return torch.get_device_module(device).mem_get_info(device)[0]
    with suppress(OSError, ValueError, IndexError):  # Linux alone has this file
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next((line for line in lines if line.startswith("MemAvailable:")), "")
        return int(available.split()[1]) * 1024
    return None
