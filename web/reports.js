/**
 * The text that a node of this pack reports, in a read-only box at its foot. It stays after the run, and comes back with
 * the node's other outputs when its workflow is shown again.
 */

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const NAME = "hidra_report"
const OURS = "HiDRA_"
const LINE = 15 // pixels
const FRAME = 12 // pixels of the padding above and below the lines
const MOST_LINES = 14 // seen without scrolling, in a node that is not made larger
const LETTER = 6.7 // pixels of a letter's width
const SIDES = 50 // pixels of a node's width that are no text

function reportBox() {
    const box = document.createElement("textarea")
    box.readOnly = true
    box.wrap = "soft"
    box.spellcheck = false
    box.className = "hidra-report"
    box.ariaLabel = "report"
    Object.assign(box.style, {
        background: "var(--comfy-input-bg)",
        border: "none",
        borderRadius: "4px",
        boxSizing: "border-box",
        color: "var(--input-text)",
        fontFamily: "ui-monospace, Menlo, Consolas, monospace",
        fontSize: "11px",
        height: "100%",
        lineHeight: `${LINE}px`,
        outline: "none",
        padding: `${FRAME / 2}px`,
        resize: "none",
        whiteSpace: "pre-wrap",
        width: "100%",
    })
    // A report that is longer than its box is scrolled; elsewhere the wheel zooms the canvas.
    box.addEventListener("wheel", (event) => {
        if (box.scrollHeight > box.clientHeight && !event.ctrlKey) event.stopPropagation()
    })
    return box
}

function height(box, node) {
    const letters = Math.max(20, Math.floor((node.size[0] - SIDES) / LETTER))
    const lines = box.value.split("\n").map((line) => Math.max(1, Math.ceil(line.length / letters)))
    const all = lines.reduce((sum, one) => sum + one, 0)
    return Math.min(all, MOST_LINES) * LINE + FRAME
}

/** The node's box; made when there is first something to report, as the last of its widgets, and never saved. */
function reportWidget(node) {
    const known = node.widgets?.find((one) => one.name === NAME)
    if (known) return known
    const box = reportBox()
    const widget = node.addDOMWidget(NAME, "hidra_report", box, {
        hideOnZoom: false,
        serialize: false, // in prompts
        socketless: true,
        getValue: () => box.value,
        setValue: (text) => {
            box.value = text
            box.style.minHeight = `${height(box, node)}px`
        },
        getMinHeight: () => height(box, node),
        // Beside a picture a report takes no more room than it needs.
        getMaxHeight: () => (node.imgs?.length ? height(box, node) : undefined),
    })
    widget.serialize = false // in workflows
    return widget
}

function show(node, text) {
    const widget = reportWidget(node)
    if (widget.value === text) return
    widget.value = text
    const [width, least] = node.computeSize()
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], least)])
    node.graph?.setDirtyCanvas(true, true)
}

function update(node, output) {
    const text = output?.text
    if (!node || !text) return
    const lines = [text].flat()
    // A report without lines takes that of an earlier run away; without one there is no box.
    if (lines.length || node.widgets?.some((one) => one.name === NAME)) show(node, lines.join("\n"))
}

/** The node at a place: its id, after the id of its subgraph where it lies in one. */
function nodeAt(place) {
    const [id, subgraph] = String(place).split(":").reverse()
    const root = app.graph?.rootGraph ?? app.graph
    const graph = subgraph ? root?.subgraphs?.get(subgraph) : root
    return graph?.getNodeById(id) ?? graph?.getNodeById(Number(id))
}

function isOurs(node) {
    return node?.type?.startsWith(OURS) ?? false
}

/**
 * Older hosts do not say again what nodes show that they answer from their cache, so that these stay empty in a page
 * that was loaded since. It is in their history.
 */
function askForCached() {
    let cached = { nodes: [] }
    const told = new Set()
    api.addEventListener("execution_cached", ({ detail }) => {
        cached = detail
        told.clear()
    })
    api.addEventListener("executed", ({ detail }) => told.add(detail.display_node ?? detail.node))
    api.addEventListener("executing", async ({ detail }) => {
        if (detail) return // the run goes on
        const missing = cached.nodes.filter((id) => !told.has(id) && isOurs(nodeAt(id)) && !app.nodeOutputs[id])
        if (!missing.length) return
        const { prompt_id: prompt } = cached
        const entry = (await (await api.fetchApi(`/history/${prompt}`)).json())[prompt]
        for (const id of missing) {
            const output = entry?.outputs?.[id]
            if (!output) continue
            app.nodeOutputs[id] = output
            nodeAt(id)?.onExecuted?.(output)
        }
    })
}

app.registerExtension({
    name: "hidrathermalimageenhancement.Reports",
    setup: askForCached,
    beforeRegisterNodeDef(type, definition) {
        if (!definition.name.startsWith(OURS)) return
        const { onExecuted } = type.prototype
        type.prototype.onExecuted = function (output) {
            onExecuted?.apply(this, arguments)
            update(this, output)
        }
    },
    // When a workflow is shown again, or outputs are taken from the list of past runs.
    onNodeOutputsUpdated(outputs) {
        for (const [place, output] of Object.entries(outputs)) {
            const node = nodeAt(place)
            if (isOurs(node)) update(node, output)
        }
    },
})
