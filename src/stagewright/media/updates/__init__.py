"""Updates of image systems with two slots: their feed, and the files that let a system read it."""
