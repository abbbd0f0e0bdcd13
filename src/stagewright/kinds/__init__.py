"""Kinds of seeds, stages, media, artifacts and tests: one module for each, and ``common/`` for what they share."""
