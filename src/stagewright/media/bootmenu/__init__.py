"""Boot menus read back from the files of boot loaders, on any medium.

===================  ==============================================================
``entry.py``         one entry of a menu, whatever loader it is for
``grub_script.py``   the words and blocks of GRUB's scripting language
``grub.py``          the entries of a ``grub.cfg``
``syslinux.py``      the entries of ``isolinux.cfg``, ``syslinux.cfg``, PXELINUX files
``loader_spec.py``   the entries of ``loader/entries/*.conf`` (systemd-boot, BLS)
===================  ==============================================================

The readers never raise for strange text: they return what can be read. Each has a limit on the work that a file can
cause.
"""
