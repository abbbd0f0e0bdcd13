"""Project files: models from text, the place of every value, and the lock file next to them."""
