"""Load SD-Turbo, and Sample Thermal Scene."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..hidra_core import degradations, scenes
from ..hidra_core.degradations.batches import sample_batch
from ..hidra_core.names import HIDRA_TINY
from . import host
from .schema import SEED, one_of, schema

DEGRADATIONS = ["none", *degradations.PRESETS]


class LoadSDTurbo(io.ComfyNode):
    """Loads the backbone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_LoadSDTurbo",
            display_name="Load SD-Turbo (Thermal Infrared)",
            description="The frozen one-step backbone: SD-Turbo from models/checkpoints, or the small built-in "
            "hidra-tiny, which needs no download.",
            search_aliases=["hidra", "thermal", "infrared", "sd turbo", "backbone", "checkpoint"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=host.choices("checkpoints"),
                    default=HIDRA_TINY,
                    tooltip="hidra-tiny is built in. For full quality put sd_turbo.safetensors into models/checkpoints "
                    "and use weights trained on it.",
                )
            ],
            outputs=[
                io.Model.Output(
                    display_name="MODEL",
                    tooltip="The backbone, for Apply Degradation-Guided LoRA or Enhance Thermal Video.",
                ),
                io.Vae.Output(display_name="VAE", tooltip="Its encoder and decoder, for the same node."),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str | None) -> bool | str:
        return one_of(
            checkpoint,
            host.choices("checkpoints"),
            "Put the file into models/checkpoints and refresh, or choose another",
        )

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str) -> str:
        return host.fingerprint("checkpoints", checkpoint)

    @classmethod
    def execute(cls, checkpoint: str) -> io.NodeOutput:
        return io.NodeOutput(*host.load_checkpoint(checkpoint))


class SampleScene(io.ComfyNode):
    """Renders a scene to try the other nodes on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "simulation",
            node_id="HiDRA_SampleScene",
            display_name="Sample Thermal Scene",
            description="A rendered thermal scene, clean and degraded, to try the nodes on where the truth is known. "
            "Replace it with Load Image to use your own images.",
            search_aliases=["hidra", "test image", "synthetic", "example"],
            inputs=[
                io.Combo.Input(
                    "scene",
                    options=list(scenes.SCENES),
                    tooltip="What is rendered: a street, a field, a substation, or a dark night scene.",
                ),
                io.Combo.Input(
                    "degradation",
                    options=DEGRADATIONS,
                    default="composite",
                    tooltip="Preset of the degradation: composite is the one that the method trains with, fpn has "
                    "stripes and noise only, field imitates today's cameras.",
                ),
                io.Int.Input(
                    "seed",
                    **SEED,
                    tooltip="Each seed gives another scene with another degradation.",
                ),
                io.Int.Input(
                    "width",
                    display_name="width (pixels)",
                    default=640,
                    min=64,
                    max=2048,
                    step=8,
                    tooltip="Of the rendered images. Thermal cameras have 160, 320, 384, 640 or 1280 columns.",
                ),
                io.Int.Input(
                    "height",
                    display_name="height (pixels)",
                    default=512,
                    min=64,
                    max=2048,
                    step=8,
                    tooltip="Of the rendered images. Thermal cameras have 120, 240, 288, 512 or 1024 rows.",
                ),
                io.Int.Input(
                    "frames",
                    default=1,
                    min=1,
                    max=1000,
                    optional=True,
                    tooltip="More than one: a camera that pans over the scene. Its stripes and dead pixels stay in "
                    "place, and its noise changes from frame to frame.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="degraded", tooltip="The scene as the camera delivers it."),
                io.Image.Output(display_name="clean", tooltip="The scene without degradation, to compare with."),
            ],
        )

    @classmethod
    def execute(
        cls, scene: str, degradation: str, seed: int, width: int, height: int, frames: int = 1
    ) -> io.NodeOutput:
        if frames == 1:
            clean = torch.from_numpy(scenes.render(scene, height, width, seed))[None, None]
        else:
            clean = torch.from_numpy(scenes.pan(scene, frames, height, width, seed))[:, None]
        degraded = clean
        if degradation != "none":
            record = degradations.sample(degradation, torch.Generator().manual_seed(seed))
            records = sample_batch(record, frames, seed, "one camera") if frames > 1 else record
            degraded = degradations.apply(clean, records)
        return io.NodeOutput(*(image.movedim(1, -1).expand(-1, -1, -1, 3) for image in (degraded, clean)))
