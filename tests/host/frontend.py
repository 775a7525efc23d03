"""Drive ComfyUI's real web frontend in headless Chromium, for the host tests.

Needs the Python package playwright and an installed Chromium or Chrome (`CHROMIUM_PATH`, or on the `PATH`);
no browser is ever downloaded, and the page reaches nothing but the server under test. Older frontends report what is
wrong with a workflow in a dialog, newer ones in an overlay with its details in a side panel; both are read here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import ConsoleMessage, Page, Route

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# The settings of a returning user: no template browser at the first visit, no release notes, no restored tabs, no
# minimap and no side panel in the screenshot. Workflows are validated when they are opened, which newer frontends do on
# request only.
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.0.0",
    "Comfy.Release.Status": "skipped",
    "Comfy.Notification.ShowVersionUpdates": False,
    "Comfy.Workflow.Persist": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.RightSidePanel.IsOpen": False,
    "Comfy.Validation.Workflows": True,
    "Comfy.Workflow.ShowMissingNodesWarning": True,
    "Comfy.Workflow.ShowMissingModelsWarning": True,
}
BLOCKED = re.compile(r"Error fetching file size|^(Connecting to '|Fetch API cannot load )https://")
DIALOG = ".p-dialog:visible"
OVERLAY = "[data-testid=error-overlay]:visible"


def chromium_path() -> str | None:
    """The installed browser, if any."""
    given = os.environ.get("CHROMIUM_PATH")
    if given:
        return given if Path(given).is_file() else None
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def chromium_missing() -> str | None:
    """Why the frontend cannot be driven here, or None if it can."""
    if importlib.util.find_spec("playwright") is None:
        return "frontend tests need the Python package playwright"
    if chromium_path() is None:
        return "frontend tests need Chromium or Chrome on the PATH (or CHROMIUM_PATH)"
    return None


class FrontendError(AssertionError):
    """The frontend showed an error, or refused to run the workflow."""


class Frontend:
    """One browser tab with the frontend loaded and its canvas ready."""

    def __init__(self, page: Page, url: str, folder: Path) -> None:
        self.page = page
        self.url = url
        self.folder = folder
        self.errors: list[str] = []
        """Uncaught exceptions and console errors of the page since it was ready."""
        self.startup_errors: list[str] = []
        """The same while the page started; a fresh user's frontend has some of its own."""
        self.fits = True
        """Whether all of a workflow is shown when it was opened or has run; else what the view shows stays."""
        page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        page.on("console", self._on_console)

    def clear(self) -> None:
        """Empty the canvas, forget errors, and read anew what nodes the host has and which files they offer."""
        self.page.evaluate("async () => { app.clean(); await app.refreshComboInNodes() }")
        self.errors = []

    def load(self, workflow: Path | dict[str, Any]) -> None:
        """Open a workflow (UI format) on the canvas, as opening its file does, and show all of it."""
        graph = json.loads(workflow.read_text()) if isinstance(workflow, Path) else workflow
        name = workflow.stem if isinstance(workflow, Path) else "test"
        self.page.evaluate(
            "async ([graph, name]) => { await app.loadGraphData(graph, true, true, name) }", [graph, name]
        )
        self._settle()

    def load_template(self, pack: str, name: str) -> None:
        """Open an example workflow of a custom node pack, from where the template browser gets it."""
        url = f"/api/workflow_templates/{pack}/{name}.json"
        graph = self.page.evaluate("async (url) => (await fetch(url)).json()", url)
        self.load(graph)

    def dialogs(self) -> list[str]:
        """The text of every dialog and error overlay that is open now."""
        return [shown.inner_text() for shown in self.page.locator(f"{DIALOG}, {OVERLAY}").all()]

    def missing_nodes(self) -> list[str]:
        """Node types of the loaded graph that the host does not have (the frontend's own test for its warning)."""
        script = "() => app.graph.nodes.map(n => n.type).filter(t => !(t in LiteGraph.registered_node_types))"
        return sorted(set(self.page.evaluate(script)))

    def notices(self) -> list[str]:
        """The text of every warning and error toast, e.g. of a workflow whose links contradict each other."""
        toasts = self.page.locator(".p-toast-message-warn:visible, .p-toast-message-error:visible")
        return [" ".join(toast.inner_text().split()) for toast in toasts.all()]

    def missing_models(self) -> list[str]:
        """The files that the frontend lists as missing models; opens the list where it is folded away."""
        details = self.page.locator("[data-testid=error-overlay-see-errors]:visible")
        if details.count():
            details.click()
            self.page.wait_for_timeout(1000)
        groups = self.page.locator(f"{DIALOG} .comfy-missing-models, [data-testid=error-group-missing-model]:visible")
        words = " ".join(groups.all_inner_texts()).split()
        return [word for word in words if word.endswith(".safetensors")]

    def close_dialogs(self) -> None:
        """Close whatever dialog or error overlay is open."""
        dismiss = self.page.locator("[data-testid=error-overlay-dismiss]:visible")
        if dismiss.count():
            dismiss.click()
        for _ in range(5):
            if not self.page.locator(DIALOG).count():
                return
            self.page.keyboard.press("Escape")
            self.page.wait_for_timeout(300)

    def check(self) -> None:
        """Raise `FrontendError` if anything is wrong with the page: missing nodes, a dialog, a warning, errors."""
        problems = [f"missing node: {name}" for name in self.missing_nodes()]
        problems += [f"dialog: {text}" for text in self.dialogs()]
        problems += [f"notice: {text}" for text in self.notices()]
        problems += self.errors
        if problems:
            raise FrontendError("\n".join(problems))

    def run(self, timeout: float = 120.0) -> dict[str, Any]:
        """Queue the graph as the Run button does, wait for its end, and return the host's history entry.

        Raises:
            FrontendError: the host refused the graph, or it failed while running.
        """
        with self.page.expect_response(lambda r: r.url.endswith("/api/prompt") and r.request.method == "POST") as sent:
            self.page.evaluate("async () => { await app.queuePrompt(0) }")
        answer = sent.value
        if not answer.ok:
            raise FrontendError(f"POST /prompt: {answer.status} {answer.text()}")
        prompt_id = answer.json()["prompt_id"]
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            history = self.page.evaluate("async (id) => (await fetch('/api/history/' + id)).json()", prompt_id)
            if prompt_id in history:
                break
            self.page.wait_for_timeout(250)
        else:
            raise TimeoutError(f"waited {timeout:.0f} s for the workflow to finish")
        self._settle()
        entry = history[prompt_id]
        if entry["status"]["status_str"] != "success":
            raise FrontendError(f"the workflow failed: {entry['status']['messages'][-1]}")
        return entry

    def shown_images(self) -> dict[str, int]:
        """Node id to the number of loaded images that the node draws."""
        script = """() => Object.fromEntries(app.graph.nodes
            .map(n => [String(n.id), (n.imgs ?? []).filter(i => i.complete && i.naturalWidth > 0).length])
            .filter(([, count]) => count > 0))"""
        return self.page.evaluate(script)

    def widgets(self, node: int | str) -> dict[str, Any]:
        """Name to value of a node's widgets, as the frontend understood the workflow."""
        script = """id => Object.fromEntries((app.graph.getNodeById(id).widgets ?? []).map(w => [w.name, w.value]))"""
        return self.page.evaluate(script, int(node))

    def screenshot(self, name: str = "frontend.png") -> Path:
        """Save what the tab shows and return the file."""
        path = self.folder / name
        self.page.screenshot(path=path)
        return path

    def _settle(self) -> None:
        """Fit the view and let the canvas draw, including images that are still loading."""
        if self.fits:
            self.page.evaluate("async () => { await app.extensionManager.command.execute('Comfy.Canvas.FitView') }")
        self.page.wait_for_timeout(700)
        self.page.wait_for_function(
            "() => app.graph.nodes.every(n => (n.imgs ?? []).every(i => i.complete))", timeout=60_000
        )
        # What nodes were given at the end of a run is drawn when something moves: a user's mouse, or this.
        self.page.evaluate("() => app.canvas.setDirty(true, true)")
        self.page.wait_for_timeout(300)

    def _on_console(self, message: ConsoleMessage) -> None:
        source = message.location.get("url", "")
        # Requests to anywhere else are blocked here on purpose, by the host's policy too; that they fail says nothing
        # about the pack. The list of missing models asks the models' sites for the size of the files.
        ours = not source or source.startswith(self.url)
        if message.type == "error" and ours and not BLOCKED.search(message.text):
            self.errors.append(f"console: {message.text} ({source})")


class Browser:
    """Headless Chromium on the frontend of one server, with one tab that tests share while it stays in order.

    A page takes ten times as long to open as a workflow takes to load.
    """

    def __init__(self, chromium: Chromium, url: str, size: tuple[int, int] = (1600, 900)) -> None:
        self.url = url
        self._chromium = chromium
        self._size = size
        self._tab: Frontend | None = None

    def tab(self, folder: Path) -> Frontend:
        """The shared tab with an empty canvas and the host's files of now; its screenshots go to `folder`."""
        if self._tab is None:
            self._tab = self._open(folder)
        else:
            self._tab.clear()
            self._tab.folder = folder
        return self._tab

    def take_back(self) -> None:
        """Close the tab if anything is wrong with it, such as an error that a test has provoked."""
        from playwright.sync_api import Error

        if self._tab is None:
            return
        try:
            self._tab.check()
        except (FrontendError, Error):
            self._tab.page.context.close()
            self._tab = None

    def _open(self, folder: Path) -> Frontend:
        width, height = self._size
        context = self._chromium.new_context(viewport={"width": width, "height": height})
        context.route(re.compile(f"^(?!{re.escape(self.url)}|data:|blob:)"), _answer_for_others)
        context.request.post(f"{self.url}/api/settings", data=SETTINGS)
        page = context.new_page()
        tab = Frontend(page, self.url, folder)
        page.goto(self.url, wait_until="domcontentloaded", timeout=180_000)
        # `vueAppReady` comes with the extensions; only then are all node types registered.
        page.wait_for_function("() => window.app?.vueAppReady && window.app.graph", timeout=180_000)
        page.wait_for_timeout(1000)
        tab.close_dialogs()
        tab.startup_errors, tab.errors = tab.errors, []
        return tab


def _answer_for_others(route: Route) -> None:
    """An answer, rather than a failed connection, which the frontend would report as an error."""
    route.fulfill(status=404, headers={"Access-Control-Allow-Origin": "*"})


@contextmanager
def open_browser(url: str, size: tuple[int, int] = (1600, 900)) -> Iterator[Browser]:
    """Start the browser for the server at `url`, whose pages of this width and height reach nothing else."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=list(CHROMIUM_FLAGS))
        try:
            yield Browser(chromium, url, size)
        finally:
            chromium.close()
