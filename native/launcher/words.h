/* words.h - the command and its environment, byte for byte. */
#ifndef TUNNEL_LAUNCHER_WORDS_H
#define TUNNEL_LAUNCHER_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "launcher/fault.h"

/*
 * Arguments and environment are bytes, for example file names in Latin-1. Node passes them on as
 * text, in which each byte that isn't UTF-8 has become U+FFFD. But the program's own are unchanged.
 * So this replaces `words` with the last `count` words of the parent's command line, and our
 * environment with the parent's. `give_back`: the variables that ./tunnel has set aside from Node
 * get their names back. Call it in the parent's user namespace.
 */
bool words_take_verbatim(int count, char **words, bool give_back, struct fault *fault);

/*
 * Changes the environment: "NAME=VALUE" sets, "NAME" removes; each word ends in a NUL. The memory
 * stays in use. False if the last word has no NUL, or a change fails.
 */
bool words_change_environment(char *words, size_t length, struct fault *fault);

#endif
