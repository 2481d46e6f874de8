/* words.h - the command and its environment, byte for byte. */
#ifndef TUNNEL_LAUNCHER_WORDS_H
#define TUNNEL_LAUNCHER_WORDS_H

#include <stddef.h>

#include "launcher/fault.h"

/*
 * Arguments and environment are bytes, file names in Latin-1 among them; what Node hands over is
 * text, in which each byte that isn't UTF-8 has become U+FFFD. The program's own are as they were:
 * takes the last `count` words of the parent's command line in place of those in `words`, and its
 * environment in place of ours. To be called in the parent's user namespace.
 */
bool words_take_verbatim(int count, char **words, struct fault *fault);

/*
 * Changes the environment as these words say, each with a NUL behind it: "NAME=VALUE" sets, "NAME"
 * removes. They stay in use. False when the last one doesn't end.
 */
bool words_change_environment(char *words, size_t length, struct fault *fault);

#endif
