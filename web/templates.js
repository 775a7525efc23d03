/**
 * The pack's example workflows in the order of their numbers: the host lists them as its file system does.
 */

import { api } from "../../scripts/api.js"

const OURS = decodeURIComponent(new URL(import.meta.url).pathname.split("/extensions/").pop().split("/")[0])
const { getWorkflowTemplates } = api

api.getWorkflowTemplates = async function () {
    const templates = await getWorkflowTemplates.apply(this, arguments)
    templates?.[OURS]?.sort?.()
    return templates
}
