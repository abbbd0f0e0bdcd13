"""The store: layers, artifacts, caches and logs that are kept between builds."""
