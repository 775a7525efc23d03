"""Pictures of the example workflows in the page of a host that runs, before and after a run; faults are printed.

    python tests/host/screens.py http://127.0.0.1:8188 FOLDER               # all, in LiteGraph and in Nodes 2.0
    python tests/host/screens.py http://127.0.0.1:8188 FOLDER "01" "05"     # those whose names begin so

The window has 1366×768 pixels and shows what the workflow's stored view shows. Nodes grow when they have run: their
sizes in the page are held against the layout (``layout.py``), and written into ``sizes.json``. Workflows run in the
order of their numbers, as some need what others have saved.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from frontend import FrontendError, open_browser
from layout import WINDOW, WORKFLOWS, faults

if TYPE_CHECKING:
    from frontend import Frontend

RENDERINGS = {"litegraph": False, "nodes2": True}
SIZES = """vue => Object.fromEntries(app.graph.nodes.map(node => {
    const shown = vue && document.querySelector(`[data-node-id="${node.id}"]`)
    if (!shown) return [node.id, [...node.size]]
    const place = shown.getBoundingClientRect(), scale = app.canvas.ds.scale
    return [node.id, [place.width / scale, place.height / scale - 30]]
}))"""
"""Width and height of every node as the page draws it, without its title."""


def sizes_of(frontend: Frontend, is_vue: bool) -> dict[int, tuple[float, float]]:
    """Width and height of each node of the workflow that is open.

    Args:
        frontend: the page.
        is_vue: whether the page draws nodes as elements.
    """
    found = frontend.page.evaluate(SIZES, is_vue)
    return {int(identifier): (width, height) for identifier, (width, height) in found.items()}


def look(frontend: Frontend, path: Path, rendering: str) -> tuple[list[str], dict[int, tuple[float, float]]]:
    """Open and run a workflow, with pictures before and after.

    Args:
        frontend: the page.
        path: of the workflow.
        rendering: one of ``RENDERINGS``.

    Returns:
        what is wrong, and the sizes of nodes after the run.
    """
    is_vue = RENDERINGS[rendering]
    workflow = json.loads(path.read_text(encoding="utf-8"))
    frontend.clear()
    frontend.page.evaluate("async on => await app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)", is_vue)
    frontend.load(path)
    found = [f"before: {one}" for one in faults(workflow, sizes_of(frontend, is_vue))]
    frontend.screenshot(f"{path.stem}, {rendering}, before.png")
    try:
        frontend.run(timeout=900)
    except FrontendError as error:
        found.append(str(error)[:500])
    frontend.page.wait_for_timeout(1500)
    sizes = sizes_of(frontend, is_vue)
    found += [f"after: {one}" for one in faults(workflow, sizes)]
    frontend.screenshot(f"{path.stem}, {rendering}, after.png")
    return found + frontend.errors, sizes


def main(url: str, folder: Path, *begins: str) -> int:
    """Look at workflows; 1 if anything is wrong.

    Args:
        url: of the host.
        folder: for the pictures.
        *begins: beginnings of names; all workflows if there are none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [path for path in sorted(WORKFLOWS.glob("*.json")) if path.stem.startswith(begins or "")]
    several, measured = 0, {}
    with open_browser(url, WINDOW) as browser:
        frontend = browser.tab(folder)
        frontend.fits = False
        for path in paths:
            for rendering in RENDERINGS:
                found, measured[f"{path.stem}, {rendering}"] = look(frontend, path, rendering)
                several += len(found)
                print(f"{path.stem}, {rendering}: {len(found)} faults")
                print("".join(f"  {one}\n" for one in found), end="", flush=True)
    (folder / "sizes.json").write_text(json.dumps(measured, indent=1), encoding="utf-8")
    return int(several > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
