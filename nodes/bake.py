"""Bake Degradation to LoRA, and Load Baked VAE."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..hidra_core.bake import save_baked
from . import host
from .schema import one_of, schema
from .shown import shown


class BakeLoRA(io.ComfyNode):
    """Writes one degradation into a LoRA file and a VAE file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "degradation",
            node_id="HiDRA_BakeLoRA",
            display_name="Bake Degradation to LoRA (Thermal)",
            description="For a camera whose degradation does not change: writes it into an ordinary LoRA for Load LoRA "
            "and a VAE that belongs to it. Enhancing with them needs no estimation.",
            search_aliases=["hidra", "fold", "merge", "export lora", "fixed camera"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="From Apply Degradation-Guided LoRA, whose degradation (the average of several vectors) "
                    "and strength are baked.",
                ),
                io.Vae.Input("vae", tooltip="From the same node."),
                io.String.Input(
                    "name",
                    default="hidra-camera",
                    tooltip="The files are output/loras/NAME_00001_.safetensors and output/vae/NAME_00001_."
                    "safetensors, where Load LoRA and Load Baked VAE find them.",
                ),
            ],
            outputs=[
                io.Model.Output(display_name="MODEL", tooltip="With the baked LoRA, as Load LoRA returns it."),
                io.Vae.Output(display_name="VAE", tooltip="The baked VAE."),
                io.Conditioning.Output(display_name="conditioning", tooltip="For One-Step Enhance."),
            ],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: Any, vae: Any, name: str) -> io.NodeOutput:
        from .host import bake as host_bake

        applied = host.applied_to_both(model, vae)
        stems = host.output_stems(name, ("loras", "vae"), source="name")
        baked = host_bake.bake_applied(applied)
        lora, file = files = [stem.with_name(f"{stem.name}.safetensors") for stem in stems]
        save_baked(baked, lora, file)
        adapted = host_bake.apply_lora(applied.model, baked)
        written = "\n".join(["saved in the output folder:", *map(host.output_name, files)])
        return io.NodeOutput(adapted, *host_bake.load_vae(file), ui=shown(cls, written, saved=files))


class LoadBakedVAE(io.ComfyNode):
    """Reads the VAE file that Bake Degradation to LoRA wrote."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "degradation",
            node_id="HiDRA_LoadBakedVAE",
            display_name="Load Baked VAE (Thermal)",
            description="Loads a VAE that Bake Degradation to LoRA wrote, for any backbone, with the constant "
            "conditioning for One-Step Enhance.",
            search_aliases=["hidra", "fixed camera"],
            inputs=[
                io.Combo.Input("file", options=host.files("vae"), tooltip="A file from models/vae or output/vae."),
            ],
            outputs=[
                io.Vae.Output(
                    display_name="VAE", tooltip="The baked VAE, for One-Step Enhance or Enhance Thermal Video."
                ),
                io.Conditioning.Output(display_name="conditioning", tooltip="For One-Step Enhance."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str | None) -> bool | str:
        return one_of(file, host.files("vae"), "Bake one and refresh, or choose another")

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return host.fingerprint("vae", file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from .host import bake as host_bake

        return io.NodeOutput(*host_bake.load_vae(host.path_of("vae", file)))
