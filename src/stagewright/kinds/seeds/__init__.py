"""Kinds of seeds: roots that a build starts from (stage 0)."""
