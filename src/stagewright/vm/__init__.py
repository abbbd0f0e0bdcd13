"""Virtual machines and containers: QEMU, its firmware, consoles, and the tests made of them.

``firmware`` finds UEFI, ``accel`` learns whether KVM works, ``spec`` says what a machine consists of, ``machine`` runs
it, ``container`` starts the init of a root. ``console`` talks to a guest, ``follow`` puts it through a ``script``,
``boot`` is the test of one image, ``interactive`` gives a guest's console to a person.
"""
