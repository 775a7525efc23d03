"""``hidra info``: what a weights or backbone file holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..names import DEGRADATION_FORMAT, HIDRA_TINY, LORA_FORMAT, VAE_FORMAT
from .console import OK, megabytes, say
from .inputs import check_model_paths
from .options import add_command

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "info",
        run,
        "say what a weights or backbone file holds",
        "Say what a file holds, from its header: HiDRA weights (backbone, ranks, layers, DEM, training record, probes, "
        "restraint, corrector), a HiDRA backbone, a saved or baked degradation, or SD-Turbo as one file or as a "
        "diffusers folder.",
        "  hidra info hidra-tiny\n  hidra info hidra.safetensors --json",
    )
    parser.add_argument("file", metavar="FILE", help="a .safetensors file, a diffusers folder, or hidra-tiny")
    parser.add_argument("--json", action="store_true", help="write a JSON list with one object per file")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns its exit code."""
    check_model_paths(arguments.file)
    if arguments.file == HIDRA_TINY:
        from ..backbone import MODELS

        paths = [MODELS / HIDRA_TINY / "weights.safetensors", MODELS / HIDRA_TINY / "backbone.safetensors"]
    else:
        paths = [Path(arguments.file)]
    descriptions = [_describe_folder(path) if path.is_dir() else _describe_file(path) for path in paths]
    if arguments.json:
        say(json.dumps(descriptions, indent=2), arguments)
    else:
        say("\n\n".join("\n".join(_outline(description)) for description in descriptions), arguments)
    return OK


_OF_DEGRADATIONS = {
    DEGRADATION_FORMAT: "degradation vectors",
    LORA_FORMAT: "a degradation baked into a LoRA",
    VAE_FORMAT: "a degradation baked into a VAE, with the text embedding",
}


def _describe_file(path: Path) -> dict[str, Any]:
    """What the header of a ``.safetensors`` file says; tensors are counted, not read."""
    from math import prod

    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            metadata = file.metadata() or {}
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 (no dict)
            shapes = {key: tuple(part.get_shape()) for key, part in slices.items()}
            dtypes = sorted({part.get_dtype() for part in slices.values()})
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}): truncated, renamed, or of another kind. "
            "The authors' .pkl files become one with 'hidra convert'"
        ) from error
    try:
        kind = _describe_kind(metadata, shapes)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has a damaged header ({error!r}); export or download it again") from error
    if kind is None:
        raise ValueError(
            f"{path} holds neither HiDRA weights, nor a backbone for it, nor a degradation: {len(shapes)} tensors, "
            f"the first '{min(shapes, default='')}'"
        )
    size = path.stat().st_size
    numbers = sum(prod(shape) for shape in shapes.values())
    return {
        "file": str(path),
        **kind,
        "content": {"tensors": len(shapes), "numbers": numbers, "types": dtypes, "bytes": size},
    }


def _describe_kind(metadata: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> dict[str, Any] | None:
    from ..backbone import FORMAT, SD_TURBO_SHAPES
    from ..dem import FITS
    from ..weights import FORMAT as WEIGHTS_FORMAT

    if metadata.get("format") == WEIGHTS_FORMAT:
        included = any(key.startswith("dem.backbone.") for key in shapes)
        parts = {"probes": _describe_probes(json.loads(metadata["probes"]))} if "probes" in metadata else {}
        parts |= {name: json.loads(metadata[name]) for name in ("restraint", "corrector") if name in metadata}
        return {
            "kind": "HiDRA weights",
            "format": metadata["format"],
            "version": metadata["version"],
            "backbone": metadata["backbone"],
            "architecture": json.loads(metadata["architecture"]),
            "dem_backbone": {"included": included, **json.loads(metadata["dem_backbone"])},
            "dem_fit": metadata.get("dem_fit", FITS[0]),
            "training": json.loads(metadata["training"]),
            **parts,
        }
    if metadata.get("format") in _OF_DEGRADATIONS:
        return {
            "kind": _OF_DEGRADATIONS[metadata["format"]],
            "format": metadata["format"],
            "version": metadata["version"],
            "weights": metadata["weights"],
            "weights_fingerprint": metadata["weights_fingerprint"],
            "backbone": metadata["backbone"],
            **{key: metadata[key] for key in ("strength",) if key in metadata},
            **({"vectors": shapes["vectors"][0]} if "vectors" in shapes else {}),
        }
    if metadata.get("format") == FORMAT:
        return {
            "kind": "HiDRA backbone",
            "format": metadata["format"],
            "version": metadata["version"],
            "name": metadata["name"],
            "prediction_type": metadata["prediction_type"],
            **_network_sizes(json.loads(metadata["unet_config"]), json.loads(metadata["vae_config"])),
        }
    if all(shapes.get(key) == shape for key, shape in SD_TURBO_SHAPES.items()):
        return {"kind": "SD-Turbo or another Stable Diffusion 2.1, one file in the original layout"}
    return None


def _describe_probes(header: dict[str, Any]) -> dict[str, Any]:
    """What the probes read off the degradation vector, and how well they do on held-out images."""
    kinds = {
        kind["name"]: {
            "unit": kind["unit"],
            "present_from": kind["threshold"],
            "full_scale": kind["full"],
            **kind["figures"],
        }
        for kind in header["kinds"]
    }
    return {**kinds, "level": {"levels": header["levels"], **header["figures"]}, "fitted": header["fitted"]}


def _describe_folder(path: Path) -> dict[str, Any]:
    try:
        configs = [json.loads((path / part / "config.json").read_text(encoding="utf-8")) for part in ("unet", "vae")]
        return {"file": str(path), "kind": "diffusers folder", **_network_sizes(*configs)}
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not a diffusers folder: there is no {error.filename}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} has a damaged config.json ({error!r}); download it again") from error


def _network_sizes(unet: dict[str, Any], vae: dict[str, Any]) -> dict[str, Any]:
    return {
        "unet": {
            "channels": unet["block_out_channels"],
            "layers_per_block": unet["layers_per_block"],
            "text_width": unet["cross_attention_dim"],
        },
        "vae": {
            "channels": vae["block_out_channels"],
            "layers_per_block": vae["layers_per_block"],
            "latent_channels": vae["latent_channels"],
        },
    }


def _outline(values: dict[str, Any], indent: str = "") -> Iterator[str]:
    """A nested dict as indented lines for a reader."""
    for key, value in values.items():
        name = f"{indent}{key.replace('_', ' ')}:"
        if isinstance(value, dict):
            yield name
            yield from _outline(value, indent + "  ") if value else [f"{indent}  not recorded"]
        elif isinstance(value, bool):
            yield f"{name} {'yes' if value else 'no'}"
        elif isinstance(value, list):
            yield f"{name} {', '.join(map(str, value))}"
        elif key == "bytes":
            yield f"{indent}size: {megabytes(value)}"
        else:
            yield f"{name} {value}"
