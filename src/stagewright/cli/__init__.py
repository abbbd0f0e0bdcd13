"""The command line. Only this package and ``ui`` write to the terminal."""
