"""Data files that only releases need. In ``stagewright.release`` they would be part of the keys of all artifacts."""
