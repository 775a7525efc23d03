"""The order of the example workflows in the host's template browser."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

PACK = Path(__file__).absolute().parents[2].name
"""The pack's name in the list, that of its folder: of a link, if the folder is one."""

LISTS = ("/workflow_templates", "/api/workflow_templates")
"""The host's addresses that list the workflows of all packs."""


def sort_templates() -> None:
    """Let the host list the pack's workflows by their numbers; its own order is that of the file system.

    Where no server has been made, or it listens already, they stay as they are.
    """
    made: Any = sys.modules.get("server")  # a program that only loads the nodes need not import it
    server = getattr(getattr(made, "PromptServer", None), "instance", None)
    if server is None or server.app.frozen:
        return
    from aiohttp import web

    server.app.middlewares.append(web.middleware(_sorted_templates))


async def _sorted_templates(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    response: Any = await handler(request)
    if request.path not in LISTS or not getattr(response, "text", None):
        return response
    templates = json.loads(response.text)
    if PACK in templates:
        templates[PACK] = sorted(templates[PACK])
        response.text = json.dumps(templates)
    return response
