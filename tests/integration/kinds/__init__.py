"""Tests of every kind, by its name: built with real parts, and looked into."""
