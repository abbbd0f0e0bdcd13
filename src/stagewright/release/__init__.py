"""What goes out with an artifact: packing, contents, digests, manifest; and what differs between two of them."""
