# shellcheck shell=sh
# Where the system comes from: the image of the running live system, a tarball, a squashfs, or an image of a disk.

# Find what can be found before anything is written. Sets source_tree, or source_file for a file that is here.
# live_tree is the tree of the running live system, which has a kernel for sources without one.
open_source() {
	source_tree= source_file= live_tree=
	if [ "$answer_source" = live ] || [ -z "$image" ]; then find_live_tree; fi
	case $answer_source in
	live)
		[ -n "$live_tree" ] || fail SOURCE "source live: this system does not run from a read-only image" \
			"write source = a path or an address"
		source_tree=$live_tree ;;
	/*)
		[ -r "$answer_source" ] || fail SOURCE "source $answer_source: not found" "look at the path"
		source_file=$answer_source
		verify_file "$source_file"
		[ "$answer_source_type" != squashfs ] || mount_source "$source_file" ;;
	*) [ "$answer_source_type" != image ] || [ -z "$answer_signature" ] || [ -n "$answer_digests" ] ||
		fail ANSWERS "source: an image from the network needs checksum or digests, because it is written while it comes" \
			"write checksum = sha256:HEX" ;;
	esac
}

# Set live_tree to the read-only tree below the running system, or to nothing.
find_live_tree() {
	below=$(awk '$5 == "/"' /proc/self/mountinfo | tail -n 1)
	type=${below##* - }
	case ${type%% *} in
	overlay) ;;
	squashfs | erofs | nfs | nfs4) bind_root; return ;;
	*) return 0 ;;
	esac
	lower=$(echo "${below##* }" | tr , '\n' | sed -n 's/^lowerdir=//p')
	lower=${lower##*:}
	if [ -n "$lower" ] && [ -d "$lower/usr" ]; then live_tree=$lower; return; fi
	for place in $(awk '/ - (squashfs|erofs) / { print $5 }' /proc/self/mountinfo); do
		if [ -d "$place/usr" ] && [ -d "$place/etc" ]; then live_tree=$place; return; fi
	done
	for device in "$sysfs"/block/loop* "$sysfs"/block/dm-* "$sysfs"/block/nbd* "$sysfs"/block/ram*; do
		device=/dev/${device##*/}
		[ -b "$device" ] || continue
		case $(probe "$device") in squashfs* | erofs*) mount_image "$device" live; live_tree=$work/live; return ;; esac
	done
}

# The root without what is mounted in it, read-only.
bind_root() {
	mkdir -p "$work/live"
	run mount --bind / "$work/live"
	at_end unmount "$work/live"
	run mount -o remount,ro,bind "$work/live"
	live_tree=$work/live
}

# mount_image FILE NAME: mount an image read-only at the folder NAME of this program.
mount_image() {
	mkdir -p "$work/$2"
	type=$(probe "$1")
	run mount -o ro -t "${type%% *}" "$1" "$work/$2"
	at_end unmount "$work/$2"
}

mount_source() {
	mount_image "$1" source
	source_tree=$work/source
}

# Set tree_kib to the size of the source. Counting takes seconds, so it is done once.
measure_tree() {
	if [ -z "$source_tree" ]; then tree_kib=0; else tree_kib=$({ du -skx "$source_tree" 2> /dev/null || :; } | cut -f 1); fi
}

# A text that changes if the source changes.
source_identity() {
	case $answer_source in
	live) echo "live $(cat "$source_tree/etc/os-release" 2> /dev/null) $(ls "$source_tree/usr/lib/modules" 2> /dev/null)" ;;
	*) echo "$answer_source $answer_checksum $answer_digests $answer_signature" ;;
	esac
}

# fetch ADDRESS FILE: download, and continue an earlier download.
fetch() {
	if has curl; then run curl --fail --silent --show-error --location --retry 3 --continue-at - --output "$2" "$1"
	elif has wget; then run wget -q -c -O "$2" "$1"
	else fail MISSING "neither curl nor wget is installed, to read $1"; fi
}

fetch_to_stdout() {
	if has curl; then curl --fail --silent --show-error --location --retry 3 "$1"; else wget -q -O - "$1"; fi
}

# local_copy PLACE FILE: print the path of a small file that may be on the network.
local_copy() {
	case $1 in
	/*) cp "$1" "$2" || fail SOURCE "$1: cannot be read" ;;
	*) rm -f "$2"; fetch "$1" "$2" ;;
	esac
}

# Set expected to the digest that the source must have, and hash to its program; both empty if nothing says it.
find_checksum() {
	expected= hash=
	if [ -n "$answer_checksum" ]; then
		expected=${answer_checksum#*:} hash=${answer_checksum%%:*}sum
	elif [ -n "$answer_digests" ]; then
		local_copy "$answer_digests" "$work/digests"
		if [ -n "$answer_signature" ]; then
			local_copy "$answer_signature" "$work/digests.sig"
			check_signature "$work/digests" "$work/digests.sig"
			cp "$work/digests" "$work/digests.signed"
		else
			check_signature "$work/digests" "" "$work/digests.signed"
		fi
		digest_from_list "$work/digests.signed"
	fi
}

# Lines "HEX  NAME", as sha512sum and the DIGESTS of Gentoo have them.
digest_from_list() {
	name=${answer_source##*/}
	name=${name%%[?#]*}
	expected=$(awk -v name="$name" '($2 == name || $2 == "*" name) && $1 ~ /^[0-9a-f]+$/ && length($1) == 128 { print $1; exit }' "$1")
	hash=sha512sum
	if [ -z "$expected" ]; then
		expected=$(awk -v name="$name" '($2 == name || $2 == "*" name) && $1 ~ /^[0-9a-f]+$/ && length($1) == 64 { print $1; exit }' "$1")
		hash=sha256sum
	fi
	[ -n "$expected" ] || fail UNVERIFIED "digests $answer_digests: no SHA-256 or SHA-512 of $name"
}

# check_signature FILE SIGNATURE [OUTPUT]: without a signature the file is clear-signed, and OUTPUT gets its text.
check_signature() {
	rm -rf "$work/gnupg"
	mkdir -m 700 "$work/gnupg"
	if has gpg; then
		run gpg --homedir "$work/gnupg" --batch --quiet --import "$answer_signing_key"
		if [ -n "$2" ]; then set -- gpg --homedir "$work/gnupg" --batch --verify "$2" "$1"
		else set -- gpg --homedir "$work/gnupg" --batch --output "$3" --decrypt "$1"; rm -f "$work/digests.signed"; fi
	elif has sq; then
		if [ -n "$2" ]; then set -- sq verify --signer-file "$answer_signing_key" --signature-file "$2" "$1"
		else set -- sq verify --signer-file "$answer_signing_key" --cleartext --output "$3" "$1"; rm -f "$work/digests.signed"; fi
	else
		fail MISSING "neither gpg nor sq is installed, to check a signature" "write checksum = sha256:HEX"
	fi
	"$@" > "$work/output" 2>&1 || {
		cat "$work/output" >> "$log"
		fail UNVERIFIED "the signature by $answer_signing_key is not valid ($(tail -n 1 "$work/output"))" "the file was not used"
	}
}

# verify_file FILE: end the program if the file is not what the answers say.
verify_file() {
	find_checksum
	if [ -n "$expected" ]; then
		actual=$($hash < "$1" | cut -d ' ' -f 1)
		[ "$actual" = "$expected" ] || fail UNVERIFIED "source $answer_source: ${hash%sum} is $actual, not $expected" \
			"the file was not used; get the file again"
	elif [ -n "$answer_signature" ]; then
		local_copy "$answer_signature" "$work/source.sig"
		check_signature "$1" "$work/source.sig"
	fi
}

# Write the system into the tree of the target.
copy_source() {
	clear_tree
	if [ -z "$source_tree" ] && [ -z "$source_file" ]; then
		mkdir -p "$root/.stagewright-install"
		source_file=$root/.stagewright-install/source
		say "  downloading $answer_source"
		[ -e "$source_file.whole" ] || fetch "$answer_source" "$source_file"
		: > "$source_file.whole"
		(verify_file "$source_file") || { code=$?; rm -f "$source_file" "$source_file.whole"; exit "$code"; }
		[ "$answer_source_type" != squashfs ] || mount_source "$source_file"
	fi
	if [ -n "$source_tree" ]; then
		[ "$tree_kib" -gt 0 ] || measure_tree
		watch_progress "$tree_kib"
		copy_tree "$source_tree" "$root"
	else
		watch_progress 0
		unpack_tarball
	fi
	stop_progress
	case $source_file in "$root"/*)
		[ -z "$source_tree" ] || { run unmount "$source_tree"; source_tree=; }
		rm -rf "$root/.stagewright-install" ;;
	esac
	for folder in dev proc sys run tmp; do mkdir -p "$root/$folder"; done
	chmod 1777 "$root/tmp"
}

# Remove what an interrupted copy left, but not what was downloaded.
clear_tree() {
	for entry in "$root"/* "$root"/.[!.]*; do
		case $entry in */lost+found | */.stagewright-install) continue ;; esac
		# Places where another partition is mounted stay, empty.
		rm -rf "$entry" 2>> "$log" || :
	done
}

# cp of busybox leaves extended attributes out, such as capabilities of programs; GNU tar does not.
copy_tree() {
	if is_gnu cp || ! is_gnu tar; then
		run cp -a "$1/." "$2/"
	else
		tar_through() { tar -C "$1" --xattrs --xattrs-include='*' --acls -cf - . | tar -C "$2" --xattrs --xattrs-include='*' --acls -xpf -; }
		run tar_through "$1" "$2"
	fi
}

is_gnu() {
	case $("$1" --version 2> /dev/null) in *GNU*) return 0 ;; esac
	return 1
}

decompress() {
	case ${answer_source%%[?#]*} in
	*.gz | *.tgz) gzip -dc ;;
	*.xz) xz -dc ;;
	*.bz2) bzip2 -dc ;;
	*.zst) zstd -dc ;;
	*) cat ;;
	esac
}

unpack_tarball() {
	if is_gnu tar; then
		unpack() { decompress < "$source_file" | tar -C "$root" --numeric-owner --xattrs --xattrs-include='*' --acls -xpf -; }
	else
		unpack() { decompress < "$source_file" | tar -C "$root" -xpf -; }
	fi
	run unpack
}

# watch_progress KIB: report how much of the target is filled, each second, and after ten seconds every five.
watch_progress() {
	{
		first=$(used_space)
		before=
		seconds=0
		while sleep $((seconds < 10 ? 1 : 5)) && [ -e /proc/$$/exe ]; do
			seconds=$((seconds + 1))
			now=$(($(used_space) - first))
			if [ "$1" -gt 0 ]; then percent=$((now * 100 / $1)); [ "$percent" -le 99 ] || percent=99; else percent=null; fi
			[ "$now" != "$before" ] || continue
			before=$now
			event progress step=copy percent:="$percent" kib:="$now"
			[ "$json" = yes ] || [ ! -t 1 ] || printf '\r  %s MiB%s  ' "$((now / 1024))" "$([ "$percent" = null ] || echo ", $percent %")"
		done
	} 9>&- &
	progress_id=$!
	at_end stop_progress
}

used_space() { df -Pk "$root" | awk 'NR == 2 { print $3 }'; }

stop_progress() {
	[ -n "${progress_id:-}" ] || return 0
	kill "$progress_id" 2> /dev/null || :
	wait "$progress_id" 2> /dev/null || :
	progress_id=
	[ "$json" = yes ] || [ ! -t 1 ] || printf '\r                        \r'
}
