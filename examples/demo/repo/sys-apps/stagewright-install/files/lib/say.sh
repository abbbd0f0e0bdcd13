# shellcheck shell=sh
# Messages for people and for programs, the log, and the end of the program.
#
# People read stdout. With --json, stdout has one JSON object a line, and texts for people go to stderr.

json=no
log=/dev/null
explained= # the file that exists if an error was printed, also by a subshell
undo_stack= # commands for the end of the program, the newest first, one a line

say() {
	printf '%s\n' "$*" >> "$log"
	if [ "$json" = yes ]; then printf '%s\n' "$*" >&2; else printf '%s\n' "$*"; fi
}

warn() {
	event warning message="$*"
	printf 'stagewright-install: warning: %s\n' "$*" | tee -a "$log" >&2
}

# Print a string of JSON. Control characters become spaces.
json_string() {
	printf '"%s"' "$(printf '%s' "$1" | tr '\001-\037\177' ' ' | sed 's/[\\"]/\\&/g')"
}

# Print an object: NAME=TEXT is a string, NAME:=VALUE is a number or another JSON value.
json_object() {
	object=
	for pair; do
		case $pair in
		*:=*) case ${pair%%:=*} in
			*[!a-z_]*) value=$(json_string "${pair#*=}") name=${pair%%=*} ;;
			*) value=${pair#*:=} name=${pair%%:=*} ;;
			esac ;;
		*) value=$(json_string "${pair#*=}") name=${pair%%=*} ;;
		esac
		object="$object${object:+, }\"$name\": $value"
	done
	printf '{%s}\n' "$object"
}

# event NAME PAIR...: report to the program that reads stdout.
event() {
	[ "$json" = yes ] || return 0
	event_name=$1
	shift
	json_object event="$event_name" "$@"
}

# fail REASON MESSAGE [HINT]: end the program. Scripts read the reason, which never changes.
fail() {
	: > "${explained:-/dev/null}"
	event error reason="$1" message="$2" hint="${3:-}"
	printf 'stagewright-install: error: %s\n' "$2" | tee -a "$log" >&2
	[ -z "${3:-}" ] || printf '  hint: %s\n' "$3" | tee -a "$log" >&2
	case $1 in
	USAGE | ANSWERS | LAYOUT) exit 2 ;;
	REFUSED) exit 3 ;;
	*) exit 1 ;;
	esac
}

# explain_end CODE: say that the program ended by a command whose failure it does not know.
explain_end() {
	event error reason=COMMAND_FAILED message="ended with exit code $1" hint=""
	printf 'stagewright-install: error: a command failed, and the program ended with exit code %s\n' "$1" | tee -a "$log" >&2
	printf '  hint: sh -x /usr/bin/stagewright-install ... shows the command\n' >&2
}

# run COMMAND...: run a command that changes something. Its output goes to the log.
run() {
	printf '+ %s\n' "$*" >> "$log"
	: > "$work/output"
	"$@" > "$work/output" 2>&1 || {
		code=$?
		cat "$work/output" >> "$log"
		explain_failure "$code" "$1"
	}
	cat "$work/output" >> "$log"
}

# End the program after a failed command, with the cause if it is known.
explain_failure() {
	target_is_there
	last=$(tail -n 3 "$work/output" | tr '\n' ' ')
	! target_is_full || fail TARGET_FULL "$2: the target is full ($last)" \
		"use a larger disk, or a layout with a larger root; then --resume, or --undo to clear the disk"
	fail COMMAND_FAILED "$2: failed with exit code $1 ($last)" "details: /run/stagewright-install.log; then --resume or --undo"
}

# True if the last command said so, or if a mounted file system of the target has no room: tar says something else about
# a block that was written in part.
target_is_full() {
	grep -q "No space left" "$work/output" ||
		df -Pk 2> /dev/null | awk -v target="$work/target" 'index($6, target) == 1 && $4 < 64 { found = 1 } END { exit !found }'
}

# at_end COMMAND...: run a command when the program ends, also after an error or a signal.
at_end() {
	undo_stack="$*
$undo_stack"
}

# Run the commands of at_end now.
end_now() {
	todo=$undo_stack
	undo_stack=
	while [ -n "$todo" ]; do
		one=${todo%%
*}
		todo=${todo#*
}
		printf '+ %s\n' "$one" >> "$log"
		# The words were written by at_end: paths of this program without blanks.
		# shellcheck disable=SC2086
		$one >> "$log" 2>&1 || :
	done
}

has() { command -v "$1" > /dev/null 2>&1; }

# path_of NAME: print the path of a program. A shell that is busybox would run its own one first.
path_of() {
	for folder in $(echo "$PATH" | tr : ' '); do
		[ ! -x "$folder/$1" ] || { echo "$folder/$1"; return; }
	done
	echo "$1"
}

# Unmount, again for as long as a process that just ended keeps the file system busy.
unmount() {
	tries=0
	until umount "$1"; do
		tries=$((tries + 1))
		[ "$tries" -lt 50 ] || return 1
		sleep 0.2
	done
}
