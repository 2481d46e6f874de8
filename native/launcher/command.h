/* command.h - the launcher becomes the command. */
#ifndef TUNNEL_LAUNCHER_COMMAND_H
#define TUNNEL_LAUNCHER_COMMAND_H

#include "launcher/fault.h"

/*
 * Gives up all capabilities for good: none is held, and none is gained by executing a program, also
 * not by root (no_new_privs). The bounding set stays: without it execve(2) refuses programs with
 * file capabilities, as ping has them, instead of running them without.
 */
bool command_unprivilege(struct fault *fault);

/*
 * Executes argv[0], searched in PATH, with the given soft limit of descriptors (0: the present
 * one). Returns only when that fails.
 */
void command_execute(char **argv, uint32_t descriptors, struct fault *fault);

/* The exit status that shells have for such a failure. */
int command_failure_status(const struct fault *fault);

#endif
