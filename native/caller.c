#include "caller.h"

#include <pwd.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* Parses a decimal uid. (uid_t)-1 is refused: it means "no change" to the kernel. */
static bool uid_parse(const char *text, uid_t *uid) {
  uint64_t value = 0;

  if (*text == '\0') return false;
  for (; *text != '\0'; text++) {
    if (*text < '0' || *text > '9') return false;
    value = value * 10 + (uint64_t)(*text - '0');
    if (value >= UINT32_MAX) return false;
  }
  *uid = (uid_t)value;
  return true;
}

const char *caller_find(uid_t *caller) {
  const char *sudo_uid = getenv("SUDO_UID"), *doas_user = getenv("DOAS_USER");

  *caller = getuid();
  if (*caller != 0) return NULL;
  if (sudo_uid != NULL && !uid_parse(sudo_uid, caller)) return "SUDO_UID names no user";
  if (doas_user == NULL) return NULL;
  const struct passwd *entry = getpwnam(doas_user);
  if (entry == NULL) return "DOAS_USER names no user";
  if (sudo_uid != NULL && entry->pw_uid != *caller)
    return "SUDO_UID and DOAS_USER name different users";
  *caller = entry->pw_uid;
  return NULL;
}
