/*
 * The server: listens on one port of all addresses and does with each connection what its first
 * byte asks for (enum manner). It closes connections that their peer ends or resets, and an echo
 * whose peer doesn't read.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define BACKLOG 4096

struct peer {
  int fd;
  char manner;   /* 0: not known yet */
  uint64_t left; /* to be sent */
};

static int set;

static void forget(struct peer *peer) {
  close(peer->fd);
  free(peer);
}

static void admit(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EAGAIN || errno == ECONNABORTED) return;
      die("accept");
    }
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct peer *peer = calloc(1, sizeof *peer);
    if (peer == NULL) die("calloc");
    peer->fd = fd;
    watch(set, fd, EPOLLIN, peer, false);
  }
}

/* False: the connection is over. */
static bool take(struct peer *peer) {
  ssize_t length = recv(peer->fd, block, sizeof block, 0);
  if (length < 0) return errno == EAGAIN;
  if (length == 0) return false;
  const uint8_t *data = block;
  size_t left = (size_t)length;
  if (peer->manner == 0) {
    peer->manner = (char)*data++;
    left--;
    if (peer->manner == SOURCE || peer->manner == POLITE)
      watch(set, peer->fd, EPOLLIN | EPOLLOUT, peer, true);
    peer->left = UINT64_MAX;
    if (peer->manner == PORTION) {
      /* Our client sends all of it in one write, which arrives as one; anything else isn't ours. */
      if (left < sizeof peer->left) return false;
      memcpy(&peer->left, data, sizeof peer->left);
      watch(set, peer->fd, EPOLLIN | EPOLLOUT, peer, true);
      return true;
    }
  }
  received += left;
  if (peer->manner != ECHO || left == 0) return true;
  return send(peer->fd, data, left, MSG_NOSIGNAL) == (ssize_t)left;
}

_Noreturn void serve(uint16_t port) {
  int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int on = 1;
  struct sockaddr_in6 any = {
      .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
  if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
      bind(listener, (struct sockaddr *)&any, sizeof any) < 0 || listen(listener, BACKLOG) < 0)
    die("listen");
  set = epoll_create1(EPOLL_CLOEXEC);
  watch(set, listener, EPOLLIN, &listener, false);
  watch(set, STDIN_FILENO, EPOLLIN, NULL, false);
  puts("listening");
  fflush(stdout);
  for (;;) {
    struct epoll_event events[EVENTS_A_TURN];
    int count = epoll_wait(set, events, EVENTS_A_TURN, -1);
    for (int i = 0; i < count; i++) {
      void *tag = events[i].data.ptr;
      if (tag == NULL) {
        answer_input();
      } else if (tag == &listener) {
        admit(listener);
      } else {
        struct peer *peer = tag;
        bool alive = (events[i].events & (EPOLLERR | EPOLLHUP)) == 0;
        if (alive && events[i].events & EPOLLIN) alive = take(peer);
        if (alive && events[i].events & EPOLLOUT)
          alive = pour(peer->fd, (enum manner)peer->manner, &peer->left);
        if (alive && events[i].events & EPOLLOUT && peer->left == 0)
          watch(set, peer->fd, EPOLLIN, peer, true);
        if (!alive) forget(peer);
      }
    }
  }
}
