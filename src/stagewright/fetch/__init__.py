"""Files and facts from other machines: downloaded whole or not at all, and believed only when they are signed."""
