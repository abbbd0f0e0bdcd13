"""Catalyst's own files: specs, catalyst.conf, the configuration of catalyst-auto; what they say, and their graph."""
