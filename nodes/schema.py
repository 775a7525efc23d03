"""The pack's own socket type, and schemas that use features of newer hosts without failing on older ones."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CATEGORY = "image/HiDRA thermal"
Degradation = io.Custom("HIDRA_DEGRADATION")
SLIDER = io.NumberDisplay.slider
"""How shares are shown."""

SEED: dict[str, Any] = {
    "default": 0,
    "min": 0,
    "max": 2**31 - 1,
    # older hosts know no default for what follows a run: their pages start with randomize
    "control_after_generate": io.ControlAfterGenerate.fixed if hasattr(io, "ControlAfterGenerate") else True,
}
"""A seed, which a new node keeps from run to run, so that the effect of other inputs can be compared."""

_KNOWN = {field.name for field in fields(io.Schema)}


def schema(group: str = "", **described: Any) -> io.Schema:
    """An ``io.Schema`` in our category; fields that this host's version does not know are left out.

    Inputs with a widget are shown by their identifier with spaces unless they have a name of their own, which adds the
    unit.

    Args:
        group: sub-category; none for the nodes that most workflows consist of.
        **described: fields of ``io.Schema``.
    """
    described["category"] = f"{CATEGORY}/{group}" if group else CATEGORY
    for one in described["inputs"]:
        if isinstance(one, io.WidgetInput) and one.display_name is None:
            one.display_name = one.id.replace("_", " ")
    return io.Schema(**{key: value for key, value in described.items() if key in _KNOWN})


class UploadInput(io.Combo.Input):
    """A combo of files with an upload button for files of any kind, see ``web/upload.js``.

    Args:
        name: its identifier.
        endings: of the files that can be uploaded, in lower case, with the dot.
        **described: see ``io.Combo.Input``.
    """

    def __init__(self, name: str, endings: Iterable[str], **described: Any) -> None:
        super().__init__(name, **described)
        self._endings = ",".join(endings)

    def as_dict(self) -> dict[str, Any]:
        """As the host sends it to the page."""
        return super().as_dict() | {"hidra_upload": self._endings}


def one_of(value: str | None, options: Iterable[str], remedy: str) -> bool | str:
    """Check the file that a combo names, in ``validate_inputs``.

    The host checks combos itself where ``validate_inputs`` does not name them, and reports what that returns for each
    input that it names: it names one.

    Args:
        value: what was chosen; None where another node is linked to the input.
        options: what can be chosen.
        remedy: what to do about a wrong value, a sentence without its full stop.

    Returns:
        True, or a message.
    """
    options = list(options)
    if value is None or value in options:
        return True
    return f"'{value}' is not there. Found: {', '.join(options) or 'none'}. {remedy}"


def advanced(kind: Callable[..., Any], name: str, **described: Any) -> Any:
    """An input that newer hosts fold away as advanced; older ones show it like any other.

    Args:
        kind: class of the input, such as ``io.Float.Input``.
        name: its identifier.
        **described: its other arguments.
    """
    if "advanced" in inspect.signature(kind).parameters:
        described["advanced"] = True
    return kind(name, **described)
