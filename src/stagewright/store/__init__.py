"""What is kept between builds: layers, artifacts, caches, logs."""
