"""Fixtures that run the real ComfyUI, in its own process, around this repository.

Where the host is: `COMFYUI_PATH` (default `~/comfy/ComfyUI`) and `COMFYUI_PYTHON` (default: the host's own virtual
environment, else this interpreter). Without a usable host every test in this folder is skipped, with the reason.
`COMFYUI_FRONTEND` names a folder with another frontend than the host's own.
The host's folder is only read: models, input, output, user data and the pack itself live in a temporary folder.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from client import HostClient
from frontend import Browser, Frontend, chromium_missing, open_browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REPOSITORY = Path(__file__).resolve().parents[2]
PACK_NAME = "ComfyUI-HiDRA"
# A few of the host's own requirements; the ones that a Python with just torch lacks.
HOST_NEEDS = ("torch", "torchsde", "aiohttp", "comfyui_frontend_package", "av", "alembic")
START_TIMEOUT = float(os.environ.get("COMFYUI_START_TIMEOUT", "180"))

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Host:
    """An installed ComfyUI: the folder with `main.py`, and the interpreter that can run it."""

    path: Path
    python: str


@dataclass
class HostServer:
    """A running ComfyUI server and its temporary base folder."""

    url: str
    base: Path
    log: Path
    process: subprocess.Popen[bytes]

    def folder(self, *parts: str) -> Path:
        """A folder below the base folder, created when missing: `folder("models", "hidra")`, `folder("input")`."""
        path = self.base.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def log_text(self) -> str:
        """All that the server has printed so far."""
        return self.log.read_text(errors="replace")

    def settings(self, values: Mapping[str, object]) -> None:
        """Set the frontend's user settings."""
        request = urllib.request.Request(
            f"{self.url}/settings",
            data=json.dumps(values).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        _NO_PROXY.open(request, timeout=30).close()

    def stop(self) -> None:
        """End the server and whatever it started."""
        if self.process.poll() is None:
            self._signal("SIGTERM")
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self._signal("SIGKILL")
        self.process.wait()

    def _signal(self, name: str) -> None:
        if os.name == "posix":
            os.killpg(self.process.pid, getattr(signal, name))
        else:
            self.process.kill()


def _find_host() -> Host:
    """Find the host, or skip with what is missing."""
    path = Path(os.environ.get("COMFYUI_PATH", "~/comfy/ComfyUI")).expanduser()
    if not (path / "main.py").is_file():
        pytest.skip(f"no ComfyUI at {path} (set COMFYUI_PATH to a folder with main.py)")
    if importlib.util.find_spec("websocket") is None:
        pytest.skip("host tests need websocket-client in the Python that runs the tests")
    own = [path / venv / "bin" / "python" for venv in (".venv", "venv")]
    python = os.environ.get("COMFYUI_PYTHON") or next((str(p) for p in own if p.exists()), sys.executable)
    find = "import importlib.util as u, sys; print(*[m for m in sys.argv[1:] if u.find_spec(m) is None])"
    try:
        probe = subprocess.run([python, "-c", find, *HOST_NEEDS], capture_output=True, text=True, timeout=60)
    except OSError as error:
        pytest.skip(f"cannot run COMFYUI_PYTHON {python}: {error}")
    if probe.returncode != 0:
        pytest.skip(f"{python} does not work: {probe.stderr.strip()}")
    if missing := probe.stdout.split():
        pytest.skip(f"{python} lacks {', '.join(missing)} (set COMFYUI_PYTHON to one with ComfyUI's requirements)")
    return Host(path.resolve(), python)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _place_pack(base: Path) -> None:
    """Put this repository into the base folder's `custom_nodes`, under the name it is installed by."""
    target = base / "custom_nodes" / PACK_NAME
    if target.exists():
        return
    try:
        target.symlink_to(REPOSITORY, target_is_directory=True)
    except OSError:  # no right to make symlinks, e.g. on Windows
        shutil.copytree(REPOSITORY, target, ignore=shutil.ignore_patterns(".*", "__pycache__", "tests"))


def _wait_until_up(server: HostServer, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            _NO_PROXY.open(f"{server.url}/system_stats", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    code = server.process.poll()
    server.stop()
    why = f"ended with exit code {code}" if code is not None else f"did not answer within {timeout:.0f} s"
    tail = "\n".join(server.log_text().splitlines()[-40:])
    raise RuntimeError(f"ComfyUI {why}; the end of {server.log}:\n{tail}")


def _start(host: Host, base: Path, flags: tuple[str, ...], env: Mapping[str, str], pack: bool) -> HostServer:
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        (base / name).mkdir(parents=True, exist_ok=True)
    if pack:
        _place_pack(base)
    port = _free_port()
    command = [
        *(host.python, "-u", str(host.path / "main.py"), "--cpu", "--disable-api-nodes"),
        *("--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)),
        # The default database is in the host's own folder whatever the base directory.
        *("--database-url", f"sqlite:///{base / 'user' / 'comfyui.db'}"),
        *flags,
    ]
    if frontend := os.environ.get("COMFYUI_FRONTEND"):
        command += ["--front-end-root", frontend]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # No compiled files in the host's folder, nothing fetched from the network.
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1", **env}
    log = base / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            cwd=base,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return HostServer(f"http://127.0.0.1:{port}", base, log, process)


@pytest.fixture(scope="session")
def comfyui() -> Host:
    """The installed host; tests that need it are skipped when there is none."""
    return _find_host()


@pytest.fixture(scope="session")
def host_factory(comfyui: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., HostServer]]:
    """Start servers of one's own: `host_factory("--cache-none", env={...}, prepare=..., extra_model_paths=...)`.

    `prepare` is called with the base folder before the start (put models there); `extra_model_paths` is the text of an
    `extra_model_paths.yaml`; `pack=False` leaves this repository out. Each start takes a while: share where possible.
    A server can be ended early with `stop()`; all end with the session.
    """
    servers: list[HostServer] = []

    def start(
        *flags: str,
        env: Mapping[str, str] | None = None,
        pack: bool = True,
        prepare: Callable[[Path], None] | None = None,
        extra_model_paths: str | None = None,
        timeout: float = START_TIMEOUT,
    ) -> HostServer:
        base = tmp_path_factory.mktemp("comfyui")
        if prepare is not None:
            prepare(base)
        if extra_model_paths is not None:
            config = base / "extra_model_paths.yaml"
            config.write_text(extra_model_paths)
            flags = (*flags, "--extra-model-paths-config", str(config))
        server = _start(comfyui, base, flags, env or {}, pack)
        servers.append(server)
        _wait_until_up(server, timeout)
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="session")
def host(host_factory: Callable[..., HostServer]) -> HostServer:
    """The server that the session's tests share: CPU, this repository as its only custom node pack.

    It has a second folder of weights, ``folder("elsewhere", "hidra")``, as users' ``extra_model_paths.yaml`` names one.
    """
    return host_factory(extra_model_paths="other:\n    base_path: elsewhere\n    hidra: hidra\n")


@pytest.fixture
def client(host: HostServer) -> Iterator[HostClient]:
    """A session with the shared server."""
    with HostClient(host.url) as session:
        yield session


@pytest.fixture(scope="session")
def browser(host: HostServer) -> Iterator[Browser]:
    """Headless Chromium for the shared server."""
    if reason := chromium_missing():
        pytest.skip(reason)
    with open_browser(host.url) as chromium:
        yield chromium


@pytest.fixture
def frontend(browser: Browser, tmp_path: Path) -> Iterator[Frontend]:
    """The real frontend of the shared server, past its first-visit dialogs, with an empty canvas."""
    yield browser.tab(tmp_path)
    browser.take_back()
