"""The method's training: bi-level solver, losses, networks, data, checkpoints."""
