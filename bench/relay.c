// relay: the floor under any broker. It answers CONNECT and SUBSCRIBE (MQTT 3.1.1 and 5), then copies every byte of
// every publisher to every subscriber. No parsing, no routing, no limits: what a broker reaches against it is its
// distance from what sockets alone allow. One thread, epoll.   cc -O2 -o relay relay.c && ./relay 17883
// With several publishers it cuts what it copies at packet ends, else their packets would be torn apart.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ = 64 * 1024, KEEP = 64 * 1024, EVENTS = 256 };

typedef struct Client {
  int fd, version;
  bool greeted, publishes, subscribes;
  uint8_t *out, *kept;           // bytes the socket did not take; the beginning of a packet
  size_t from, to, room, kept_length;
  struct Client *next, *before;  // in the list of subscribers
} Client;

static Client *subscribers;
static int publishers;
static uint8_t inbox[KEEP + READ];

static void flush(Client *c) {
  while (c->from < c->to) {
    ssize_t n = send(c->fd, c->out + c->from, c->to - c->from, MSG_NOSIGNAL);
    if (n <= 0) return;
    c->from += (size_t)n;
  }
  c->from = c->to = 0;
}

static void put(Client *c, const uint8_t *bytes, size_t n) {
  if (c->from == c->to) {
    ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (sent > 0) bytes += sent, n -= (size_t)sent;
    if (n == 0) return;
  }
  if (c->to + n > c->room) {
    memmove(c->out, c->out + c->from, c->to - c->from);
    c->to -= c->from;
    c->from = 0;
    while (c->to + n > c->room) c->room = c->room ? c->room * 2 : 65536;
    c->out = realloc(c->out, c->room);
    if (!c->out) exit(1);
  }
  memcpy(c->out + c->to, bytes, n);
  c->to += n;
}

// Length of the whole MQTT packet at p, or 0 while it is incomplete.
static size_t packet_length(const uint8_t *p, size_t n) {
  size_t length = 0;
  for (size_t i = 1; i < 5 && i < n; i++) {
    length |= (size_t)(p[i] & 127) << 7 * (i - 1);
    if (!(p[i] & 128)) return n >= i + 1 + length ? i + 1 + length : 0;
  }
  return 0;
}

// Answers the control packets at the start of a connection. Returns how many bytes they took.
static size_t answer(Client *c, const uint8_t *p, size_t n) {
  size_t used = 0, length;
  while (!c->publishes && (length = packet_length(p + used, n - used)) > 0) {
    const uint8_t *q = p + used;
    if (q[0] == 0x10) {
      c->greeted = true;
      c->version = q[8];
      put(c, (const uint8_t *)(c->version == 5 ? "\x20\3\0\0\0" : "\x20\2\0\0"), c->version == 5 ? 5 : 4);
    } else if (q[0] == 0x82) {
      uint8_t five[6] = {0x90, 4, q[2], q[3], 0, 0}, four[5] = {0x90, 3, q[2], q[3], 0};
      put(c, c->version == 5 ? five : four, c->version == 5 ? sizeof five : sizeof four);
      if (!c->subscribes) {
        c->next = subscribers;
        if (subscribers) subscribers->before = c;
        subscribers = c;
      }
      c->subscribes = true;
    } else {
      c->publishes = true;
      publishers++;
      break;
    }
    used += length;
  }
  return used;
}

static void copy(Client *c, uint8_t *p, size_t n) {
  size_t whole = n;
  if (publishers > 1) {
    size_t length;
    for (whole = 0; (length = packet_length(p + whole, n - whole)) > 0;) whole += length;
  }
  for (Client *s = subscribers; s && whole; s = s->next) put(s, p, whole);
  c->kept_length = n - whole;
  if (c->kept_length > KEEP) exit(1);
  if (c->kept_length && !c->kept) c->kept = malloc(KEEP);
  if (c->kept_length) memcpy(c->kept, p + whole, c->kept_length);
}

static void gone(Client *c) {
  if (c->subscribes) {
    if (c->before) c->before->next = c->next;
    else subscribers = c->next;
    if (c->next) c->next->before = c->before;
  }
  if (c->publishes) publishers--;
  close(c->fd);
  free(c->out);
  free(c->kept);
  free(c);
}

static void readable(Client *c) {
  for (;;) {
    size_t kept = c->kept_length;
    ssize_t r = recv(c->fd, inbox + kept, READ, 0);
    if (r < 0 && errno == EAGAIN) return;
    if (r <= 0) {
      gone(c);
      return;
    }
    if (kept) memcpy(inbox, c->kept, kept);
    c->kept_length = 0;
    size_t n = kept + (size_t)r, used = c->publishes ? 0 : answer(c, inbox, n);
    if (c->publishes) copy(c, inbox + used, n - used);
  }
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(argc > 1 ? atoi(argv[1]) : 17883))};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 4096)) {
    perror("relay: bind");
    return 2;
  }
  int epoll = epoll_create1(0);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
  epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
  for (;;) {
    int n = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      Client *c = events[i].data.ptr;
      if (!c) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd < 0 || !(c = calloc(1, sizeof *c))) continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->fd = fd;
        e = (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
        continue;
      }
      if (events[i].events & EPOLLOUT) flush(c);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
    }
  }
}
