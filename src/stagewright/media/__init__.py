"""Boot media: payloads, initramfs, boot loaders, ISO and disk images, and the inspection of existing media.

==========================  ====================================================================================
``settings.py``             settings that ISO images, network sets and disk images share, as project files have them
``arguments.py``            the kernel's command line, for each initramfs
``payload.py``              ``payload.json``: kernels, initramfs, modules, firmware and loaders that media take
``initramfs.py``            runs dracut and checks the result
``initramfs_contents.py``   reads an initramfs
``compressed_ends.py``      ends of the compressed archives in it
``netmodules.py``           dracut modules for network boot; ``stream/`` holds our own
``verity.py``               the hash tree of an image; ``verified/`` holds the dracut module that opens the image by it
``dracut_modules.py``       writes our own dracut modules into a root; ``labelled/`` finds labels with spaces
``firmware_files.py``       firmware and microcode; ``memtest.py`` memtest86+
``loaders.py``              boot loaders: their programs, and their files made from ``templates/``
``layout.py``               which file goes where on an ISO
``identity.py``             identifiers of an ISO, from its content
``iso.py`` ``disk/``        write ISO images and disk images; ``layouts/`` holds layouts of disks, ``roothash/`` the
                            dracut module that opens a root behind dm-verity
``uki.py`` ``signing.py``   unified kernel images; signatures for Secure Boot
``efi.py``                  names of architectures in UEFI, GRUB and Debian
``inspect.py``              reads ISO images and folders of any origin; ``menus.py`` their boot menus
``render.py``               renders text templates
==========================  ====================================================================================

The writers assemble finished parts: they run neither Portage nor a compiler.
"""
