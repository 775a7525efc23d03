"""The words of the nodes' interface, from what a host says of them: locales, and inputs and outputs in help pages.

    python tests/host/interface.py http://127.0.0.1:8188

writes ``locales/en/nodeDefs.json`` and the lists in ``web/docs`` anew, from a running host. A translation is changed
by hand where the English words have changed; ``test_interface.py`` names the keys that are missing.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
PAGES = ROOT / "web" / "docs"
PREFIX = "HiDRA_"
LISTS = re.compile(r"(?<=<!-- inputs and outputs -->\n).*?(?=<!-- end -->)", re.DOTALL)
"""Where a help page has its inputs and outputs."""

KINDS = {"INT": "whole number", "FLOAT": "number", "STRING": "text", "BOOLEAN": "switch", "COMBO": "choice"}
MOST_CHOICES = 6
"""Choices that a help page names; menus show all."""

FILES = {"checkpoint", "weights", "file"}
"""Inputs whose choices are the files of a host."""


def nodes_of(url: str) -> dict[str, dict[str, Any]]:
    """The pack's entries in ``/object_info`` of the host at ``url``."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/object_info", timeout=120) as answer:
        return {name: node for name, node in json.load(answer).items() if name.startswith(PREFIX)}


def inputs_of(node: dict[str, Any]) -> dict[str, list[Any]]:
    """Identifier to kind and options of all inputs of a node, in order."""
    return {name: one for part in ("required", "optional") for name, one in node["input"].get(part, {}).items()}


def words_of(node: dict[str, Any]) -> dict[str, Any]:
    """What ``nodeDefs.json`` says of a node in English."""
    shown = {
        name: {"name": options.get("display_name") or name, "tooltip": options["tooltip"]}
        for name, (_, options) in inputs_of(node).items()
    }
    outputs = zip(node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": shown,
        "outputs": {str(place): {"name": name, "tooltip": tip} for place, (name, tip) in enumerate(outputs)},
    }


def kind_of(name: str, kind: Any, options: dict[str, Any]) -> str:
    """What can be given to an input, with its range or its choices."""
    if isinstance(kind, list) or kind == "COMBO":
        choices = [one or "(none)" for one in (kind if isinstance(kind, list) else options["options"])]
        if name in FILES:
            return "file"
        listed = ", ".join(choices[:MOST_CHOICES])
        return listed if len(choices) <= MOST_CHOICES else f"{listed} … ({len(choices)} choices)"
    if kind not in KINDS:
        return kind
    return f"{KINDS[kind]}, {options['min']:g} to {options['max']:g}" if "max" in options else KINDS[kind]


def default_of(name: str, options: dict[str, Any]) -> str:
    """The default of an input as text; empty where there is none to tell."""
    value = options.get("default")
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value in (None, "") or name == "file" else str(value)


def lists_of(node: dict[str, Any]) -> str:
    """The inputs and outputs in a node's help page: lists, because the page is shown in a narrow panel."""
    optional = node["input"].get("optional", {})
    lines = ["## Inputs", ""]
    for name, (kind, options) in inputs_of(node).items():
        wired = kind not in KINDS and not isinstance(kind, list)
        default = default_of(name, options)
        about = [kind_of(name, kind, options), f"default {default}" if default else ""]
        about += ["optional" if wired and name in optional else ""]
        said = "; ".join(part for part in about if part)
        lines.append(f"- **{options.get('display_name') or name}** ({said}): {options['tooltip']}")
    lines += ["", "## Outputs", ""]
    outputs = zip(node["output_name"], node["output"], node["output_tooltips"], strict=True)
    lines += [f"- **{name}** ({kind}): {tip}" for name, kind, tip in outputs]
    return "\n".join(["", *lines, "", ""])


def with_lists(text: str, node: dict[str, Any]) -> str:
    """A help page with the inputs and outputs of its node."""
    return LISTS.sub(lambda _: lists_of(node), text)


def written(value: Any) -> str:
    """JSON as it stands in the files of the locales."""
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def main(url: str) -> None:
    """Write the English words and the lists of all help pages that exist."""
    nodes = nodes_of(url)
    words = written({name: words_of(node) for name, node in nodes.items()})
    (LOCALES / "en" / "nodeDefs.json").write_text(words, encoding="utf-8")
    for page in sorted(PAGES.glob("*.md")):
        page.write_text(with_lists(page.read_text(encoding="utf-8"), nodes[page.stem]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
