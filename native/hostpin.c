/*
 * tunnel-hostpin MODE FINGERPRINT HOST TYPE KEY PIN...: compares FINGERPRINT with the PINs, and
 * prints one line in known_hosts format, or nothing.
 *
 *   only           prints "HOST TYPE KEY" if a PIN matches: ssh then accepts the host by that key
 *   revoke-others  prints "@revoked HOST TYPE KEY" if no PIN matches: ssh then rejects the host
 *                  with that key, whatever else it knows about the host. Not for certificates,
 *                  which are decided by authorities.
 *
 * As ssh's KnownHostsCommand (ssh_config(5)) it turns a fingerprint into a key that ssh can
 * compare. ssh runs it without a shell and passes the fingerprint that it has computed from the
 * server's key (%f), the name under which it looks up the host (%H), the key's type (%t) and the
 * key (%K). ssh also runs it before it knows a key, with NONE for all of these; no pin equals that.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { MODE = 1, FINGERPRINT, HOST, TYPE, KEY, FIRST_PIN };

static int print_line(const char *marker, char **argv) {
  int length = printf("%s%s %s %s\n", marker, argv[HOST], argv[TYPE], argv[KEY]);
  return length < 0 || fflush(stdout) != 0;
}

int main(int argc, char **argv) {
  bool only = argc > FIRST_PIN && strcmp(argv[MODE], "only") == 0;
  if (!only && (argc <= FIRST_PIN || strcmp(argv[MODE], "revoke-others") != 0)) {
    fprintf(stderr, "usage: tunnel-hostpin only|revoke-others FINGERPRINT HOST TYPE KEY PIN...\n");
    return 2;
  }
  for (int i = FIRST_PIN; i < argc; i++) {
    if (strcmp(argv[i], argv[FINGERPRINT]) == 0) return only ? print_line("", argv) : 0;
  }
  bool shown = strcmp(argv[FINGERPRINT], "NONE") != 0 && strstr(argv[TYPE], "-cert-v") == NULL;
  return !only && shown ? print_line("@revoked ", argv) : 0;
}
