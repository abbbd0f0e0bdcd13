# shellcheck shell=sh
# Sizes, digests and identifiers.

# bytes_of TEXT: print the bytes of 512, 8G (binary) or 8GB (decimal). Fails if TEXT is not a size.
bytes_of() {
	number=${1%%[!0-9]*}
	[ -n "$number" ] && [ "${#number}" -le 19 ] || return 1
	while [ "${number#0}" != "$number" ] && [ "$number" != 0 ]; do number=${number#0}; done
	case ${1#"${1%%[!0-9]*}"} in
	'' | B) factor=1 ;;
	K | KiB) factor=1024 ;;
	M | MiB) factor=$((1024 * 1024)) ;;
	G | GiB) factor=$((1024 * 1024 * 1024)) ;;
	T | TiB) factor=$((1024 * 1024 * 1024 * 1024)) ;;
	KB) factor=1000 ;;
	MB) factor=1000000 ;;
	GB) factor=1000000000 ;;
	TB) factor=1000000000000 ;;
	*) return 1 ;;
	esac
	[ "$number" -le $((9223372036854775807 / factor)) ] || return 1
	echo $((number * factor))
}

# human BYTES: print a size for people, such as 8.0 GiB.
human() {
	if [ "$1" -ge 1099511627776 ]; then unit=TiB tenths=$(($1 / 109951162777))
	elif [ "$1" -ge 1073741824 ]; then unit=GiB tenths=$(($1 / 107374182))
	else unit=MiB tenths=$(($1 * 10 / 1048576)); fi
	echo "$((tenths / 10)).$((tenths % 10)) $unit"
}

# same_size BYTES TEXT: true if a disk has the size of an answer. A size with a unit may be rounded by 1 %.
same_size() {
	wanted=$(bytes_of "$2") || return 1
	case $2 in
	*[!0-9]*)
		difference=$(($1 - wanted))
		[ "${difference#-}" -le $((wanted / 100)) ] ;;
	*) [ "$1" -eq "$wanted" ] ;;
	esac
}

digest_of() { sha256sum | cut -d ' ' -f 1; }

# uuid_of TEXT: print the UUID that belongs to a text. A repeated step makes the same identifiers.
uuid_of() {
	printf '%s' "$1" | digest_of | sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-a\4-\5/'
}

# variable_of KEY: set variable to the name of the variable with the answer.
variable_of() {
	variable=answer_$1
	while :; do
		case $variable in
		*-*) variable=${variable%%-*}_${variable#*-} ;;
		*) return ;;
		esac
	done
}

# in_list WORD WORDS: true if the words have the word.
in_list() {
	case " $2 " in *" $1 "*) return 0 ;; esac
	return 1
}

# Read text of hardware from stdin: printable characters without blanks at the ends.
clean() { tr -cd '\040-\176' | sed -e 's/^ *//' -e 's/ *$//'; }

# bytes_at FILE OFFSET COUNT: print bytes in hexadecimal.
bytes_at() {
	dd if="$1" bs=512 iflag=skip_bytes,count_bytes,fullblock skip="$2" count="$3" 2> /dev/null | od -An -v -tx1 | tr -d ' \n'
}

# text_at FILE OFFSET COUNT: print the printable bytes.
text_at() {
	dd if="$1" bs=512 iflag=skip_bytes,count_bytes,fullblock skip="$2" count="$3" 2> /dev/null | clean
}
