/*
 * tunnel-hostpin FINGERPRINT HOST TYPE KEY PIN...: prints the known_hosts line "HOST TYPE KEY" if FINGERPRINT is one of the
 * PINs, and nothing otherwise.
 *
 * As ssh's KnownHostsCommand (ssh_config(5)) it turns the pin of a fingerprint into what ssh can compare: ssh runs
 * it, without a shell, with the fingerprint that it has computed itself from the key that the server has shown (%f), the name
 * under which it looks the host up (%H), the key's type (%t) and the key (%K). ssh also runs it before it knows a key, with NONE
 * for all of these; no pin is equal to that.
 */
#include <stdio.h>
#include <string.h>

enum { FINGERPRINT = 1, HOST, TYPE, KEY, FIRST_PIN };

int main(int argc, char **argv) {
  if (argc <= FIRST_PIN) {
    fprintf(stderr, "usage: tunnel-hostpin FINGERPRINT HOST TYPE KEY PIN...\n");
    return 2;
  }
  for (int i = FIRST_PIN; i < argc; i++) {
    if (strcmp(argv[i], argv[FINGERPRINT]) != 0) continue;
    return printf("%s %s %s\n", argv[HOST], argv[TYPE], argv[KEY]) < 0 || fflush(stdout) != 0;
  }
  return 0;
}
