/**
 * An upload button for inputs that take files of any kind; files may also be dropped onto the node. The host's own
 * buttons offer pictures, sound and videos alone.
 *
 * An input asks for it with `hidra_upload` in its options: the endings of the files, with commas.
 */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const LABEL = "choose file to upload"

async function uploaded(file) {
    const body = new FormData()
    body.append("image", file) // the host stores any file that comes by this name
    const answer = await api.fetchApi("/upload/image", { method: "POST", body })
    if (answer.status === 413) {
        throw new Error(`${file.name} is larger than this server takes by upload: copy it into ComfyUI's input folder`)
    }
    if (!answer.ok) throw new Error(`${file.name}: ${answer.status} ${answer.statusText}`)
    const { name, subfolder } = await answer.json()
    return subfolder ? `${subfolder}/${name}` : name
}

function choose(node, widget, name) {
    if (!widget.options.values.includes(name)) widget.options.values.push(name)
    widget.value = name
    widget.callback?.(name)
    node.graph?.setDirtyCanvas(true, true)
}

async function take(node, widget, file) {
    try {
        choose(node, widget, await uploaded(file))
    } catch (error) {
        app.extensionManager.toast.add({ severity: "error", summary: "Upload", detail: error.message, life: 10_000 })
    }
}

function uploadWidget(node, name, [, { input, endings }]) {
    const widget = node.widgets.find((one) => one.name === input)
    const chooser = Object.assign(document.createElement("input"), { type: "file", accept: endings })
    chooser.onchange = () => {
        const [file] = chooser.files
        chooser.value = "" // so that the same file can be chosen again
        if (file) take(node, widget, file)
    }
    const button = node.addWidget("button", name, "image", () => chooser.click(), { serialize: false, socketless: true })
    button.label = LABEL

    const known = (file) => endings.split(",").some((ending) => file.name.toLowerCase().endsWith(ending))
    node.onDragOver = (event) => [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file")
    node.onDragDrop = (event) => {
        const file = [...(event.dataTransfer?.files ?? [])].find(known)
        if (file) take(node, widget, file)
        return file !== undefined
    }
    return { widget: button }
}

app.registerExtension({
    name: "hidrathermalimageenhancement.Upload",
    getCustomWidgets: () => ({ HIDRA_UPLOAD: uploadWidget }),
    beforeRegisterNodeDef(_type, definition) {
        const required = definition.input?.required ?? {}
        const [input, spec] = Object.entries(required).find(([, one]) => one[1]?.hidra_upload) ?? []
        // By the name and at the place of the host's own button, for which saved workflows have a value.
        if (!input) return
        required.upload = ["HIDRA_UPLOAD", { input, endings: spec[1].hidra_upload }]
        definition.input_order?.required?.push("upload")
    },
})
