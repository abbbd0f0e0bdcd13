"""Benchmarks: ratios against a floor or limits, measured in one run by ``make bench``."""
