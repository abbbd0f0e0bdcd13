"""Media: squashfs, boot loaders, ISO images. Pure assembly of finished parts; nothing here knows of Portage."""
