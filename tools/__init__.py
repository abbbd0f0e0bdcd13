"""Checks of this repository; not a part of the package."""
