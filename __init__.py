"""ComfyUI-HiDRA: thermal-infrared image enhancement as ComfyUI nodes.

Nothing is imported before the host calls ``comfy_entrypoint``, so that any program can import this file.
"""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"
"""Scripts that the host's page loads."""


async def comfy_entrypoint() -> Any:
    """The pack's nodes, in the form that ComfyUI's V3 API expects."""
    from comfy_api.latest import ComfyExtension

    from .nodes import host
    from .nodes.bake import BakeLoRA, LoadBakedVAE
    from .nodes.degradation import ApplyLoRA, EstimateDegradation
    from .nodes.enhance import OneStepEnhance
    from .nodes.loaders import LoadSDTurbo, SampleScene
    from .nodes.palettes import ColourMap
    from .nodes.sensor import ApplyCameraProfile, CalibrateCamera, CorrectSensor, LoadCameraProfile
    from .nodes.simulate import DegradationByHand, SimulateDegradation
    from .nodes.thermal import LoadThermal, SaveThermal
    from .nodes.trust import QualityMetrics, TrustReport
    from .nodes.vectors import BlendDegradations, EditDegradation, LoadDegradation, SaveDegradation
    from .nodes.video import EnhanceVideo, SmoothDegradation

    host.register_weights_folder()
    host.register_saved_folders()
    host.place_samples()
    host.sort_templates()
    host.stop_at_checkpoints()

    class HiDRA(ComfyExtension):
        async def get_node_list(self) -> list[type]:
            return [
                LoadSDTurbo,
                EstimateDegradation,
                ApplyLoRA,
                OneStepEnhance,
                SampleScene,
                LoadThermal,
                SaveThermal,
                SmoothDegradation,
                EnhanceVideo,
                SimulateDegradation,
                DegradationByHand,
                SaveDegradation,
                LoadDegradation,
                BlendDegradations,
                EditDegradation,
                BakeLoRA,
                LoadBakedVAE,
                TrustReport,
                ColourMap,
                QualityMetrics,
                CorrectSensor,
                CalibrateCamera,
                LoadCameraProfile,
                ApplyCameraProfile,
            ]

    return HiDRA()
