"""Fitting and judging linear read-outs of the degradation vector."""
