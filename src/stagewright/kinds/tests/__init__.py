"""Kinds of tests: nodes that run what other nodes built."""
