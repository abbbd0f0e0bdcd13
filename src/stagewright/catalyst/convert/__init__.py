"""From specs to a project: plain tables with places, which go through the same loader and models as TOML files."""
