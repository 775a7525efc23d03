"""Thermal Colour Map."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui

from ..hidra_core.images import check_images, to_grey
from . import host
from .schema import one_of, schema

APPLY, UNDO = "grey to colour", "colour to grey"
AUTO = "auto"
PALETTES = (
    "white hot",
    "black hot",
    "ironbow",
    "rainbow",
    "rainbow high contrast",
    "arctic",
    "lava",
    "glowbow",
    "graded fire",
    "hottest",
    "sepia",
    "green",
)
"""``hidra_core.images.palettes.PALETTES``, which imports SciPy: not when the host starts. A test compares the two."""


class ColourMap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="HiDRA_ColourMap",
            display_name="Thermal Colour Map",
            description="Colours grey thermal images with a palette of thermal cameras, or brings a camera's coloured "
            "picture back to grey, and says where it could not be exact.",
            search_aliases=["hidra", "thermal", "infrared", "palette", "ironbow", "rainbow", "colormap"],
            inputs=[
                io.Image.Input("image", tooltip="Thermal images: grey ones to colour, coloured ones to undo."),
                io.Combo.Input("direction", options=[APPLY, UNDO], default=APPLY, tooltip="What to do."),
                io.Combo.Input(
                    "palette",
                    options=[AUTO, *PALETTES],
                    default="ironbow",
                    tooltip="The palette. auto finds the one of a coloured picture (each image its own); for grey to "
                    "colour it is ironbow.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="Coloured, or grey in three equal channels."),
                io.Mask.Output(
                    display_name="off palette",
                    tooltip="Only for colour to grey: 1 where a pixel is none of the palette's colours, such as text.",
                ),
                io.String.Output(display_name="report", tooltip="The palette found, how far off, and warnings."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, direction: str | None, palette: str | None) -> bool | str:
        known = one_of(direction, (APPLY, UNDO), "Choose another")
        return known if known is not True else one_of(palette, (AUTO, *PALETTES), "Choose another")

    @classmethod
    def execute(cls, image: torch.Tensor, direction: str, palette: str) -> io.NodeOutput:
        from ..hidra_core.images import palettes

        pictures = check_images(image)
        progress = host.Progress()
        results, masks, lines = [], [], []
        for index, picture in enumerate(pictures):
            if direction == APPLY:
                name = "ironbow" if palette == AUTO else palette
                result = torch.from_numpy(palettes.colour(to_grey(picture[None])[0, 0].float().cpu().numpy(), name))
                mask, line = torch.zeros(picture.shape[:2]), f"coloured with {name}"
            else:
                colours = picture[..., :3] if picture.shape[-1] >= 3 else picture[..., :1].expand(-1, -1, 3)
                found = palettes.invert(colours.float().cpu().numpy(), None if palette == AUTO else palette)
                result = torch.from_numpy(found.grey)[..., None].expand(-1, -1, 3)
                mask = (torch.from_numpy(found.distance) > palettes.OFF_PALETTE).float()
                line = found.summary()
            results.append(result)
            masks.append(mask)
            lines.append(line if len(pictures) == 1 else f"image {index + 1}: {line}")
            progress((index + 1) / len(pictures))
        text = "\n".join(lines)
        host.show_text(text, cls.hidden.unique_id)
        return io.NodeOutput(torch.stack(results), torch.stack(masks), text, ui=ui.PreviewText(text))
