"""The graph of a project: nodes, their keys, and drawings. How nodes are built is not part of this package."""
