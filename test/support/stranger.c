/**
 * stranger.c - connects to a SOCK_SEQPACKET socket as the given uid and says hello; prints the
 * result.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "helper/protocol.h"

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const struct helper_hello hello = {.header = {.magic = HELPER_MAGIC,
                                                .version = HELPER_VERSION,
                                                .type = HELPER_HELLO,
                                                .length = sizeof hello},
                                     .pid = 1};
  char byte;

  if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd < 0 || setuid((uid_t)atoi(argv[2])) < 0) return 2;
  if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
    printf("connect: %s\n", strerror(errno));
    return 1;
  }
  /* May be too late: the other side closes at once. */
  (void)!send(fd, &hello, sizeof hello, MSG_NOSIGNAL);
  printf("%s\n", recv(fd, &byte, 1, 0) <= 0 ? "closed" : "answered");
  return 0;
}
