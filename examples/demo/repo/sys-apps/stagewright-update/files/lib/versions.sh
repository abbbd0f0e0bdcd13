# shellcheck shell=sh
# The order of versions, by the rules of the UAPI Group's Version Format Specification (UAPI.10), as systemd has them.

# compare(a, b) in awk: -1, 0 or 1. "x" makes awk compare strings, not numbers.
# shellcheck disable=SC2016
compare_awk='
function sign(a, b) { return (a < b) ? -1 : (a > b) }
function head(text, set,   n) { n = match(text, "^[" set "]+") ? RLENGTH : 0; return substr(text, 1, n) }
function compare(a, b,   i, c, x, y, r) {
	for (;;) {
		sub(/^[^A-Za-z0-9~.^-]+/, "", a); sub(/^[^A-Za-z0-9~.^-]+/, "", b)
		for (i = 1; i <= 4; i++) {
			c = substr("~-^.", i, 1)
			if (i == 2 && (a == "" || b == "")) return sign(a != "", b != "")
			x = substr(a, 1, 1) == c; y = substr(b, 1, 1) == c
			if (x || y) {
				if (x != y) return x ? -1 : 1
				a = substr(a, 2); b = substr(b, 2)
			}
		}
		if (a ~ /^[0-9]/ || b ~ /^[0-9]/) {
			x = head(a, "0-9"); y = head(b, "0-9")
			a = substr(a, length(x) + 1); b = substr(b, length(y) + 1)
			if ((r = sign(x != "", y != ""))) return r
			sub(/^0+/, "", x); sub(/^0+/, "", y)
			if ((r = sign(length(x), length(y)))) return r
		} else {
			x = head(a, "A-Za-z"); y = head(b, "A-Za-z")
			a = substr(a, length(x) + 1); b = substr(b, length(y) + 1)
		}
		if ((r = sign("x" x, "x" y))) return r
	}
}
'

# compare_versions A B: print <, = or >.
compare_versions() {
	# Values by ENVIRON: awk changes backslashes in those of -v.
	# shellcheck disable=SC2016
	A=$1 B=$2 awk "$compare_awk"'BEGIN { print substr("<=>", compare(ENVIRON["A"] "", ENVIRON["B"] "") + 2, 1) }'
}

# is_newer A B: true if A is a higher version than B.
is_newer() { [ "$(compare_versions "$1" "$2")" = ">" ]; }

# newest_first: sort lines by the version in their first word, the highest first.
newest_first() {
	# shellcheck disable=SC2016
	awk "$compare_awk"'
		{ for (i = ++n; i > 1 && compare(version[i - 1], $1 "") < 0; i--) { line[i] = line[i - 1]; version[i] = version[i - 1] }
		  line[i] = $0; version[i] = $1 "" }
		END { for (i = 1; i <= n; i++) print line[i] }'
}
