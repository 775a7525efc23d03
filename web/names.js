/**
 * Placeholders in the names of files that nodes of this pack write: %date:yyyy-MM-dd% and %Node.input% are replaced when
 * a workflow is queued, as the page does it for its own nodes alone.
 */

import { app } from "../../scripts/app.js"

app.registerExtension({
    name: "hidrathermalimageenhancement.Names",
    nodeCreated(node) {
        const replaced = window.comfyAPI?.utils?.applyTextReplacements
        if (!replaced || !node.comfyClass?.startsWith("HiDRA_")) return
        const input = node.comfyClass === "HiDRA_BakeLoRA" ? "name" : "filename_prefix"
        const widget = node.widgets?.find((one) => one.name === input)
        if (widget) widget.serializeValue = () => replaced(app, widget.value)
    },
})
