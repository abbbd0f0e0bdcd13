"""Kinds of media: live systems, payloads, ISO images, network-boot sets, disk images."""
