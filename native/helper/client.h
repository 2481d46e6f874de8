/* client.h - the user that the helper works for. */
#ifndef TUNNEL_HELPER_CLIENT_H
#define TUNNEL_HELPER_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Groups beyond these are left out: they give no access, and no line of the rules is for them. */
#define CLIENT_MAX_GROUPS 512
/* Octets of a user's name. One who has a longer name is in no group, and no rule is for them. */
#define CLIENT_MAX_NAME 63u

struct client {
  uid_t uid;
  gid_t gid;
  bool passed; /* systemd has passed the connection on */
  char name[CLIENT_MAX_NAME + 1]; /* empty: not in the user database, or too long */
  bool has_longer_name;
  int group_count;
  bool has_more_groups;
  gid_t groups[CLIENT_MAX_GROUPS];
};

/*
 * Whether the user is one of the machine's administrators: in the group sudo, wheel or admin, as
 * the distributions' sudoers and polkit have it.
 */
bool client_is_administrator(const struct client *client);

bool client_in_group(const struct client *client, gid_t gid);

/* Looks the user up in the user database. A user who isn't there is in no group. */
void client_find(struct client *client, uid_t uid);

/*
 * Between these two, files are opened with the user's rights, not with root's. Signals are not
 * affected: the user can't send any (setfsuid(2)). Returns 0 or a negative errno.
 */
int client_rights_take(const struct client *client);
int client_rights_end(void);

#endif
