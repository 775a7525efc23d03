"""ComfyUI-HiDRA: thermal-infrared image enhancement as ComfyUI nodes.

The host calls ``comfy_entrypoint``; nothing is imported before, so that any program may import this file.
"""


async def comfy_entrypoint():
    """The pack as ComfyUI's V3 API wants it."""
    from comfy_api.latest import ComfyExtension

    from .nodes import host
    from .nodes.degradation import ApplyLoRA, EstimateDegradation
    from .nodes.enhance import OneStepEnhance
    from .nodes.loaders import LoadSDTurbo, SampleScene

    host.register_weights_folder()

    class HiDRA(ComfyExtension):
        async def get_node_list(self):
            return [LoadSDTurbo, EstimateDegradation, ApplyLoRA, OneStepEnhance, SampleScene]

    return HiDRA()
