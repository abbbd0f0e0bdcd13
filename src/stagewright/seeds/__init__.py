"""Seeds: the first roots of builds, bootstrapped from packages or unpacked from archives and images."""
