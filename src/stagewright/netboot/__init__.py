"""Network boot: sets of files for any web server, a file server, and networks for tests.

====================  ==============================================================================
``methods.py``        the methods by which an image reaches a machine, with their arguments
``memory.py``         the memory that a machine needs at least, by method
``writer.py``         writes a set, with configuration for iPXE, PXELINUX, GRUB and dnsmasq
``combined.py``       writes initramfs and image as one file
``programs.py``       programs for boot servers (iPXE, PXELINUX, GRUB), taken from a root
``signatures.py``      signatures that iPXE verifies
``from_iso.py``       makes a set from an ISO; ``other_systems.py`` knows those of other projects
``serve.py``          the web server of `stagewright netboot serve` and of tests
``boot_commands.py``  the commands to type on a machine, printed by `stagewright netboot serve`
``service.py``        servers that run as a program: ``dnsmasq.py`` (DHCP, TFTP), ``image_servers.py``
``lan.py``            the network of one test
====================  ==============================================================================
"""
