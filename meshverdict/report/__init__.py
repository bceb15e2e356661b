"""Run folders turned into documents: build and render are pure, files reads and writes."""
