"""What kinds share: the base classes, tools, package settings, systems, releases."""
