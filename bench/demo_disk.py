"""A disk image of the demo's system, for benches and tests."""

DISK = """
[stages.disk-root]
kind = "diskimage-stage1"
root = "system"
hostname = "diskdemo"

[stages.disk-boot]
kind = "livecd-stage2"
root = "debian-boot"
loaders = ["systemd-boot", "grub-hybrid"]
initramfs.modules = ["dmsquash-live", "stagewright-grow"]
initramfs.omit = ["systemd", "systemd-initrd", "plymouth", "crypt", "nfs", "i18n", "terminfo", "resume"]
initramfs.drivers = ["ext4", "virtio_blk", "virtio_pci", "squashfs", "loop", "overlay", "iso9660"]

[stages.disk]
kind = "diskimage-stage2"
root = "disk-root"
boot = "disk-boot"
size = "1G"
esp = "64M"
timeout = 1
kernel_arguments = { console = ["tty0", "ttyS0,115200"], extra = ["no_timer_check"] }
"""
"""Text to append to the project file of examples/demo: the stages disk-root, disk-boot and disk."""
