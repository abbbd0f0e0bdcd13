"""Stagewright builds Gentoo-based operating systems from a seed to something that boots."""

__version__ = "0.1.0"
