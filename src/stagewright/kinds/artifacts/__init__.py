"""Kinds of artifacts: files made of finished roots, such as tarballs and binary package hosts."""
