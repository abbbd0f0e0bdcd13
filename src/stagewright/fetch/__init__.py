"""Downloads from other machines: atomic, resumable, verified by digests and OpenPGP signatures."""
