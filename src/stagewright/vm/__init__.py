"""Virtual machines and containers: QEMU, its firmware, consoles, and boot tests.

``firmware`` finds UEFI images, ``accel`` tests whether KVM works, ``machine_spec`` describes a machine, ``machine``
runs it, and ``container`` starts the init of a root. ``console`` reads and types on the console of a guest,
``script_run`` runs a ``script`` there, ``boot`` is the test of one image, and ``interactive`` connects a console to the
terminal.
"""
