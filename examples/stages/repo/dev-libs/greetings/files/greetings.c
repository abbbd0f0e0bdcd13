#include "greetings.h"

const char *greeting(int hour)
{
	return hour < 5 ? "good night" : hour < 12 ? "good morning" : hour < 18 ? "good day" : "good evening";
}
