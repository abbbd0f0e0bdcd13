"""Roots: overlay mounts over layers, the sandbox that commands run in, and changes to files inside."""
