"""Kinds of media: live systems, payloads, ISO images, sets for network boot, disk images."""
