#include "client.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/fsuid.h>
#include <unistd.h>

#define NO_GROUP ((gid_t)65534)

void client_find(struct client *client, uid_t uid) {
  *client = (struct client){.uid = uid, .gid = NO_GROUP};
  if (uid == 0) client->gid = 0;
  const struct passwd *entry = getpwuid(uid);
  if (entry == NULL) return;
  client->gid = entry->pw_gid;
  client->has_longer_name = strlen(entry->pw_name) > CLIENT_MAX_NAME;
  if (client->has_longer_name) return;
  strcpy(client->name, entry->pw_name);
  client->group_count = CLIENT_MAX_GROUPS;
  if (getgrouplist(client->name, client->gid, client->groups, &client->group_count) < 0) {
    client->group_count = CLIENT_MAX_GROUPS;
    client->has_more_groups = true;
  }
}

bool client_in_group(const struct client *client, gid_t gid) {
  if (client->gid == gid && client->name[0] != '\0') return true;
  for (int i = 0; i < client->group_count; i++)
    if (client->groups[i] == gid) return true;
  return false;
}

bool client_is_administrator(const struct client *client) {
  static const char *const names[] = {"sudo", "wheel", "admin"};

  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const struct group *group = getgrnam(names[i]);
    if (group != NULL && client_in_group(client, group->gr_gid)) return true;
  }
  return false;
}

/* The two calls don't report errors; a second one tells what holds. */
static int become(uid_t uid, gid_t gid) {
  (void)setfsgid(gid);
  (void)setfsuid(uid);
  if ((gid_t)setfsgid((gid_t)-1) != gid || (uid_t)setfsuid((uid_t)-1) != uid) return -EPERM;
  return 0;
}

int client_rights_take(const struct client *client) {
  if (client->uid == 0) return 0;
  if (setgroups((size_t)client->group_count, client->groups) < 0) return -errno;
  return become(client->uid, client->gid);
}

int client_rights_end(void) { return become(geteuid(), getegid()); }
