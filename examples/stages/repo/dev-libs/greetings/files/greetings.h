#ifndef GREETINGS_H
#define GREETINGS_H

/* A greeting for the hour of a day, 0 to 23. */
const char *greeting(int hour);

#endif
