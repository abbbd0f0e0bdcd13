"""Portage: its configuration, runs of emerge, caches of packages and distfiles, and records of installed packages."""
