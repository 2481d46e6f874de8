/*
 * rules_fuzzer.c - the text of /etc/tunnel/helper.conf. Users and groups come from a small
 * database.
 *
 * Input: two octets for the user, then the text.
 */
#include <grp.h>
#include <pwd.h>

#include "fuzz/check.h"
#include "fuzz/input.h"

static struct group *find_group(const char *name);
static struct passwd *find_user(const char *name);
#define getgrnam find_group
#define getpwnam find_user
#include "helper/rules.c"
#undef getgrnam
#undef getpwnam

static struct group *find_group(const char *name) {
  static struct group group = {.gr_gid = 27};
  return strcmp(name, "wheel") == 0 ? &group : NULL;
}

static struct passwd *find_user(const char *name) {
  static struct passwd user = {.pw_uid = 1000};
  return strcmp(name, "ada") == 0 ? &user : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct rules rules;
  struct input input = {.at = data, .left = size};
  struct client client = {.uid = input_u8(&input) % 2 == 0 ? 1000 : 1001, .gid = 100};
  char error[RULES_ERROR];

  client.group_count = 1;
  client.groups[0] = input_u8(&input) % 2 == 0 ? 27 : 28;
  const size_t length = input.left < RULES_MAX_BYTES ? input.left : RULES_MAX_BYTES;
  char *text = malloc(length + 1); /* its end is seen by AddressSanitizer */
  CHECK(text != NULL);
  (void)input_take(&input, text, length);
  text[length] = '\0';
  const bool good = rules_parse(&rules, &client, text, length, error);
  if (!good) CHECK(strnlen(error, sizeof error) < sizeof error);
  CHECK(rules.count <= RULES_MAX_PREFIXES);
  for (size_t i = 0; good && i < rules.count; i++) {
    const struct netlink_prefix *prefix = &rules.prefixes[i];
    const struct netlink_prefix network = netlink_prefix_shortened(prefix, prefix->length);
    CHECK(prefix->family == 4 || prefix->family == 6);
    CHECK(prefix->length <= (prefix->family == 4 ? 32 : 128));
    CHECK(netlink_prefix_equal(prefix, &network));
  }
  free(text);
  return 0;
}
