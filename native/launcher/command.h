/* command.h - the launcher becomes the command. */
#ifndef TUNNEL_LAUNCHER_COMMAND_H
#define TUNNEL_LAUNCHER_COMMAND_H

#include "launcher/fault.h"

/*
 * Gives up all capabilities for good: executing a program can't regain any, not even as root
 * (no_new_privs). The bounding set stays: without it execve(2) refuses programs with file
 * capabilities, such as ping, instead of running them without.
 *
 * System calls that only root of the machine can use (to load kernel modules, to reboot, to set the
 * clock) fail with EPERM before the kernel's own code is reached, as they would in it. The filter
 * can't be narrower, because the command keeps it.
 */
bool command_unprivilege(struct fault *fault);

/*
 * Executes argv[0], searched in PATH, with the given soft limit on descriptors (0: the current
 * one). Returns only if that fails.
 */
void command_execute(char **argv, uint32_t descriptors, struct fault *fault);

/* The exit status that shells use for such a failure. */
int command_failure_status(const struct fault *fault);

#endif
