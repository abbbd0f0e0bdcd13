/* Greets according to the hour, or to the one given. */
#include <greetings.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv)
{
	time_t now = time(NULL);
	int hour = argc > 1 ? atoi(argv[1]) : localtime(&now)->tm_hour;

#ifdef COLOUR
	printf("\033[32m%s\033[0m\n", greeting(hour));
#else
	puts(greeting(hour));
#endif
	return 0;
}
