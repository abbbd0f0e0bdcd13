"""The live view of builds in a browser."""
