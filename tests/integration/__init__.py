"""Tests of the whole: real stores, real processes, mostly real Portage."""
