/* Says hello to somebody. With SHOUT defined, loudly. */
#include <ctype.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	char line[256];
	const char *who = argc > 1 ? argv[1] : "world";

	snprintf(line, sizeof line, "hello, %s, from a program that Portage built", who);
#ifdef SHOUT
	for (char *c = line; *c; c++)
		*c = toupper((unsigned char)*c);
#endif
	return puts(line) < 0;
}
