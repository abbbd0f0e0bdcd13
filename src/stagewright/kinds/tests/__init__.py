"""Kinds of tests: nodes that run the results of other nodes."""
