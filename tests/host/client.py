"""A small client for ComfyUI's HTTP and websocket API, for the host tests.

It talks to a server process the way the browser does and imports nothing of the host.
"""

from __future__ import annotations

import json
import struct
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

# Kinds of binary websocket messages (the host's `protocol.BinaryEventTypes`).
_PREVIEW_IMAGE = 1
_TEXT = 3
_PREVIEW_IMAGE_WITH_METADATA = 4

_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HostError(AssertionError):
    """The host did not do what was asked: an HTTP error, a failed or an interrupted prompt."""


class PromptRejectedError(HostError):
    """`POST /prompt` refused the graph before running it."""

    def __init__(self, error: dict[str, Any], node_errors: dict[str, Any]) -> None:
        self.error = error
        """What is wrong with the prompt as a whole: `type`, `message`, `details`."""
        self.node_errors = node_errors
        """Node id to `{"class_type": ..., "errors": [{"type", "message", "details", "extra_info"}]}`."""
        super().__init__(f"prompt rejected: {self.text}")

    @property
    def text(self) -> str:
        """Every message in one string, for `assert "..." in error.text`."""
        lines = [f"{self.error.get('message')}: {self.error.get('details')}"]
        for node, entry in self.node_errors.items():
            lines += [f"{entry['class_type']} {node}: {e['message']}: {e['details']}" for e in entry["errors"]]
        return "\n".join(lines)


@dataclass
class Result:
    """What happened to one queued prompt, as the websocket told it."""

    prompt_id: str
    status: str = "running"
    """`running`, `success`, `error` or `interrupted`."""
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Node id to what the node shows: `{"images": [...], "text": [...], ...}`."""
    executed: list[str] = field(default_factory=list)
    """Node ids in the order they ran; nodes answered from the cache are in `cached`."""
    cached: list[str] = field(default_factory=list)
    progress: list[tuple[str, float, float]] = field(default_factory=list)
    """`(node, value, max)` whenever a running node's progress changed; a node starts with `(node, 0, 1)`."""
    previews: list[tuple[str | None, bytes]] = field(default_factory=list)
    """`(node, encoded image)` of every preview sent while a node ran."""
    texts: list[tuple[str, str]] = field(default_factory=list)
    """`(node, text)` of progress texts."""
    error: dict[str, Any] | None = None
    """The `execution_error` message: `node_id`, `node_type`, `exception_type`, `exception_message`, `traceback`."""
    interrupted_at: str | None = None
    """The node that was running when the prompt was interrupted."""
    seconds: float = 0.0
    """From the start of execution to its end, as seen by this client."""
    started: float | None = field(default=None, repr=False)
    finished: bool = field(default=False, repr=False)

    def images(self, node: str) -> list[dict[str, str]]:
        """References to the images that a node shows, for `HostClient.view`."""
        return self.outputs.get(node, {}).get("images", [])

    def check(self) -> Result:
        """Return self, or raise `HostError` with the host's own words if the prompt did not succeed."""
        if self.status == "error" and self.error is not None:
            trace = "".join(self.error.get("traceback", []))
            raise HostError(
                f"{self.error['node_type']} (node {self.error['node_id']}) raised {self.error['exception_type']}: "
                f"{self.error['exception_message']}\n{trace}"
            )
        if self.status != "success":
            raise HostError(f"prompt {self.prompt_id}: {self.status} at node {self.interrupted_at}")
        return self


class HostClient:
    """One browser-like session with a running ComfyUI server.

    The websocket opens with the session, so no event of a prompt queued through it is missed.
    Not thread-safe: `interrupt` is the only method meant to be called while another thread waits.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        # Imported late, so that the test session can say what is missing instead of failing to collect.
        import websocket

        self.url = url.rstrip("/")
        self.timeout = timeout
        self.client_id = uuid.uuid4().hex
        self._results: dict[str, Result] = {}
        self._running: str | None = None
        self._socket = websocket.create_connection(
            f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}",
            timeout=timeout,
            http_no_proxy=["127.0.0.1", "localhost"],
        )
        self._timeout_error = websocket.WebSocketTimeoutException
        # As the real frontend does: previews then say which node they belong to.
        flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
        self._socket.send(json.dumps(flags))

    def __enter__(self) -> HostClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the websocket."""
        self._socket.close()

    # -- graphs ------------------------------------------------------------------------------------------------

    def queue(self, prompt: dict[str, Any]) -> str:
        """Queue a graph in API format and return its prompt id.

        Raises:
            PromptRejectedError: the host's validation refused it.
        """
        body = {"prompt": prompt, "client_id": self.client_id}
        try:
            answer = self._json("POST", "/prompt", body)
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise HostError(f"POST /prompt: {error.code} {error.read().decode(errors='replace')}") from error
            refusal = json.loads(error.read())
            raise PromptRejectedError(refusal["error"], refusal["node_errors"]) from None
        # With several output nodes the host runs the valid ones and only mentions the others.
        if answer["node_errors"]:
            self._json("POST", "/queue", {"delete": [answer["prompt_id"]]})
            raise PromptRejectedError(
                {"message": "part of the prompt is invalid", "details": ""}, answer["node_errors"]
            )
        self._result(answer["prompt_id"])
        return answer["prompt_id"]

    def wait(self, prompt_id: str, timeout: float = 120.0) -> Result:
        """Read the websocket until the prompt is over and return what happened; never raises for a failed prompt."""
        result = self._result(prompt_id)
        self._pump(lambda: result.finished, timeout, f"prompt {prompt_id} to finish")
        # The history also has what nodes answered from the cache show.
        for node, output in self.history(prompt_id).get("outputs", {}).items():
            result.outputs.setdefault(node, output)
        return result

    def wait_for_node(self, prompt_id: str, node: str, timeout: float = 60.0) -> None:
        """Read the websocket until `node` has begun to run."""
        result = self._result(prompt_id)
        self._pump(lambda: result.finished or node in result.executed, timeout, f"node {node} to start")
        if node not in result.executed:
            raise HostError(f"prompt {prompt_id} ended ({result.status}) without running node {node}")

    def run(self, prompt: dict[str, Any], timeout: float = 120.0) -> Result:
        """Queue, wait, and raise `HostError` unless the graph succeeded."""
        return self.wait(self.queue(prompt), timeout).check()

    def interrupt(self) -> None:
        """Ask the host to cancel what is running."""
        self._request("POST", "/interrupt", b"{}", "application/json")

    def history(self, prompt_id: str) -> dict[str, Any]:
        """The host's record of a finished prompt: `prompt`, `outputs`, `status`; empty while it runs."""
        return self._json("GET", f"/history/{prompt_id}").get(prompt_id, {})

    def free(self) -> None:
        """Ask the host to unload all models and forget all cached node outputs; happens between prompts."""
        self._json("POST", "/free", {"unload_models": True, "free_memory": True})

    # -- files and facts ---------------------------------------------------------------------------------------

    def object_info(self, node: str) -> dict[str, Any]:
        """A node's definition as the frontend sees it; raises `HostError` when the host does not know the node."""
        info = self._json("GET", f"/object_info/{urllib.parse.quote(node)}")
        if node not in info:
            raise HostError(f"the host has no node {node!r}")
        return info[node]

    def upload(self, path: Path | str, name: str | None = None) -> str:
        """Put an image file into the host's input folder and return the name that `LoadImage` expects."""
        path = Path(path)
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name or path.name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        )
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        answer = self._request("POST", "/upload/image", body, f"multipart/form-data; boundary={boundary}")
        reference = json.loads(answer)
        return "/".join(part for part in (reference["subfolder"], reference["name"]) if part)

    def view(self, image: dict[str, str]) -> bytes:
        """The bytes of an image that a node showed (an entry of `Result.images`)."""
        query = urllib.parse.urlencode({key: image[key] for key in ("filename", "subfolder", "type")})
        return self._request("GET", f"/view?{query}")

    def get(self, path: str) -> Any:
        """Any other JSON the server has, e.g. `/models/hidra` or `/workflow_templates`."""
        return self._json("GET", path)

    # -- plumbing ----------------------------------------------------------------------------------------------

    def _request(self, method: str, path: str, body: bytes | None = None, content_type: str | None = None) -> bytes:
        headers = {"Content-Type": content_type} if content_type else {}
        request = urllib.request.Request(self.url + path, data=body, headers=headers, method=method)
        with _NO_PROXY.open(request, timeout=self.timeout) as answer:
            return answer.read()

    def _json(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        answer = self._request(method, path, data, None if data is None else "application/json")
        return json.loads(answer) if answer else {}

    def _result(self, prompt_id: str) -> Result:
        return self._results.setdefault(prompt_id, Result(prompt_id))

    def _pump(self, done: Callable[[], bool], timeout: float, what: str) -> None:
        """Handle websocket messages until `done()`."""
        deadline = time.monotonic() + timeout
        while not done():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"waited {timeout:.0f} s for {what}")
            self._socket.settimeout(remaining)
            try:
                message = self._socket.recv()
            except self._timeout_error:
                continue
            if isinstance(message, bytes):
                self._on_binary(message)
            elif message:
                event = json.loads(message)
                self._on_event(event["type"], event.get("data") or {})

    def _on_event(self, kind: str, data: dict[str, Any]) -> None:
        if "prompt_id" not in data:
            return
        result = self._result(data["prompt_id"])
        if kind == "execution_start":
            self._running, result.started = result.prompt_id, time.monotonic()
        elif kind == "execution_cached":
            result.cached = list(data["nodes"])
        elif kind == "executing":
            # "No node" is the host's last word on a prompt; by then its history is written.
            if data["node"] is None:
                result.finished = True
                result.seconds = time.monotonic() - (result.started or time.monotonic())
            else:
                result.executed.append(data["node"])
        elif kind == "executed" and data.get("output"):
            result.outputs[data["node"]] = data["output"]
        elif kind == "progress_state":
            for node, state in data["nodes"].items():
                step = (node, state["value"], state["max"])
                previous = next((p for p in reversed(result.progress) if p[0] == node), None)
                if state["state"] == "running" and step != previous:
                    result.progress.append(step)
        elif kind == "execution_success":
            result.status = "success"
        elif kind == "execution_error":
            result.status, result.error = "error", data
        elif kind == "execution_interrupted":
            result.status, result.interrupted_at = "interrupted", data["node_id"]

    def _on_binary(self, message: bytes) -> None:
        (kind,) = struct.unpack_from(">I", message)
        if kind == _PREVIEW_IMAGE_WITH_METADATA:
            (length,) = struct.unpack_from(">I", message, 4)
            meta = json.loads(message[8 : 8 + length])
            self._result(meta["prompt_id"]).previews.append((meta["node_id"], message[8 + length :]))
        elif kind == _PREVIEW_IMAGE and self._running is not None:
            self._result(self._running).previews.append((None, message[8:]))
        elif kind == _TEXT and self._running is not None:
            (length,) = struct.unpack_from(">I", message, 4)
            node = message[8 : 8 + length].decode()
            self._result(self._running).texts.append((node, message[8 + length :].decode()))
