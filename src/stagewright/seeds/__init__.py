"""Seeds: the roots that builds start from, bootstrapped or unpacked."""
