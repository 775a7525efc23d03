"""Run in the host's interpreter by test_startup.py: what the start of the host imports for the pack.

    python startup.py HOST_FOLDER PACK_FOLDER MODULE...

Writes, one per line, the number of nodes, the processor time that the pack took in seconds, and those of the modules
that have been imported once the pack has given the host its nodes. Whatever the host itself imported of them is
forgotten before, so that only the pack's imports count.
"""

import asyncio
import gc
import importlib.util
import sys
import time
from pathlib import Path

host_folder, pack_folder, *watched = sys.argv[1:]
sys.argv = [sys.argv[0], "--cpu"]  # the host parses the command line of whoever imports it
sys.path.insert(0, host_folder)

import comfy.options  # noqa: E402  from the folder that was put on the path

comfy.options.enable_args_parsing()

import comfy.samplers  # noqa: E402  from the folder that was put on the path
import comfy.sd  # noqa: E402  from the folder that was put on the path
import comfy_api.latest  # noqa: E402, F401  what it imports is the host's, not the pack's


def imported() -> list[str]:
    return [name for name in sys.modules if any(f"{name}.".startswith(f"{module}.") for module in watched)]


for name in imported():
    del sys.modules[name]

gc.collect()
gc.freeze()  # going through all that the host holds would take half the time, whenever it happens to be due
started = time.process_time()
spec = importlib.util.spec_from_file_location(
    "pack", Path(pack_folder, "__init__.py"), submodule_search_locations=[pack_folder]
)
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
extension = asyncio.run(pack.comfy_entrypoint())
nodes = asyncio.run(extension.get_node_list())
seconds = time.process_time() - started
for node in nodes:
    node.GET_SCHEMA()
sys.stdout.write("\n".join([f"{len(nodes)} nodes", f"{seconds:.3f}", *imported()]))
