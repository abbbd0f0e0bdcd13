"""Virtual machines: QEMU, its firmware, its serial console, and the boot tests made of them.

``firmware`` finds UEFI, ``accel`` learns whether KVM works, ``spec`` says what a machine consists of, ``machine`` runs
it, ``console`` talks to the guest over its serial port, ``boot`` is the test of one image (``script`` what it does and
reports), ``interactive`` gives a guest's console to a person.
"""
