"""Measurements of the project itself, side by side with what people use otherwise. Never part of the tests."""
