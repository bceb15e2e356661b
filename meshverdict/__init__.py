"""Measure whether an application needs a service mesh."""

__version__ = "0.1.0"
