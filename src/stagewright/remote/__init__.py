"""Stores on other machines: results by key, in pieces that later results share, and files of the caches."""
