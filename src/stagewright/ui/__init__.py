"""Listeners that print events: for terminals, logs and programs."""
