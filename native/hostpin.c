/*
 * tunnel-hostpin MODE FINGERPRINT HOST TYPE KEY PIN...: compares FINGERPRINT with the PINs, and
 * prints a line of known_hosts or nothing.
 *
 *   only           "HOST TYPE KEY" if it is one of them: the host is known by that key
 *   revoke-others  "@revoked HOST TYPE KEY" if it is none of them: the host is not let through with
 * that key, whatever else is known about it. Not for certificates, which authorities decide about.
 *
 * As ssh's KnownHostsCommand (ssh_config(5)) it turns a fingerprint into what ssh can compare: ssh
 * runs it, without a shell, with the fingerprint that it has computed itself from the key that the
 * server has shown (%f), the name under which it looks the host up (%H), the key's type (%t) and
 * the key (%K). ssh also runs it before it knows a key, with NONE for all of these; no pin is equal
 * to that.
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
