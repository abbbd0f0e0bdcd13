"""Portage as a builder drives it: its configuration, emerge runs and their progress, what is installed."""
