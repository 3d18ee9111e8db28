/*
 * The least that an echo server on epoll does: one thread, edge-triggered, one
 * registration for each socket, one scratch buffer for all.
 *
 *   echo ADDRESS:PORT                   (IPv4)
 *
 * A client that does not read what it gets back is not read from until its
 * socket has room again; what was read by then is kept for it.
 */
#include "net.h"

#define SCRATCH (64 * 1024)
#define EVENTS 512

struct client {
  int fd;
  unsigned kept_from, kept_to;
  char *kept;
};

static char scratch[SCRATCH];

/* -1: the connection is over. */
static int put_kept(struct client *client) {
  ssize_t written =
      send(client->fd, client->kept + client->kept_from, client->kept_to - client->kept_from, MSG_NOSIGNAL);
  if (written < 0)
    return errno == EAGAIN ? 0 : -1;
  client->kept_from += written;
  if (client->kept_from == client->kept_to) {
    free(client->kept);
    client->kept = NULL;
  }
  return 0;
}

/* -1: the connection is over. */
static int serve(struct client *client, unsigned events) {
  if (client->kept && put_kept(client) < 0)
    return -1;
  while (!client->kept) {
    ssize_t length = read(client->fd, scratch, SCRATCH);
    if (length <= 0)
      return length < 0 && errno == EAGAIN ? 0 : -1;
    ssize_t written = send(client->fd, scratch, length, MSG_NOSIGNAL);
    if (written < 0 && errno != EAGAIN)
      return -1;
    if (written < 0)
      written = 0;
    if (written < length) {
      client->kept = malloc(length - written);
      if (!client->kept)
        return -1;
      memcpy(client->kept, scratch + written, length - written);
      client->kept_from = 0;
      client->kept_to = length - written;
    } else if (length < SCRATCH && !(events & EPOLLRDHUP)) {
      /* A short read: the next edge tells of more. */
      return 0;
    }
  }
  return 0;
}

static void accept_all(int poll_fd, int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
      return;
    struct client *client = calloc(1, sizeof *client);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = client};
    if (!client || epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
      free(client);
      close(fd);
      continue;
    }
    client->fd = fd;
  }
}

int main(int count, char **arguments) {
  struct sockaddr_in address;
  if (count != 2 || parse(arguments[1], &address) < 0)
    die("usage: echo ADDRESS:PORT");
  raise_limit();
  int listener = listen_on(&address);
  struct epoll_event events[EVENTS] = {{.events = EPOLLIN | EPOLLET, .data.ptr = NULL}};
  int poll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, events) < 0)
    die("epoll");
  for (;;) {
    int found = epoll_wait(poll_fd, events, EVENTS, -1);
    if (found < 0 && errno != EINTR)
      die("epoll_wait");
    for (int index = 0; index < found; index++) {
      struct client *client = events[index].data.ptr;
      if (!client) {
        accept_all(poll_fd, listener);
      } else if (serve(client, events[index].events) < 0) {
        close(client->fd);
        free(client->kept);
        free(client);
      }
    }
  }
}
