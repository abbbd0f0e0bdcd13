"""Disk images: partitions by a layout, their file systems and the image, without loop devices.

``definitions.py``        layouts as data: the format of repart.d(5); ``setting_values.py`` reads the values
``layout_check.py``       checks of a layout as a whole
``partition_table.py``    sizes and places; ``partition_types.py`` the GUIDs
``views.py``              the folders of a root that become partitions
``file_systems.py``       file systems of folders; ``ext4.py`` and ``xfs.py`` two of them
``verity_partition.py``   partitions with the hashes of another partition
``bios.py``                GRUB for BIOS
``image.py``              the whole disk
``formats.py``             formats of images; ``ova.py`` one of them
"""
