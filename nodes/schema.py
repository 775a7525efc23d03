"""The pack's own socket type, and schemas that use what newer hosts know without failing on older ones."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CATEGORY = "image/HiDRA thermal"
Degradation = io.Custom("HIDRA_DEGRADATION")

_KNOWN = {field.name for field in fields(io.Schema)}


def schema(**described: Any) -> io.Schema:
    """An ``io.Schema`` of our category; fields that this host's version does not have yet are left out."""
    described.setdefault("category", CATEGORY)
    return io.Schema(**{key: value for key, value in described.items() if key in _KNOWN})


def one_of(value: str | None, options: Iterable[str], remedy: str) -> bool | str:
    """For ``validate_inputs``: True, or what is wrong. Not every host checks combos itself; linked values are None."""
    options = list(options)
    return value is None or value in options or f"'{value}' is not one of {', '.join(options)}. {remedy}"


def advanced(kind: Callable[..., Any], name: str, **described: Any) -> Any:
    """An input that newer hosts fold away under "advanced"; older ones show it like any other."""
    if "advanced" in inspect.signature(kind).parameters:
        described["advanced"] = True
    return kind(name, **described)
