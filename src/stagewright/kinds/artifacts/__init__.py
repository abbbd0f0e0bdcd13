"""Kinds of artifacts: files made from finished roots, such as tarballs and binary package hosts."""
