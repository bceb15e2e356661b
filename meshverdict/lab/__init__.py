"""Composition root of the embedded cluster: the only place where its rooms meet."""
