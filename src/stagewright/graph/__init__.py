"""The graph of things to make: nodes, their keys, and drawings. Knows nothing of disks or of how things are made."""
