/**
 * Colours for the sockets and links of the pack's own types, which would all be grey. A colour palette that names them
 * goes before.
 */

import { app } from "../../scripts/app.js"

const COLOURS = {
    HIDRA_DEGRADATION: "#c6e03a",
    HIDRA_THERMAL: "#f4511e",
    HIDRA_CAMERA_PROFILE: "#26c6da",
}

/** Give types a colour in one of the page's tables, which a change of its palette empties. */
function fill(table) {
    for (const [type, colour] of Object.entries(COLOURS)) {
        let chosen = table[type]
        Object.defineProperty(table, type, {
            get: () => chosen || colour,
            set: (value) => {
                chosen = value
            },
            enumerable: true,
            configurable: true,
        })
    }
}

app.registerExtension({
    name: "hidrathermalimageenhancement.Colours",
    setup() {
        fill(app.canvas.default_connection_color_byType)
        fill(LGraphCanvas.link_type_colors)
        const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`)
        const sheet = new CSSStyleSheet()
        sheet.replaceSync(`:root { ${rules.join(" ")} }`)
        document.adoptedStyleSheets.push(sheet)
    },
})
