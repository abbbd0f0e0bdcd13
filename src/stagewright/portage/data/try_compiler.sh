# Compile and run a program with the compiler, headers, linker and libc of a root. Runs inside the root.
# The last line of the output is the compiler.
set -e
compiler=
for name in "$(portageq envvar CC)" "$(portageq envvar CHOST)-gcc" "$(portageq envvar CHOST)-clang" cc; do
	[ -n "$name" ] && command -v "${name%% *}" > /dev/null || continue
	compiler=$name
	break
done
if [ -z "$compiler" ]; then
	echo "no compiler found: tried CC of make.conf, CHOST-gcc, CHOST-clang and cc"
	exit 1
fi
cd /tmp
cat > program.c <<'END'
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char **words)
{
	char *text = malloc(100);
	if (!text || count != 2)
		return 1;
	snprintf(text, 100, "%s %.3f", words[1], sqrt(atof(words[1])));
	puts(text);
	return strcmp(text, "2 1.414") != 0;
}
END
$compiler -O2 -Wall -Werror -o program program.c -lm
./program 2
echo "$compiler"
