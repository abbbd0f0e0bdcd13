"""Ebuild repositories from elsewhere: found, verified, pinned, and kept as plain trees that builds see read-only."""
