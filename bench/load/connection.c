// connection.c: sockets, buffers and WebSocket frames. Knows no protocol: it hands whole reads to protocol_parse
// and sends what was put. An idle connection owns no buffer, so that 15 000 of them cost the generator little.
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 256 * 1024, REST_MAX = 512 * 1024 };
static uint8_t inbox[REST_MAX + READ_SIZE];

void connection_open(Connection *c, int epoll) {
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) fail("no socket: %s; raise the descriptor limit (ulimit -n)", strerror(errno));
  int one = 1, small = 65536;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  // One that never reads gets a small receive buffer, so that the broker meets the full socket at once.
  if (c->role == STALLED) setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  int port = c->role == PUBLISHER ? opt.port : opt.subscriber_port;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  c->stage = CONNECTING;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
    fail("connect to port %d: %s", port, strerror(errno));
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e)) fail("epoll: %s", strerror(errno));
}

static void closed(Connection *c) {
  close(c->fd);
  c->stage = CLOSED;
  was_closed(c);
}

void connection_flush(Connection *c) {
  if (c->stage == CONNECTING || c->stage == CLOSED) return;
  while (c->out_from < c->out_to) {
    ssize_t n = send(c->fd, c->out + c->out_from, c->out_to - c->out_from, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EAGAIN) c->blocked = true;
      else closed(c);
      return;
    }
    c->out_from += (size_t)n;
  }
  c->blocked = false;
  c->out_from = c->out_to = 0;
}

static uint8_t *reserve(Connection *c, size_t n) {
  if (c->out_to + n > c->out_room) {
    memmove(c->out, c->out + c->out_from, c->out_to - c->out_from);
    c->out_to -= c->out_from;
    c->out_from = 0;
    while (c->out_to + n > c->out_room) {
      c->out_room = c->out_room ? c->out_room * 2 : 256;
      if (!(c->out = realloc(c->out, c->out_room))) fail("out of memory");
    }
  }
  uint8_t *p = c->out + c->out_to;
  c->out_to += n;
  return p;
}

// Room for one packet of exactly this length; over WebSocket it becomes a frame of its own, as client libraries do it.
uint8_t *packet_begin(Connection *c, size_t length) {
  if (!opt.websocket || c->stage == UPGRADING) return reserve(c, length);
  size_t head = 6 + (length > 125 ? 2 : 0) + (length > 65535 ? 6 : 0);
  uint8_t *p = reserve(c, head + length);
  *p++ = 0x82;  // final, binary
  if (length <= 125) {
    *p++ = (uint8_t)(0x80 | length);
  } else {
    int bytes = length > 65535 ? 8 : 2;
    *p++ = bytes == 8 ? 0xff : 0xfe;
    for (int i = bytes - 1; i >= 0; i--) *p++ = (uint8_t)(length >> (8 * i));
  }
  memcpy(p, "\x5a\xc3\x17\x9e", 4);  // the masking key; any will do, but zero would spare the broker its work
  return p + 4;
}

void packet_end(Connection *c, uint8_t *packet, size_t length) {
  if (!opt.websocket || c->stage == UPGRADING) return;
  uint64_t key;
  memcpy(&key, packet - 4, 4);
  memcpy((uint8_t *)&key + 4, packet - 4, 4);
  size_t i = 0;
  for (; i + 8 <= length; i += 8) {
    uint64_t x;
    memcpy(&x, packet + i, 8);
    x ^= key;
    memcpy(packet + i, &x, 8);
  }
  for (; i < length; i++) packet[i] ^= packet[(ssize_t)(i & 3) - 4];
}

void packet_put(Connection *c, const void *bytes, size_t length) {
  uint8_t *p = packet_begin(c, length);
  memcpy(p, bytes, length);
  packet_end(c, p, length);
}

// Takes the frame headers out of n freshly read bytes, in place. Returns how many payload bytes are left.
static size_t unframe(Connection *c, uint8_t *bytes, size_t n) {
  uint8_t *from = bytes, *end = bytes + n, *to = bytes;
  while (from < end) {
    if (c->frame_left == 0) {
      c->frame_head[c->frame_head_length++] = *from++;
      if (c->frame_head_length < 2) continue;
      uint8_t *h = c->frame_head, short_length = h[1] & 0x7f;
      int need = short_length == 127 ? 10 : short_length == 126 ? 4 : 2;
      if (c->frame_head_length < need) continue;
      if (h[1] & 0x80) fail("the broker masked a WebSocket frame");
      if ((h[0] & 0x0f) == 8) fail("the broker closed the WebSocket");
      c->frame_left = need == 2 ? short_length : 0;
      for (int i = 2; i < need; i++) c->frame_left = c->frame_left << 8 | h[i];
      c->frame_is_control = h[0] & 0x08;
      c->frame_head_length = 0;
      continue;
    }
    size_t take = (size_t)(end - from) < c->frame_left ? (size_t)(end - from) : (size_t)c->frame_left;
    if (!c->frame_is_control) {
      memmove(to, from, take);
      to += take;
    }
    from += take;
    c->frame_left -= take;
  }
  return (size_t)(to - bytes);
}

// The answer to the upgrade request. Returns how many bytes it took, 0 while it is incomplete.
static size_t upgraded(Connection *c, uint8_t *bytes, size_t n) {
  uint8_t *end = memmem(bytes, n, "\r\n\r\n", 4);
  if (!end) return 0;
  if (n < 12 || memcmp(bytes + 8, " 101", 4)) fail("the broker refused the WebSocket upgrade: %.60s", bytes);
  c->stage = GREETING;
  protocol_greet(c);
  return (size_t)(end + 4 - bytes);
}

static void keep_rest(Connection *c, const uint8_t *bytes, size_t n) {
  if (n > REST_MAX) fail("a packet of more than %d bytes arrived", REST_MAX);
  if (n > c->rest_room) {
    c->rest_room = n < 1024 ? 1024 : n * 2;
    if (!(c->rest = realloc(c->rest, c->rest_room))) fail("out of memory");
  }
  if (n) memcpy(c->rest, bytes, n);
  c->rest_length = n;
}

void connection_read(Connection *c) {
  for (;;) {
    size_t kept = c->rest_length;
    uint8_t *fresh = inbox + kept;
    if (kept) memcpy(inbox, c->rest, kept);
    ssize_t r = recv(c->fd, fresh, READ_SIZE, 0);
    if (r < 0 && errno == EAGAIN) return;
    if (r <= 0) {
      closed(c);
      return;
    }
    arrival = now_ns();
    uint8_t *bytes = inbox;
    size_t n = kept + (size_t)r;
    if (opt.websocket && c->stage == UPGRADING) {
      size_t used = upgraded(c, bytes, n);
      if (used == 0) {
        keep_rest(c, bytes, n);
        return;
      }
      bytes += used;
      n = unframe(c, bytes, n - used);
    } else if (opt.websocket) {
      n = kept + unframe(c, fresh, (size_t)r);
    }
    size_t used = protocol_parse(c, bytes, n);
    keep_rest(c, bytes + used, n - used);
    if (connection_queued(c)) connection_flush(c);
    // Edge-triggered: a short read means that the socket is empty and that epoll will tell of the next byte.
    if (c->stage == CLOSED || r < READ_SIZE) return;
  }
}
