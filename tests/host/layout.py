"""Are the example workflows laid out so that they can be read at a glance? Faults are printed.

    python tests/host/layout.py         # by the places and sizes that are stored
    python tests/host/layout.py --fit   # first store the view in which all of each workflow is seen

Nodes and groups lie apart, groups hold their nodes whole, links run from left to right or downwards, and all of it is
inside a window of 1366×768 at the stored scale. ``screens.py`` asks the same of the sizes that nodes have in the page.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflows import NOTES

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKFLOWS = Path(__file__).resolve().parents[2] / "example_workflows"
WINDOW = (1366, 768)
FREE = (64, 92, 1360, 712)
"""What the page's own bars leave free of the window: left, top, right, bottom."""
TITLE = 30
"""Height of a node's title, which lies above its place."""
SMALLEST = 0.57
"""Below this scale the page leaves out the words in widgets."""


@dataclass(frozen=True)
class Box:
    """A rectangle of the canvas.

    Attributes:
        name: of the node or group.
        left: and the others: its edges, in units of the canvas.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two have an area in common."""
        apart = self.right <= other.left or other.right <= self.left
        return not (apart or self.bottom <= other.top or other.bottom <= self.top)

    def holds(self, other: Box) -> bool:
        """Whether the other lies within this one."""
        wide = self.left <= other.left and other.right <= self.right
        return wide and self.top <= other.top and other.bottom <= self.bottom


def node_boxes(workflow: dict[str, Any], sizes: Mapping[int, tuple[float, float]] | None = None) -> dict[int, Box]:
    """The nodes of a saved workflow, titles included, by their ids.

    Args:
        workflow: as the page saves it.
        sizes: width and height by id where they differ from what is stored.
    """
    boxes = {}
    for node in workflow["nodes"]:
        left, top = node["pos"]
        width, height = sizes[node["id"]] if sizes and node["id"] in sizes else node["size"]
        name = f"{node.get('title') or node['type']} ({node['id']})"
        boxes[node["id"]] = Box(name, left, top - TITLE, left + width, top + height)
    return boxes


def group_boxes(workflow: dict[str, Any]) -> list[Box]:
    """The groups of a saved workflow.

    Args:
        workflow: as the page saves it.
    """
    bounds = [(group["title"], group["bounding"]) for group in workflow["groups"]]
    return [Box(title, left, top, left + width, top + height) for title, (left, top, width, height) in bounds]


def view(workflow: dict[str, Any]) -> dict[str, Any]:
    """Scale and offset with which a workflow fills the free part of the window, as ``extra.ds`` has them.

    Args:
        workflow: as the page saves it.
    """
    boxes = [*node_boxes(workflow).values(), *group_boxes(workflow)]
    left, top = min(box.left for box in boxes), min(box.top for box in boxes)
    width, height = max(box.right for box in boxes) - left, max(box.bottom for box in boxes) - top
    scale = min((FREE[2] - FREE[0]) / width, (FREE[3] - FREE[1]) / height, 1.0)
    scale = int(scale * 1000) / 1000
    free_width, free_height = (FREE[2] - FREE[0]) / scale, (FREE[3] - FREE[1]) / scale
    offset = [FREE[0] / scale - left + (free_width - width) / 2, FREE[1] / scale - top + (free_height - height) / 2]
    return {"scale": scale, "offset": [round(value, 1) for value in offset]}


def faults(workflow: dict[str, Any], sizes: Mapping[int, tuple[float, float]] | None = None) -> list[str]:
    """What is wrong with the layout of a workflow, in words; none if it can be read.

    Args:
        workflow: as the page saves it.
        sizes: width and height of nodes by id where they differ from what is stored.
    """
    nodes, groups = node_boxes(workflow, sizes), group_boxes(workflow)
    notes = {node["id"] for node in workflow["nodes"] if node["type"] in NOTES}
    found = [f"{one.name} lies over {other.name}" for one, other in combinations(nodes.values(), 2) if one.meets(other)]
    found += [f"group {one.name} lies over {other.name}" for one, other in combinations(groups, 2) if one.meets(other)]
    for identifier, box in nodes.items():
        around = [group for group in groups if group.meets(box)]
        if identifier not in notes and not any(group.holds(box) for group in around):
            found.append(f"{box.name} is in no group as a whole")
        found += [f"{box.name} is in group {group.name}" for group in around if identifier in notes]
    for _, source, _, target, _, _ in workflow["links"]:
        one, other = nodes[source], nodes[target]
        if other.left < one.left or (other.left == one.left and other.top < one.top):
            found.append(f"the link from {one.name} to {other.name} runs backwards")
    return found + _outside(workflow, [*nodes.values(), *groups])


def _outside(workflow: dict[str, Any], boxes: list[Box]) -> list[str]:
    """What the stored view does not show."""
    if "ds" not in workflow["extra"]:
        return ["no view is stored"]
    scale, (right, down) = workflow["extra"]["ds"]["scale"], workflow["extra"]["ds"]["offset"]
    window = Box("", *(FREE[side] / scale - (right, down)[side % 2] - (0.5, -0.5)[side // 2] for side in range(4)))
    found = [f"{box.name} is not inside the window" for box in boxes if not window.holds(box)]
    return found + ([f"scale {scale} is below {SMALLEST}"] if scale < SMALLEST else [])


def main() -> int:
    """Print the faults of all workflows; 1 if there are any."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--fit", action="store_true", help="first store the view in which all of each workflow is seen")
    options = parser.parse_args()
    several = 0
    for path in sorted(WORKFLOWS.glob("*.json")):
        workflow = json.loads(path.read_text(encoding="utf-8"))
        if options.fit:
            workflow["extra"]["ds"] = view(workflow)
            path.write_text(json.dumps(workflow, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        found = faults(workflow)
        several += len(found)
        print(f"{path.stem}: scale {workflow['extra'].get('ds', {}).get('scale')}, {len(found)} faults")
        print("".join(f"  {one}\n" for one in found), end="")
    return int(several > 0)


if __name__ == "__main__":
    raise SystemExit(main())
