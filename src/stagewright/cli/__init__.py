"""The command line: the one place besides ``ui`` that writes to the terminal."""
