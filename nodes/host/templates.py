"""The order of the example workflows in the host's template browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from server import PromptServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PACK = Path(__file__).absolute().parents[2].name
"""The pack's name in the list, that of its folder: of a link, if the folder is one."""

LISTS = ("/workflow_templates", "/api/workflow_templates")
"""The host's addresses that list the workflows of all packs."""


def sort_templates() -> None:
    """Let the host list the pack's workflows by their numbers; its own order is that of the file system.

    Where no server runs, or it listens already, they stay as they are.
    """
    server = getattr(PromptServer, "instance", None)
    if server is not None and not server.app.frozen:
        server.app.middlewares.append(_sorted_templates)


@web.middleware
async def _sorted_templates(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    response = await handler(request)
    if request.path not in LISTS or not isinstance(response, web.Response) or response.text is None:
        return response
    templates = json.loads(response.text)
    if PACK in templates:
        templates[PACK] = sorted(templates[PACK])
        response.text = json.dumps(templates)
    return response
