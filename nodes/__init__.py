"""ComfyUI nodes of HiDRA. Imported by the pack's entry point, when the host asks for its nodes."""
