"""Releases: everything of one version for users, with signatures."""
