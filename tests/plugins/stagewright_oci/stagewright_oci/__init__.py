"""Kinds of stages for container images."""
