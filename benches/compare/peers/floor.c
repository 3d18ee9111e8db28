/*
 * The floor: the least that a TCP relay on epoll does, to have a measure for
 * those that do more. One thread, edge-triggered, one registration for each
 * socket, no timers, no log.
 *
 *   floor ADDRESS:PORT ORIGIN:PORT      (IPv4)
 *
 * A connection has no buffer. What is read goes into one scratch buffer and is
 * written at once, without waiting for the socket to say that it has room. Only
 * what the socket does not take is kept, in memory that is the connection's
 * until it is gone. A read that does not fill the scratch buffer is not
 * followed by another one: the next edge tells of more. An end is passed on as
 * an end of that direction alone.
 */
#include "net.h"

/* Read at once, and so the most that is kept for a direction. */
#define SCRATCH (64 * 1024)
/* So often in a row one connection is served before others have their turn. */
#define CHUNKS 4
#define EVENTS 512

struct end {
  int fd;
  unsigned is_origin : 1;
  unsigned readable : 1;
  unsigned writable : 1;
  /* The peer has said that it is done; reading may not have got there yet. */
  unsigned hung : 1;
  /* All was read. */
  unsigned ended : 1;
  /* Bytes that this socket did not take, and where they begin. */
  unsigned kept_from, kept_to;
  char *kept;
};

struct pair {
  struct end ends[2];
  /* In the list of those that have more to do without waiting. */
  struct pair *next_ready;
  struct pair *next_dead;
  unsigned is_ready : 1;
  unsigned is_dead : 1;
};

static int poll_fd;
static char scratch[SCRATCH];
static struct pair *ready, *dead;

static struct pair *pair_of(struct end *end) {
  return (struct pair *)(end->is_origin ? end - 1 : end);
}

/* Later events of the same turn may still name the pair: it is freed at the
 * end of the turn. */
static void kill_pair(struct pair *pair) {
  if (pair->is_dead)
    return;
  pair->is_dead = 1;
  close(pair->ends[0].fd);
  close(pair->ends[1].fd);
  pair->next_dead = dead;
  dead = pair;
}

static void free_dead(void) {
  struct pair *listed = NULL;
  while (dead) {
    struct pair *pair = dead;
    dead = pair->next_dead;
    if (pair->is_ready) {
      /* The other list still has it. */
      pair->next_dead = listed;
      listed = pair;
      continue;
    }
    free(pair->ends[0].kept);
    free(pair->ends[1].kept);
    free(pair);
  }
  dead = listed;
}

static void be_ready(struct pair *pair) {
  if (pair->is_ready)
    return;
  pair->is_ready = 1;
  pair->next_ready = ready;
  ready = pair;
}

/* Writes what it can. -1: the connection failed. */
static long put(struct end *end, const char *bytes, size_t length) {
  ssize_t written = send(end->fd, bytes, length, MSG_NOSIGNAL);
  if (written < 0 && errno != EAGAIN)
    return -1;
  if (written < (ssize_t)length)
    end->writable = 0;
  return written < 0 ? 0 : written;
}

static int keep(struct end *end, const char *bytes, size_t length) {
  end->kept = malloc(length);
  if (!end->kept)
    return -1;
  memcpy(end->kept, bytes, length);
  end->kept_from = 0;
  end->kept_to = length;
  return 0;
}

static int put_kept(struct end *end) {
  long written = put(end, end->kept + end->kept_from, end->kept_to - end->kept_from);
  if (written < 0)
    return -1;
  end->kept_from += written;
  if (end->kept_from == end->kept_to) {
    free(end->kept);
    end->kept = NULL;
  }
  return 0;
}

static int end_of(struct end *from, struct end *to) {
  from->ended = 1;
  from->readable = 0;
  /* The second one: the pair is closed, which says the same. */
  return to->ended ? -1 : shutdown(to->fd, SHUT_WR);
}

/* Moves what is there. -1: the pair is over, well or not. */
static int relay(struct end *from, struct end *to) {
  if (to->kept && to->writable && put_kept(to) < 0)
    return -1;
  for (int chunk = 0; from->readable && to->writable && !to->kept; chunk++) {
    if (chunk == CHUNKS) {
      be_ready(pair_of(from));
      return 0;
    }
    ssize_t length = read(from->fd, scratch, SCRATCH);
    if (length < 0) {
      if (errno != EAGAIN)
        return -1;
      from->readable = 0;
      return 0;
    }
    if (length == 0)
      return end_of(from, to);
    /* After the end of the peer there will be no edge for the rest. */
    from->readable = length == SCRATCH || from->hung;
    long written = put(to, scratch, length);
    if (written < 0 || (written < length && keep(to, scratch + written, length - written) < 0))
      return -1;
  }
  return 0;
}

static void serve(struct pair *pair) {
  struct end *client = &pair->ends[0], *origin = &pair->ends[1];
  if (pair->is_dead)
    return;
  if (relay(client, origin) < 0 || relay(origin, client) < 0)
    kill_pair(pair);
}

static int watch(struct end *end) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = end};
  return epoll_ctl(poll_fd, EPOLL_CTL_ADD, end->fd, &event);
}

static void accept_all(int listener, const struct sockaddr_in *origin) {
  for (;;) {
    int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0)
      return;
    struct pair *pair = calloc(1, sizeof *pair);
    int upstream = pair ? socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
    if (upstream < 0) {
      free(pair);
      close(client);
      continue;
    }
    /* A new socket has room; a connection that is not there yet has none. */
    pair->ends[0] = (struct end){.fd = client, .writable = 1};
    pair->ends[1] = (struct end){.fd = upstream, .is_origin = 1};
    no_delay(upstream);
    if ((connect(upstream, (const struct sockaddr *)origin, sizeof *origin) < 0 && errno != EINPROGRESS) ||
        watch(&pair->ends[0]) < 0 || watch(&pair->ends[1]) < 0)
      kill_pair(pair);
  }
}

static void note(struct end *end, unsigned events) {
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR) && !end->ended)
    end->readable = 1;
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
    end->hung = 1;
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
    end->writable = 1;
}

int main(int count, char **arguments) {
  struct sockaddr_in address, origin;
  if (count != 3 || parse(arguments[1], &address) < 0 || parse(arguments[2], &origin) < 0)
    die("usage: floor ADDRESS:PORT ORIGIN:PORT");
  raise_limit();
  int listener = listen_on(&address);
  struct epoll_event events[EVENTS] = {{.events = EPOLLIN | EPOLLET, .data.ptr = NULL}};
  poll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, events) < 0)
    die("epoll");
  for (;;) {
    int found = epoll_wait(poll_fd, events, EVENTS, ready ? 0 : -1);
    if (found < 0 && errno != EINTR)
      die("epoll_wait");
    /* Those that are ready by now: what serving adds comes after events. */
    struct pair *again = ready;
    ready = NULL;
    for (int index = 0; index < found; index++) {
      struct end *end = events[index].data.ptr;
      if (!end) {
        accept_all(listener, &origin);
        continue;
      }
      note(end, events[index].events);
      serve(pair_of(end));
    }
    while (again) {
      struct pair *pair = again;
      again = pair->next_ready;
      pair->is_ready = 0;
      serve(pair);
    }
    free_dead();
  }
}
