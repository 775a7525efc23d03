"""Measuring a model beside what people use today: the same tasks, seeds and metrics for every method, in one call.

``tasks`` says what is measured on, ``measures`` with which metrics, ``runner`` runs the methods, ``tables`` writes
Markdown and JSON, ``sheets`` pictures, ``provenance`` what is needed to repeat a run. ``hidra evaluate`` puts them
together.
"""
