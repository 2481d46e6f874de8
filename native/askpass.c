/*
 * tunnel-askpass QUESTION: the SSH_ASKPASS of an ssh whose user is not at its terminal. It passes
 * the question on to the program over the Unix socket that TUNNEL_ASKPASS names, and prints the
 * answer (src/ssh/openssh/askpass.ts).
 *
 *   to the program     what SSH_ASKPASS_PROMPT says, NUL, the question, NUL
 *   from the program   '+' and the answer, end; anything else: there is none
 *
 * This side doesn't shut its half down: an end that the program sees means that this process has
 * gone. The exit status is 0 with an answer and 1 without, as ssh expects it (ssh(1)). Nothing
 * waits for a time: ssh ends this process, and the program closes the socket.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_ANSWER = 4096 };

/* With its NUL, which no argument and no variable contains. */
static int send_text(int fd, const char *text) {
  for (size_t left = strlen(text) + 1; left > 0;) {
    const ssize_t sent = send(fd, text, left, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return -1;
    text += sent;
    left -= (size_t)sent;
  }
  return 0;
}

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const char *path = getenv("TUNNEL_ASKPASS");
  const char *hint = getenv("SSH_ASKPASS_PROMPT");
  char answer[MAX_ANSWER];
  size_t length = 0;

  if (argc != 2 || path == NULL || strlen(path) >= sizeof address.sun_path) {
    fprintf(stderr, "usage: TUNNEL_ASKPASS=SOCKET tunnel-askpass QUESTION\n");
    return 2;
  }
  /* The answer is a secret: no other process of this user may read it here, and no core has it. */
  (void)prctl(PR_SET_DUMPABLE, 0);
  memcpy(address.sun_path, path, strlen(path) + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) return 1;
  if (send_text(fd, hint == NULL ? "" : hint) < 0 || send_text(fd, argv[1]) < 0) return 1;
  for (ssize_t received; length < sizeof answer; length += (size_t)received) {
    received = recv(fd, answer + length, sizeof answer - length, 0);
    if (received < 0 && errno == EINTR) received = 0;
    else if (received <= 0) break;
  }
  if (length == 0 || length == sizeof answer || answer[0] != '+') return 1;
  answer[length] = '\n';
  return fwrite(answer + 1, 1, length, stdout) == length && fflush(stdout) == 0 ? 0 : 1;
}
