"""Project files: text to models, with the place of everything written in them, and the lock file beside them."""
