"""Artifacts and their companion files: archives, listings, digests, manifests, and the comparison of two of them."""
