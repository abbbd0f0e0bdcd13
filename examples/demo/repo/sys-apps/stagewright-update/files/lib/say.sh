# shellcheck shell=sh
# Messages for people and for programs, and the end of the program.
#
# People read stdout. With --json, stdout has one JSON object a line, and texts for people go to stderr.

json=no
explained= # the file that exists if an error was printed, also by a subshell
undo_stack= # commands for the end of the program, the newest first, one a line

say() { if [ "$json" = yes ]; then printf '%s\n' "$*" >&2; else printf '%s\n' "$*"; fi; }

warn() {
	event warning message="$*"
	printf 'stagewright-update: warning: %s\n' "$*" >&2
}

# event NAME PAIR...: print an object for the program that reads stdout. NAME=TEXT is a string, NAME:=VALUE a number.
event() {
	[ "$json" = yes ] || return 0
	object="\"event\": \"$1\""
	shift
	for pair; do
		event_key=${pair%%=*} event_text=${pair#*=}
		case $event_key in
		*:) object="$object, \"${event_key%:}\": $event_text" ;;
		*) object="$object, \"$event_key\": \"$(printf '%s' "$event_text" | tr '\001-\037\177' ' ' | sed 's/[\\"]/\\&/g')\"" ;;
		esac
	done
	printf '{%s}\n' "$object"
}

# fail REASON MESSAGE [HINT]: end the program. Scripts read the reason, which never changes.
fail() {
	: > "${explained:-/dev/null}"
	event error reason="$1" message="$2" hint="${3:-}"
	printf 'stagewright-update: error: %s\n' "$2" >&2
	[ -z "${3:-}" ] || printf '  hint: %s\n' "$3" >&2
	case $1 in
	USAGE | SETTINGS) exit 2 ;;
	UNVERIFIED) exit 3 ;;
	*) exit 1 ;;
	esac
}

# run COMMAND...: run a command that changes something, or end the program with its last words.
run() {
	"$@" > "$work/output" 2>&1 || fail COMMAND_FAILED "$1: exit code $? ($(last_words))" \
		"the running version is unchanged; correct the cause, and run the update again"
}

last_words() { tail -n 3 "$work/output" 2> /dev/null | tr '\n' ' ' | sed 's/ $//'; }

# at_end COMMAND...: run a command when the program ends, also after an error or a signal.
at_end() {
	undo_stack="$*
$undo_stack"
}

end_now() {
	todo=$undo_stack
	undo_stack=
	while [ -n "$todo" ]; do
		one=${todo%%
*}
		todo=${todo#*
}
		# The words were written by at_end: paths of this program without blanks.
		# shellcheck disable=SC2086
		$one > /dev/null 2>&1 || :
	done
}

has() { command -v "$1" > /dev/null 2>&1; }

# need_programs NAME=PACKAGE...: end the program if one of them is not installed.
need_programs() {
	absent=
	for pair; do has "${pair%%=*}" || absent="$absent, ${pair%%=*} (${pair#*=})"; done
	[ -z "$absent" ] || fail MISSING "programs are not installed: ${absent#, }" "install the packages in parentheses"
}

# path_of NAME: print the path of a program. A shell that is busybox would run its own one first.
path_of() {
	for folder in $(echo "$PATH" | tr : ' '); do
		[ ! -x "$folder/$1" ] || { echo "$folder/$1"; return; }
	done
	echo "$1"
}
