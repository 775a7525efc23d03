"""Measuring a model against the methods in use today: every method gets the same tasks, seeds and metrics in one call.

``tasks`` defines the images to measure on, ``measures`` the metrics for each task, and ``runner`` runs the methods.
``tables`` writes Markdown and JSON, ``sheets`` the images side by side, and ``provenance`` records the details that are
needed to repeat a run. ``hidra evaluate`` combines them. ``quality_report`` measures images outside of any task.
"""
