# shellcheck shell=sh
# The feed: a signed list of digests, and the files of each version (docs/updates.md).
#
# versions has a line for each complete version, the highest first: VERSION, then NAME and DIGEST of the kernel image, and
# NAME, DIGEST and UUID of data and hashes.

# get NAME: print a file of the feed.
get() {
	if has curl; then
		curl --fail --silent --show-error --location --connect-timeout 60 --speed-limit 1 --speed-time 120 "$set_url$1"
	elif has wget; then
		case $(wget --help 2>&1) in *'-T '*) wget -q -T 120 -O - "$set_url$1" ;; *) wget -q -O - "$set_url$1" ;; esac
	else
		return 127
	fi
}

# get_list NAME FILE: download a small file.
get_list() {
	rm -f "$work/failed"
	{ get "$1" 2> "$work/output" || : > "$work/failed"; } | head -c 1048576 > "$2"
	[ ! -e "$work/failed" ] || unreachable "$1"
}

unreachable() {
	has curl || has wget || fail MISSING "neither curl nor wget is installed" "install one of them"
	fail NETWORK "$set_url$1: cannot be read ($(last_words))" "look at the network, and at the url in $config"
}

# Set versions, after the signature of the list was verified.
read_feed() {
	need_programs gpgv=gnupg sha256sum=coreutils
	[ -r "$set_keyring" ] || fail SETTINGS "$set_keyring: not found" "write the keys of your updates there, in binary form"
	get_list SHA256SUMS "$work/sums"
	get_list SHA256SUMS.gpg "$work/sums.gpg"
	mkdir -p "$work/gnupg"
	GNUPGHOME=$work/gnupg gpgv --keyring "$set_keyring" "$work/sums.gpg" "$work/sums" > "$work/output" 2>&1 ||
		fail UNVERIFIED "${set_url}SHA256SUMS: no valid signature by a key of $set_keyring ($(last_words))" \
			"nothing was installed; publish the feed again, signed by a key that machines trust"
	versions=$work/versions
	feed_lines < "$work/sums" > "$work/lines"
	newest_first < "$work/lines" > "$versions"
}

# feed_lines: print the complete versions of a list of digests.
feed_lines() {
	# shellcheck disable=SC2016
	awk -v name="${set_name}_" -v slot=".$set_slot" '
		function note(role, words) {
			if ((version, role) in part) twice[version] = 1
			part[version, role] = words; known[version] = 1
		}
		length($1) != 64 || $1 !~ /^[0-9a-f]+$/ || NF != 2 { next }
		{ file = $2; sub(/^\*/, "", file); rest = substr(file, length(name) + 1); cut = index(rest, "_") }
		index(file, name) != 1 || file ~ /\// { next }
		rest ~ /^[A-Za-z0-9][A-Za-z0-9.~^-]*\.efi$/ {
			version = substr(rest, 1, length(rest) - 4); note("kernel", file " " $1); next
		}
		{ version = substr(rest, 1, cut - 1); uuid = tolower(substr(rest, cut + 1, 36)); end = substr(rest, cut + 37) }
		version !~ /^[A-Za-z0-9][A-Za-z0-9.~^-]*$/ || uuid !~ /^[0-9a-f-]+$/ || length(uuid) != 36 { next }
		end == slot || end == slot ".xz" || end == slot ".gz" { note("data", file " " $1 " " uuid) }
		{ if (!sub(/-verity/, "", end)) end = "" }
		end == slot || end == slot ".xz" || end == slot ".gz" { note("hashes", file " " $1 " " uuid) }
		END {
			for (version in known)
				if (!(version in twice) && (version, "kernel") in part && (version, "data") in part && (version, "hashes") in part)
					print version, part[version, "kernel"], part[version, "data"], part[version, "hashes"]
		}'
}

decompress() {
	case $1 in
	*.xz) xz -dc ;;
	*.gz) gzip -dc ;;
	*) cat ;;
	esac
}

# receive NAME DIGEST COMMAND...: download a file into the stdin of a command, and end the program if the file is not right.
# The digest is computed meanwhile, so a wrong file is known after it was written, and before anything uses it.
receive() {
	received=$1 expected=$2
	shift 2
	say "  $received"
	event step name="$received"
	rm -f "$work/failed" "$work/unpack.failed" "$work/write.failed" "$work/too-long" "$work/stream"
	mkfifo "$work/stream"
	sha256sum < "$work/stream" > "$work/digest" &
	{ get "$received" 2> "$work/get.output" || : > "$work/failed"; } | tee "$work/stream" 2> /dev/null |
		{ decompress "$received" 2> "$work/unpack.output" || { : > "$work/unpack.failed"; cat > /dev/null; }; } |
		{
			"$@" > "$work/write.output" 2>&1 || : > "$work/write.failed"
			# One more byte is one too many.
			[ -e "$work/write.failed" ] || [ "$(head -c 1 | wc -c)" -eq 0 ] || : > "$work/too-long"
		} || :
	wait $! || :
}

# Look at what receive did. Its order is that of causes: a full disk also ends the download.
check_received() {
	[ ! -e "$work/write.failed" ] || { cp "$work/write.output" "$work/output"; return 1; }
	[ ! -e "$work/too-long" ] || return 1
	if [ -e "$work/failed" ]; then
		cp "$work/get.output" "$work/output"
		unreachable "$received"
	fi
	found=$(cut -d ' ' -f 1 < "$work/digest")
	[ "$found" = "$expected" ] || fail UNVERIFIED "$received: SHA-256 is $found, the signed list says $expected" \
		"the file was not used; publish the feed again"
	[ ! -e "$work/unpack.failed" ] || fail UNVERIFIED "$received: cannot be decompressed ($(tail -n 1 "$work/unpack.output"))" \
		"the file was not used; publish the feed again"
}
