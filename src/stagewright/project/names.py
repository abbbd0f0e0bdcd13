"""Names of stages, seeds, tests and repositories."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._+-]*$"
"""Pattern of the names of stages, seeds, tests and repositories: file names that need no quoting in a shell."""

NAME_HINT = "use letters, digits and . _ + -, starting with a letter or digit"
"""Hint for a text that does not match :data:`NAME`."""
