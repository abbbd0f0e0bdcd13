"""Failures of firmware (OVMF, SeaBIOS, PXE) and of boot loaders (iPXE, GRUB, SYSLINUX, systemd-boot, EFI stub)."""

from __future__ import annotations

from stagewright.vm.failures import Part, rows

REFUSED = r"BdsDxe: failed to load .*(Access Denied|Security Violation)"
"""Pattern for the message of OVMF about a program whose signature it does not accept."""

NEEDS_ONE_BOOT_OPTION = rows(
    Part.FIRMWARE,
    (
        "Secure Boot refused the program: it has no signature that the firmware accepts",
        REFUSED,
        'sign the medium with `secure_boot` of its payload, or set firmware = "uefi" in the test',
    ),
    (
        "the firmware could not load a program from a boot device",
        r"BdsDxe: failed to load",
        "`stagewright media check FILE` shows what the medium lacks; `attach` of the test names the device",
    ),
    final=True,
)
"""Failures that are final only on machines with a single boot option. With several, the firmware tries the next one."""

_FINAL_FIRMWARE = rows(
    Part.FIRMWARE,
    (
        "the firmware found no bootable device",
        r"No bootable device|BdsDxe: No bootable option",
        "`stagewright media check FILE` shows for which firmware the medium has a boot loader",
    ),
    (
        "the firmware found no bootable device and opened its shell",
        r"^Shell> ?|^UEFI Interactive Shell",
        "`stagewright media check FILE` shows if the medium has a program for UEFI",
    ),
    (
        "the firmware crashed",
        r"!!!! \S+ Exception Type - ",
        "try another firmware: `stagewright firmware` shows which ones are installed",
    ),
    final=True,
)

_FIRMWARE = rows(
    Part.FIRMWARE,
    (
        "the BIOS found no boot code on a disk or disc",
        r"^Boot failed: (not a bootable disk|could not read the boot disk|Could not read from CDROM)",
        'add a boot loader for BIOS to the medium, such as `grub-hybrid`, or set firmware = "uefi" in the test',
    ),
    (
        "the firmware got no address or no boot file from the network",
        r"PXE-E\d\d: |PXE-T\d\d: ",
        "check the DHCP and TFTP server: `stagewright netboot serve` has both",
    ),
)

_FINAL_LOADERS = rows(
    Part.LOADER,
    (
        "GRUB found no configuration, or none of its entries started",
        r"^grub( rescue)?> ?",
        "the line above names the file or device that GRUB did not find",
    ),
    (
        "the kernel is for another processor",
        r"This kernel requires an? \S+ CPU, but only detected|Unable to boot - please use a kernel appropriate",
        "boot on a 64-bit machine, or build the medium for this architecture",
    ),
    (
        "the kernel image is damaged or too large for the memory of the machine",
        r"^ *-- System halted",
        "raise `memory` of the test; compare the medium with its DIGESTS",
    ),
    final=True,
)

_LOADERS = rows(
    Part.LOADER,
    (
        "iPXE got no address: no DHCP server answered",
        r"No configuration methods succeeded|No more network devices",
        "check that the machine and the DHCP server are on the same network",
    ),
    (
        "iPXE could not load a file",
        r"\(https?://ipxe\.org/(err/)?[0-9a-f]+\)",
        "the page of the address explains the number; the log of the server shows which file was asked for",
    ),
    (
        "GRUB refused a file: Secure Boot accepts only signed ones",
        r"^error: .*(bad shim signature|prohibited by secure boot policy|verification requested but )",
        "sign the kernel with `secure_boot` of the payload",
    ),
    (
        "the machine has less memory than the method of the boot script or menu needs",
        r"^Not enough memory: this machine has ",
        "raise `memory` of the test, or use a method that needs less memory (docs/netboot.md)",
    ),
    (
        "GRUB has too little memory for kernel and initramfs",
        r"^error: .*out of memory",
        "raise `memory` of the test, or list fewer `initramfs.drivers`",
    ),
    (
        "GRUB could not load a file or find a device",
        r"^error: (?!no structure matched)",
        "`stagewright media check FILE` compares the boot menu with the files of the medium",
    ),
    (
        "SYSLINUX could not load one of its files or the kernel",
        r"^(Could not find kernel image: |Failed to load (ldlinux|COM32)|isolinux\.bin missing or corrupt"
        r"|Boot failed: please change disks|Invalid or corrupt kernel image)",
        "`stagewright media check FILE` compares the boot menu with the files of the medium",
    ),
    (
        "systemd-boot could not start an entry",
        r"^(Error loading \S+|Error preparing initrd|Failed to execute .*\\.*): ",
        "check that kernel and initramfs of the entry are on the EFI system partition, and signed for Secure Boot",
    ),
    (
        "the EFI stub of the kernel could not load the initramfs",
        r"^EFI stub: ERROR: ",
        "raise `memory` of the test; iPXE needs `initrd=NAME` in the arguments of the kernel",
    ),
)

EARLY = (*NEEDS_ONE_BOOT_OPTION, *_FINAL_FIRMWARE, *_FIRMWARE, *_FINAL_LOADERS, *_LOADERS)
"""Failures before the kernel runs."""
