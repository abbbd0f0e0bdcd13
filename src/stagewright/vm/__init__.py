"""Virtual machines and containers: QEMU, its firmware, and consoles.

``firmware`` finds UEFI images, ``accel`` tests whether KVM works, ``machine_spec`` describes a machine, ``machine``
runs it, and ``container`` starts the init of a root. ``console`` reads and types on the console of a guest, and
``interactive`` connects a console to the terminal. Tests of guests are in ``stagewright.testing``.
"""
