# shellcheck shell=sh
# A disk image as the source. It is written while it comes, except its first and last MiB: without its table no part of
# it can start. Both are written after its digest is known to be right.

install_image() {
	find_checksum
	target_is_there
	write_state begun
	erase_table
	mkfifo "$work/stream"
	say "  writing $answer_source"
	image_digest > "$work/actual" 9>&- &
	digest_id=$!
	at_end kill "$digest_id"
	write_image_stream
	wait "$digest_id" || :
	if [ -n "$expected" ] && [ "$(cat "$work/actual")" != "$expected" ]; then
		# What was written does not start; it is wiped where the table of the image would look for it.
		fail UNVERIFIED "source $answer_source: ${hash%sum} is $(cat "$work/actual"), not $expected" \
			"the disk has no table and does not start; --undo clears it"
	fi
	write_ends
	reread_table
}

# Print the digest of what comes through the pipe; without a known digest, read it only.
image_digest() { ${hash:-sha256sum} < "$work/stream" | cut -d ' ' -f 1; }

image_stream() {
	{
		if [ -n "$source_file" ]; then cat "$source_file"; else fetch_to_stdout "$answer_source"; fi || : > "$work/stream.failed"
	} | tee "$work/stream" | decompress || : > "$work/stream.failed"
}

write_image_stream() {
	middle=$((target_bytes - 2 * 1048576))
	image_stream | {
		dd of="$work/head" bs=1048576 count=1 iflag=fullblock 2>> "$log"
		dd of="$target_file" bs=1048576 iflag=fullblock,count_bytes count="$middle" seek=1 conv=notrunc,fsync 2> "$work/output" ||
			: > "$work/stream.failed"
		dd of="$work/tail" bs=1048576 count=1 iflag=fullblock 2>> "$log"
		# One more byte is one too many.
		[ -z "$(head -c 1 | od -An -tx1)" ] || : > "$work/stream.long"
	}
	target_is_there
	[ ! -e "$work/stream.long" ] || fail TARGET_FULL "source $answer_source: the image is larger than the $target_name" \
		"use a larger disk; --undo clears this one"
	[ ! -e "$work/stream.failed" ] || fail SOURCE "source $answer_source: was not read or written to its end" \
		"details: /run/stagewright-install.log; --resume writes it again, --undo clears the disk"
	[ "$(stat -c %s "$work/head")" = 1048576 ] || fail SOURCE "source $answer_source: is not an image of a disk (under 1 MiB)"
}

write_ends() {
	target_is_there
	[ ! -s "$work/tail" ] || run dd if="$work/tail" of="$target_file" bs=1048576 \
		oflag=seek_bytes seek=$((target_bytes - 1048576)) conv=notrunc,fsync
	note_done
	# The first sector is the last one, for firmware that looks at nothing else.
	run dd if="$work/head" of="$target_file" bs=512 skip=1 seek=1 conv=notrunc,fsync
	run dd if="$work/head" of="$target_file" bs=512 count=1 conv=notrunc,fsync
	has sfdisk && sfdisk --no-reread --quiet --relocate gpt-bak-std "$target_file" >> "$log" 2>&1 ||
		say "  the backup of the partition table stays where the image has it"
	sync
}

# A later --resume must not write over a system that was started. Images with data in the sector of the state keep it.
note_done() {
	[ -z "$(bytes_at "$work/head" $((state_sector * 512)) 512 | tr -d 0)" ] || return 0
	state_text "done" | dd of="$work/head" bs=512 seek="$state_sector" count=1 conv=notrunc,sync 2>> "$log"
}
