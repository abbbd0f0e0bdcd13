"""Faces: listeners that turn events into what a person or a program reads."""
