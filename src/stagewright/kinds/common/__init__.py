"""Shared parts of kinds: base classes, models of context and facts, tools, package settings, whole systems."""
