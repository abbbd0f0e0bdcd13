"""Convert specs to a project: plain tables with places, which the loader reads like TOML files."""
