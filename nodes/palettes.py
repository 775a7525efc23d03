"""Colour Thermal Image."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..hidra_core.images import to_grey
from ..hidra_core.names import PALETTES
from . import host
from .images import taken
from .schema import schema
from .shown import shown

APPLY, UNDO = "grey to colour", "colour to grey"
AUTO = "auto"
DEFAULT = "ironbow"


class ColourMap(io.ComfyNode):
    """Colours grey images, or converts coloured ones to grey."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "report",
            node_id="HiDRA_ColourMap",
            display_name="Colour Thermal Image (Palette)",
            description="Colours grey thermal images with a palette of thermal cameras, or converts a camera's "
            "coloured images back to grey and says where that was not exact.",
            search_aliases=["hidra", "thermal colour map", "false color", "ironbow", "rainbow", "colormap", "lut"],
            inputs=[
                io.Image.Input("image", tooltip="Thermal images: grey ones to colour, or coloured ones to convert."),
                io.Combo.Input(
                    "direction",
                    options=[APPLY, UNDO],
                    default=APPLY,
                    tooltip="grey to colour: for viewing. colour to grey: for images that a camera coloured, before "
                    "they are enhanced.",
                ),
                io.Combo.Input(
                    "palette",
                    options=[AUTO, *PALETTES],
                    default=DEFAULT,
                    tooltip=f"The palette. auto: for grey to colour, {DEFAULT}; for colour to grey, the one that is "
                    "detected in each image.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="Coloured, or grey in three equal channels."),
                io.Mask.Output(
                    display_name="off palette",
                    tooltip="Only for colour to grey: 1 where a pixel has none of the palette's colours, such as text.",
                ),
                io.String.Output(display_name="report", tooltip="The palette, deviations from it, and warnings."),
            ],
            has_intermediate_output=True,
        )

    @classmethod
    def execute(cls, image: torch.Tensor, direction: str, palette: str) -> io.NodeOutput:
        convert = _coloured if direction == APPLY else _grey
        images = taken(image)
        progress = host.Progress()
        results, masks, lines = [], [], []
        for index, one in enumerate(images):
            result, mask, line = convert(one, palette)
            results.append(result)
            masks.append(mask)
            lines.append(line if len(images) == 1 else f"image {index + 1}: {line}")
            progress((index + 1) / len(images))
        text = "\n".join(lines)
        return io.NodeOutput(torch.stack(results), torch.stack(masks), text, ui=shown(cls, text))


def _coloured(image: torch.Tensor, palette: str) -> tuple[torch.Tensor, torch.Tensor, str]:
    """A grey image ``[H, W, C]`` in colour, an empty mask, and what was done."""
    from ..hidra_core.images import palettes  # SciPy takes a while to import and would slow the host's start

    name = DEFAULT if palette == AUTO else palette
    colours = palettes.colour(to_grey(image[None])[0, 0].float().cpu().numpy(), name)
    return torch.from_numpy(colours), torch.zeros(image.shape[:2]), f"coloured with {name}"


def _grey(image: torch.Tensor, palette: str) -> tuple[torch.Tensor, torch.Tensor, str]:
    """A coloured image ``[H, W, C]`` in grey, a mask of the pixels off the palette, and how well it went."""
    from ..hidra_core.images import palettes

    colours = image[..., :3] if image.shape[-1] >= 3 else image[..., :1].expand(-1, -1, 3)
    inverse = palettes.invert(colours.float().cpu().numpy(), None if palette == AUTO else palette)
    mask = (torch.from_numpy(inverse.distance) > palettes.OFF_PALETTE).float()
    return torch.from_numpy(inverse.grey)[..., None].expand(-1, -1, 3), mask, inverse.summary()
