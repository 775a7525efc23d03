"""Workflows in the format that the page saves, as prompts in the format that the API takes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOTES = ("Note", "MarkdownNote")
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MUTED = (2, 4)
"""Modes of nodes that do not run."""
UPLOADS = ("image_upload", "video_upload", "audio_upload", "hidra_upload")
"""Options of inputs for which the page adds a button, whose value it saves behind the required ones."""


def api_prompt(path: Path, info_of: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Read a saved workflow as a prompt.

    Args:
        path: of the workflow; it may have no subgraphs.
        info_of: a node's definition by its id, as ``HostClient.object_info``.

    Raises:
        ValueError: a node is muted, or has other widgets than the host says.
    """
    workflow = json.loads(path.read_text(encoding="utf-8"))
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        if node.get("mode", 0) in MUTED:
            raise ValueError(f"{path.name}: node {node['id']} ({node['type']}) is muted or bypassed; expected none")
        names = widget_names(info_of(node["type"]))
        values = node.get("widgets_values") or []
        if len(values) > len(names):
            raise ValueError(f"{path.name}: node {node['id']} has {values}, expected values of {names}")
        inputs = {name: value for name, value in zip(names, values, strict=False) if name is not None}
        inputs |= {entry["name"]: links[entry["link"]] for entry in node.get("inputs", []) if entry.get("link")}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def widget_names(info: dict[str, Any]) -> list[str | None]:
    """The inputs whose values a saved node lists, in order; None for what the page adds and the host does not know.

    Args:
        info: the node's definition.
    """
    names: list[str | None] = []
    for group in ("required", "optional"):
        inputs = info["input"].get(group, {})
        for name in info.get("input_order", {}).get(group, list(inputs)):
            kind, options = inputs[name][0], (inputs[name][1:] or [{}])[0]
            if options.get("forceInput") or not (isinstance(kind, list) or kind in WIDGETS or "COMBO" in kind):
                continue
            names.append(name)
            if options.get("control_after_generate") or name in ("seed", "noise_seed"):
                names.append(None)
        if any(option in (spec[1:] or [{}])[0] for spec in inputs.values() for option in UPLOADS):
            names.append(None)
    return names
