// load.h: what the parts of the load generator share: options, connections, and what one run counted.
// The generator is one thread around one epoll set; nothing here is locked and nothing needs to be.
#ifndef PARTYLINE_BENCH_LOAD_H
#define PARTYLINE_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { MQTT4, MQTT5, NATS, REDIS, LINE } Protocol;
typedef enum { SUBSCRIBER, STALLED, CHURNER, PUBLISHER, LATECOMER } Role;
typedef enum { CONNECTING, UPGRADING, GREETING, SUBSCRIBING, READY, CLOSED } Stage;

typedef struct {
  int port, pid;              // the broker's port on 127.0.0.1, and its process (0: its CPU time is not read)
  int subscriber_port;        // where all but publishers connect, in a cluster of several brokers
  Protocol publish, subscribe;
  bool mixed;                 // every second subscriber speaks MQTT 5, the others MQTT 3.1.1
  bool websocket;             // the protocol travels in binary WebSocket frames
  int publishers, subscribers, stalled, churners;
  int size;                   // payload bytes, at least HEADER
  int qos, window;            // window: unacknowledged messages a publisher may have (QoS 1 and 2)
  int topics, base;           // publisher i and subscriber i use topic base + i % topics
  int spread;                 // > 0: publishers walk over so many topics, subscribers take all by a wildcard
  bool wildcard, shared, retain, properties;
  bool echo;                  // a publisher sends its next message when the one before has been received
  bool hold;                  // connect, subscribe, say so, and stay until standard input ends
  double seconds;             // how long publishers send
  double rate;                // messages a second from all publishers together; 0: as fast as they go
  double churn;               // subscribe-and-unsubscribe pairs a second from all churners together
  double patience;            // seconds without progress after which what has not arrived is lost
} Options;

typedef struct {
  int fd, index;
  Role role;
  Protocol protocol;
  Stage stage;
  bool waiting;               // in the list of publishers that may have something to send
  bool blocked;               // the socket took no more; epoll will say when it does
  uint16_t packet_id;
  int window;
  long sent, acked, echoed, received;
  uint8_t *rest;              // an incomplete packet, kept until the next read
  size_t rest_length, rest_room;
  uint8_t *out;               // bytes not yet taken by the socket
  size_t out_from, out_to, out_room;
  uint64_t frame_left;        // WebSocket: payload bytes still to come in the current frame
  uint8_t frame_head[10];     // WebSocket: a frame header of which only a part has arrived
  uint8_t frame_head_length;
  bool frame_is_control;
} Connection;

// What one run counted. Times are nanoseconds of CLOCK_MONOTONIC.
typedef struct {
  long sent, acked, received, expected;
  long disordered;            // an older message after a newer one of the same publisher, or one again
  long stray;                 // delivered to a subscriber that did not ask for it
  long malformed;             // wrong length, or properties missing that were sent
  long cut;                   // subscribers that never read and were closed by the broker
  long churned, churn_acked;
  long retained, stale;       // retained messages a late subscriber got; those that were not the newest
} Counts;

enum { HEADER = 24 };         // time, sequence number and publisher at the start of every payload

extern Options opt;
extern Counts counts;
extern bool running;          // publishers have begun; before that no message can be expected
extern uint64_t arrival;      // when the bytes being parsed were read

// main.c
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void became_ready(Connection *c);
void was_closed(Connection *c);
void may_send(Connection *c);
void got_message(Connection *c, const uint8_t *payload, size_t length, bool retained);
void got_ack(Connection *c);

// connection.c
void connection_open(Connection *c, int epoll);
void connection_read(Connection *c);
void connection_flush(Connection *c);
uint8_t *packet_begin(Connection *c, size_t length);
void packet_end(Connection *c, uint8_t *packet, size_t length);
void packet_put(Connection *c, const void *bytes, size_t length);
static inline size_t connection_queued(const Connection *c) { return c->out_to - c->out_from; }

// protocol.c
void protocol_prepare(void);
void protocol_greet(Connection *c);
void protocol_subscribe(Connection *c);
void protocol_publish(Connection *c, int topic, uint64_t stamp);
void protocol_churn(Connection *c, long number, bool add);
size_t protocol_parse(Connection *c, uint8_t *bytes, size_t length);

// measure.c
uint64_t now_ns(void);
double own_cpu_seconds(void);
double process_cpu_seconds(int pid);
void latency_add(uint64_t nanoseconds);
double latency_us(double quantile);
long latency_count(void);

// 48 bits as eight printable characters ('0' to 'o'), so that payloads are text in every protocol.
static inline void put48(uint8_t *p, uint64_t x) {
  x = (x & 0xffffff) | (x & 0xffffff000000) << 8;
  x = (x & 0x00000fff00000fff) | (x & 0x00fff00000fff000) << 4;
  x = (x & 0x003f003f003f003f) | (x & 0x0fc00fc00fc00fc0) << 2;
  x += 0x3030303030303030;
  __builtin_memcpy(p, &x, 8);
}
static inline uint64_t get48(const uint8_t *p) {
  uint64_t x;
  __builtin_memcpy(&x, p, 8);
  x -= 0x3030303030303030;
  x = (x & 0x003f003f003f003f) | (x & 0x3f003f003f003f00) >> 2;
  x = (x & 0x00000fff00000fff) | (x & 0x0fff00000fff0000) >> 4;
  return (x & 0xffffff) | (x & 0xffffff00000000) >> 8;
}

#endif
