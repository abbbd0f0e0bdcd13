"""Kernels: found in a root, chosen, configured, built, with the modules that fit them."""
