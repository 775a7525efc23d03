"""Run the host tests in several ComfyUI versions, and print one table.

    python tests/host/matrix.py                            # every ComfyUI that is laid out, all host tests
    python tests/host/matrix.py --quick                    # start, the pack in an empty host, and the four nodes
    python tests/host/matrix.py --quick --ends             # in the oldest and the newest of them
    python tests/host/matrix.py ~/comfy/ComfyUI ~/comfy64/ComfyUI=/usr/bin/python3.12
    python tests/host/matrix.py --frontend comfyui_frontend_package/static   # the newest host also with this frontend

Hosts are folders with ComfyUI's ``main.py``: by default those in ``~/comfy*/ComfyUI`` and ``~/comfy-matrix/*/ComfyUI``.
Each is run by the Python named behind ``=``, else by that of a virtual environment ``.venv`` or ``venv`` in
the folder or next to it, else by the one that runs this program. Ends with 1 where a host has a failure or runs no
test; without any host it says so and ends with 0.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
LAID_OUT = ("comfy*/ComfyUI", "comfy-matrix/*/ComfyUI")
"""Where hosts are looked for in the home folder."""
HEADER = ("ComfyUI", "frontend", "passed", "failed", "skipped", "seconds", "first failure")
QUICK = (
    "tests/host/test_startup.py",
    "tests/host/test_pack.py",
    "tests/host/test_nodes.py::test_all_nodes_are_there_with_tooltips",
    "tests/host/test_nodes.py::test_the_host_enhances_as_the_library_does",
)


@dataclass(frozen=True)
class Installed:
    """A ComfyUI that is laid out.

    Attributes:
        folder: that has ``main.py``.
        python: interpreter that runs it.
        version: of the host.
        frontend: folder of a frontend that is not its own; None: its own.
    """

    folder: Path
    python: str
    version: str
    frontend: Path | None = None

    @property
    def order(self) -> tuple[int, ...]:
        """The version, to be compared."""
        return tuple(int(number) for number in re.findall(r"\d+", self.version))


def installed(named: str) -> Installed:
    """A host by what the command line says.

    Args:
        named: its folder, or ``FOLDER=PYTHON``.

    Raises:
        ValueError: there is no ComfyUI.
    """
    place, _, python = named.partition("=")
    folder = Path(place).expanduser().resolve()
    try:
        found = re.search(r'"(.+)"', (folder / "comfyui_version.py").read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"no ComfyUI in {folder}: {error}") from error
    own = [where / name / "bin" / "python" for where in (folder, folder.parent) for name in (".venv", "venv")]
    python = python or next((str(path) for path in own if path.exists()), sys.executable)
    return Installed(folder, python, found[1] if found else "0")


def laid_out() -> list[str]:
    """The folders of the hosts in the home folder."""
    return [str(main.parent) for pattern in LAID_OUT for main in Path.home().glob(f"{pattern}/main.py")]


def run(host: Installed, tests: list[str]) -> list[str]:
    """Run tests in one host, and give its row of the table.

    Args:
        host: to run them in.
        tests: files, or names of tests, as pytest takes them.
    """
    environment = {**os.environ, "COMFYUI_PATH": str(host.folder), "COMFYUI_PYTHON": host.python}
    if host.frontend:
        environment["COMFYUI_FRONTEND"] = str(host.frontend)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=ROOT, env=environment, check=False)
        cases = [*ElementTree.parse(report).iter("testcase")] if report.exists() else []
    failures = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(failures) - len(skipped)
    first = failures[0].get("name", "") if failures else "" if passed else "no test ran"
    counts = [str(count) for count in (passed, len(failures), len(skipped))]
    return [host.version, version_of_frontend(host), *counts, f"{time.monotonic() - started:.0f}", first]


def version_of_frontend(host: Installed) -> str:
    """The version of the page that a host serves, as its package says.

    Args:
        host: whose page it is.
    """
    if host.frontend:
        packages = host.frontend.parent.parent.glob("comfyui_frontend_package-*.dist-info")
        return next((path.stem.partition("-")[2] for path in packages), str(host.frontend))
    ask = "import importlib.metadata as m; print(m.version('comfyui_frontend_package'))"
    return subprocess.run([host.python, "-c", ask], capture_output=True, text=True, check=False).stdout.strip() or "?"


def table(rows: list[list[str]]) -> str:
    """A Markdown table of the hosts.

    Args:
        rows: see ``HEADER``.
    """
    lines = [HEADER, ["---"] * len(HEADER), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> int:
    """Run the tests in every host; 1 where one of them fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("hosts", nargs="*", metavar="FOLDER[=PYTHON]", help="hosts; by default those that are laid out")
    parser.add_argument("--tests", nargs="+", default=["tests/host"], help="tests to run (default: all of tests/host)")
    parser.add_argument("--quick", action="store_true", help="start, the pack in an empty host, and the four nodes")
    parser.add_argument("--ends", action="store_true", help="the oldest and the newest host only")
    parser.add_argument("--frontend", type=Path, help="folder of another frontend, with which the newest host runs too")
    options = parser.parse_args()
    try:
        hosts = sorted((installed(named) for named in options.hosts or laid_out()), key=lambda host: host.order)
    except ValueError as error:
        parser.error(str(error))
    if not hosts:
        print("no ComfyUI is laid out, so no host test runs")
        return 0
    if options.ends:
        hosts = [hosts[0], *hosts[1:][-1:]]
    if options.frontend:
        hosts.append(replace(hosts[-1], frontend=options.frontend.resolve()))
    rows = [run(host, list(QUICK) if options.quick else options.tests) for host in hosts]
    print(table(rows))
    return int(any(row[-1] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
