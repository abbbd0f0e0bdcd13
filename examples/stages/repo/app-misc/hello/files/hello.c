/* Says hello to somebody. With GUI defined, in a frame. */
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	char line[256];
	const char *who = argc > 1 ? argv[1] : "world";

	snprintf(line, sizeof line, "hello, %s, version %s", who, VERSION);
#ifdef GUI
	size_t width = strlen(line) + 4;
	for (int border = 0; border < 2; border++) {
		for (size_t i = 0; i < width; i++)
			putchar('*');
		putchar('\n');
		if (!border)
			printf("* %s *\n", line);
	}
	return 0;
#else
	return puts(line) < 0;
#endif
}
