"""Publishing of releases: targets such as a folder, a server or a registry, and the order of uploads."""
