"""Comparing an artifact with a second build of it: the files inside that differ, and their packages."""
