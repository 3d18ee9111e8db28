/* What both small C servers of the comparison need to begin. */
#ifndef NET_H
#define NET_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

/* ADDRESS:PORT, IPv4. */
static inline int parse(char *text, struct sockaddr_in *address) {
  char *colon = strrchr(text, ':');
  if (!colon)
    return -1;
  *colon = 0;
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(atoi(colon + 1))};
  return inet_pton(AF_INET, text, &address->sin_addr) == 1 ? 0 : -1;
}

static inline void no_delay(int fd) { setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); }

/* As many files as the system lets it have. */
static inline void raise_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

/* Accepted connections have its options: no delay is set here alone. */
static inline int listen_on(const struct sockaddr_in *address) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  no_delay(listener);
  if (bind(listener, (const struct sockaddr *)address, sizeof *address) < 0 || listen(listener, 4096) < 0)
    die("listen");
  return listener;
}

#endif
