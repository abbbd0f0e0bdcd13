# shellcheck shell=sh
# Kernel, boot loader and the entry that starts the system. What makes the disk startable is written last.

# find_in_trees PATTERN: print the first file that matches, of the new system, the live system and the running one.
find_in_trees() {
	pattern=$1
	set -- "$root"
	[ -z "${live_tree:-}" ] || set -- "$@" "$live_tree"
	[ -n "$image" ] || set -- "$@" ""
	for tree; do
		for file in "$tree"/$pattern; do
			[ ! -f "$file" ] || { echo "$file"; return; }
		done
	done
}

# Find the kernel: kernel_folder is /usr/lib/modules/VERSION of one of the trees.
find_kernel() {
	vmlinuz=$(find_in_trees "usr/lib/modules/*/vmlinuz")
	[ -n "$vmlinuz" ] || fail KERNEL "no kernel: neither the source nor this system has /usr/lib/modules/VERSION/vmlinuz" \
		"use a source with a kernel"
	kernel_folder=${vmlinuz%/vmlinuz}
	kernel_version=${kernel_folder##*/}
	initramfs=$kernel_folder/initramfs.img
	[ -e "$initramfs" ] || initramfs=$kernel_folder/initrd
	[ -e "$initramfs" ] || fail KERNEL "no initramfs: $kernel_folder/initramfs.img not found" "use a source with an initramfs"
	loader=$(find_in_trees "usr/lib/systemd/boot/efi/systemd-boot*.efi")
	grub_boot=$(find_in_trees "usr/lib/grub/i386-pc/boot.img")
	grub_core=$(find_in_trees "usr/lib/grub/i386-pc/core.img")
	uki=$(find_in_trees "usr/lib/modules/*/uki.efi")
}

# Set boot_way from the answer, the layout and the trees.
choose_boot() {
	boot_way=$answer_boot
	if [ "$boot_way" = auto ]; then
		if [ -n "$bios_part" ] && [ -n "$grub_core" ] && [ ! -d /sys/firmware/efi ] && [ -z "$image" ]; then boot_way=grub-bios
		elif [ -n "$loader" ]; then boot_way=systemd-boot
		elif [ -n "$uki" ] || has ukify; then boot_way=uki
		elif [ -n "$bios_part" ] && [ -n "$grub_core" ]; then boot_way=grub-bios
		else fail BOOT "no boot loader: neither systemd-boot, ukify, a unified kernel image nor GRUB found" \
			"use a source that has one, or boot = none"; fi
	fi
	case $boot_way in
	systemd-boot) [ -n "$loader" ] ||
		fail BOOT "boot systemd-boot: /usr/lib/systemd/boot/efi/systemd-boot*.efi not found" "use a source that has it" ;;
	uki) [ -n "$uki" ] || has ukify ||
		fail BOOT "boot uki: neither ukify nor /usr/lib/modules/VERSION/uki.efi found" "use boot = systemd-boot" ;;
	grub-bios)
		[ -n "$bios_part" ] || fail BOOT "boot grub-bios: the layout has no BIOS boot partition" "use layout = bios"
		[ -n "$grub_boot" ] && [ -n "$grub_core" ] ||
			fail BOOT "boot grub-bios: /usr/lib/grub/i386-pc/boot.img and core.img not found" "use a source that has them" ;;
	esac
}

kernel_options() {
	options="root=UUID=$(fs_uuid "$root_part") rootfstype=$(part_get "$root_part" format) rw"
	case $(part_get "$root_part" encrypt) in
	'') ;;
	*tpm2*) options="$options rd.luks.name=$(luks_uuid "$root_part")=root rd.luks.options=tpm2-device=auto" ;;
	*) options="$options rd.luks.name=$(luks_uuid "$root_part")=root rd.luks.uuid=$(luks_uuid "$root_part")" ;;
	esac
	case $answer_console in
	'') [ -n "$image" ] || options="$options $(running_consoles)" ;;
	none) ;;
	*) for console in $answer_console; do options="$options console=$console"; done ;;
	esac
	echo "$options $answer_kernel_arguments" | sed -e 's/  */ /g' -e 's/ $//'
}

running_consoles() { tr ' ' '\n' < /proc/cmdline | sed -n '/^console=/p' | tr '\n' ' '; }

os_value() {
	for file in "$root/etc/os-release" "$root/usr/lib/os-release"; do
		[ -r "$file" ] || continue
		sed -n "s/^$1=//p" "$file" | tr -d "\"'" | sed -n 1p
		return
	done
}

# Put kernel and loader in place. The last file makes the disk startable.
make_bootable() {
	find_kernel
	choose_boot
	[ "$boot_way" != none ] || return 0
	copy_modules
	open_esp
	os_id=$(os_value ID | tr -cd 'a-z0-9._-')
	os_id=${os_id:-linux}
	title=$(os_value PRETTY_NAME)
	case $boot_way in
	uki) uki_boot ;;
	grub-bios) kernel_files; grub_bios ;;
	systemd-boot) kernel_files; systemd_boot ;;
	esac
	sync
}

# A tarball may come without a kernel: it gets the modules of the live system.
copy_modules() {
	case $kernel_folder in "$root"/*) return ;; esac
	inside "$root/usr/lib"
	mkdir -p "$root/usr/lib/modules"
	run cp -a "$kernel_folder" "$root/usr/lib/modules/"
}

kernel_files() {
	kernel_path=$os_id/$kernel_version
	esp_put "$vmlinuz" "$kernel_path/linux"
	esp_put "$initramfs" "$kernel_path/initrd"
}

systemd_boot() {
	fallback=BOOT$(basename "$loader" .efi | sed 's/^systemd-boot//' | tr a-z A-Z).EFI
	printf 'default %s-*\ntimeout 3\n' "$os_id" > "$work/loader.conf"
	{
		printf 'title %s\nversion %s\n' "${title:-$os_id}" "$kernel_version"
		printf 'linux /%s/linux\ninitrd /%s/initrd\noptions %s\n' "$kernel_path" "$kernel_path" "$(kernel_options)"
	} > "$work/entry.conf"
	esp_put "$loader" "EFI/systemd/$(basename "$loader")"
	esp_put "$work/loader.conf" loader/loader.conf
	esp_put "$work/entry.conf" "loader/entries/$os_id-$kernel_version.conf"
	esp_put "$loader" "EFI/BOOT/$fallback"
	firmware_entry "EFI/systemd/$(basename "$loader")"
}

# A unified kernel image of the root is taken as it is: its command line must find the root by its type.
uki_boot() {
	if has ukify; then
		run ukify build --linux="$vmlinuz" --initrd="$initramfs" --cmdline="$(kernel_options)" --output="$work/uki.efi"
		uki=$work/uki.efi
	fi
	esp_put "$uki" "EFI/Linux/$os_id-$kernel_version.efi"
	case $(uname -m) in aarch64) fallback=BOOTAA64.EFI ;; *) fallback=BOOTX64.EFI ;; esac
	esp_put "${loader:-$uki}" "EFI/BOOT/$fallback"
	firmware_entry "EFI/Linux/$os_id-$kernel_version.efi"
}

# Name the loader in the firmware. Firmware without the entry starts EFI/BOOT.
firmware_entry() {
	[ -z "$image" ] && [ -d /sys/firmware/efi/efivars ] || return 0
	has efibootmgr || { say "  efibootmgr is not installed: the firmware starts EFI/BOOT of the disk"; return; }
	label=${title:-$os_id}
	for old in $(efibootmgr 2> /dev/null | sed -nE "s|^Boot([0-9A-F]{4})[* ] $(printf '%s' "$label" | sed 's/[^A-Za-z0-9 ]/./g')(	.*)?\$|\1|p"); do
		efibootmgr --quiet --bootnum "$old" --delete-bootnum >> "$log" 2>&1 || :
	done
	efibootmgr --quiet --create --disk "$target_file" --part "$esp_part" --label "$label" \
		--loader "\\$(echo "$1" | sed 's|/|\\|g')" >> "$log" 2>&1 ||
		warn "the firmware took no boot entry; it starts EFI/BOOT of the disk"
}

# GRUB for BIOS: the core image in its partition, then the first sector, each with the place of the next part.
grub_bios() {
	core_sector=$(($(part_get "$bios_part" start) / 512))
	{
		printf 'set timeout=3\nmenuentry "%s" {\n' "$(printf '%s' "${title:-$os_id}" | tr -d '"\\$')"
		printf '\tlinux /%s/linux %s\n\tinitrd /%s/initrd\n}\n' "$kernel_path" "$(kernel_options)" "$kernel_path"
	} > "$work/grub.cfg"
	esp_put "$work/grub.cfg" grub/grub.cfg
	cp "$grub_core" "$work/core.img"
	# The last block list of the first sector: where the rest of the core image is.
	little_endian $((core_sector + 1)) 8 | dd of="$work/core.img" bs=1 seek=500 conv=notrunc 2>> "$log"
	open_partition "$bios_part"
	target_is_there
	run dd if="$work/core.img" of="$(part_get "$bios_part" device)" bs=64k conv=notrunc,fsync
	sync
	# 440 bytes are code; the rest of the sector is the partition table.
	head -c 440 "$grub_boot" > "$work/boot.img"
	little_endian "$core_sector" 8 | dd of="$work/boot.img" bs=1 seek=92 conv=notrunc 2>> "$log"
	target_is_there
	run dd if="$work/boot.img" of="$target_file" bs=440 count=1 conv=notrunc,fsync
}

# little_endian NUMBER BYTES: print a number as bytes.
little_endian() {
	rest=$1
	left=$2
	while [ "$left" -gt 0 ]; do
		# shellcheck disable=SC2059
		printf "\\$(printf %03o $((rest % 256)))"
		rest=$((rest / 256))
		left=$((left - 1))
	done
}
