/*
 * rules.h - /etc/tunnel/helper.conf: who may capture what.
 *
 *   line   := [ rule ] [ "#" comment ]
 *   rule   := "permit" WHO WHAT...
 *   WHO    := user | "%" group | "*"     a name, or a number as in /etc/passwd and /etc/group
 *   WHAT   := PREFIX                     this and all inside it; what the program never captures
 *                                        (special.h) only if PREFIX lies inside it
 *           | "default"                  what is permitted without the file (permit.h)
 *           | "local"                    of all this, also connected networks and gateways
 *
 * The lines for a user add up; a user without a line may capture nothing. The file, and each
 * directory on the way to it, must be root's, not writable by others, and no symbolic link. The
 * first error in it refuses everybody, whoever the line is for: an unknown word, a prefix with host
 * bits, a user or group that doesn't exist.
 */
#ifndef TUNNEL_HELPER_RULES_H
#define TUNNEL_HELPER_RULES_H

#include "client.h"
#include "netlink.h"

#define RULES_FILE "/etc/tunnel/helper.conf"
#define RULES_MAX_BYTES 65536u
#define RULES_MAX_PREFIXES 1024u /* of one user */
#define RULES_MAX_WORDS 512u     /* in one line */
#define RULES_ERROR 96u

struct rules {
  bool usual; /* "default", or there is no file */
  bool local;
  size_t count;
  struct netlink_prefix prefixes[RULES_MAX_PREFIXES];
};

/* Reads the rules for a user. False, with the reason in `error`, if the file can't be trusted. */
bool rules_read(struct rules *rules, const struct client *client, char error[RULES_ERROR]);

/* The same with the file's text, which is changed; also for tests. */
bool rules_parse(struct rules *rules, const struct client *client, char *text, size_t length,
                 char error[RULES_ERROR]);

#endif
