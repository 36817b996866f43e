// protocol.c: what goes over the wire in MQTT 3.1.1, MQTT 5, NATS, Redis pub/sub and Partyline's line protocol.
// Publishers send from frames prepared per topic, so that one message costs two copies and no formatting.
#define _GNU_SOURCE
#include "load.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A publish is: head (up to and with the topic), packet identifier (QoS 1 and 2), middle, payload, end.
static uint8_t *heads;
static uint16_t *head_lengths;
static size_t head_stride;
static uint8_t middle[160];
static size_t middle_length;
static const char *ending = "";
static size_t ending_length;
static uint8_t *payload;

// Two user properties [MQTT 5.0, 3.3.2.3.7], as a publisher of measurements would send them.
static const uint8_t user_properties[] =
    "\x26\0\4unit\0\7celsius"
    "\x26\0\4site\0\7north-7";
enum { USER_PROPERTIES = sizeof user_properties - 1, SUBSCRIPTION_IDENTIFIER = 7 };

static bool is_mqtt(Protocol p) { return p == MQTT4 || p == MQTT5; }

static size_t varint(uint8_t *to, size_t v) {
  size_t n = 0;
  do {
    to[n] = v & 127;
    v >>= 7;
    if (v) to[n] |= 128;
    n++;
  } while (v);
  return n;
}

static size_t text16(uint8_t *to, const char *s) {
  size_t n = strlen(s);
  to[0] = (uint8_t)(n >> 8);
  to[1] = (uint8_t)n;
  memcpy(to + 2, s, n);
  return n + 2;
}

static void say(Connection *c, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  packet_put(c, text, (size_t)n);
}

static void topic_name(char *to, Protocol p, int topic) {
  sprintf(to, p == NATS ? "bench.t%d.x" : "bench/t%d/x", opt.base + topic);
}

static size_t head_of(uint8_t *to, int topic) {
  char name[40];
  topic_name(name, opt.publish, topic);
  if (is_mqtt(opt.publish)) {
    size_t n = 0;
    to[n++] = (uint8_t)(0x30 | opt.qos << 1 | opt.retain);
    n += varint(to + n, 2 + strlen(name) + (opt.qos ? 2 : 0) + middle_length + (size_t)opt.size);
    return n + text16(to + n, name);
  }
  if (opt.publish == NATS) return (size_t)sprintf((char *)to, "PUB %s %d\r\n", name, opt.size);
  if (opt.publish == REDIS)
    return (size_t)sprintf((char *)to, "*3\r\n$7\r\nPUBLISH\r\n$%zu\r\n%s\r\n$%d\r\n", strlen(name), name, opt.size);
  return 0;  // the line protocol names its topics once, with the role
}

void protocol_prepare(void) {
  if (opt.publish == MQTT5) {
    size_t n = opt.properties ? USER_PROPERTIES : 0;
    middle_length = varint(middle, n);
    memcpy(middle + middle_length, user_properties, n);
    middle_length += n;
  }
  ending = opt.publish == LINE ? "\n" : is_mqtt(opt.publish) ? "" : "\r\n";
  ending_length = strlen(ending);
  int topics = opt.spread ? opt.spread : opt.topics;
  head_stride = opt.publish == REDIS ? 80 : 40;
  heads = malloc((size_t)topics * head_stride);
  head_lengths = malloc((size_t)topics * sizeof *head_lengths);
  payload = malloc((size_t)opt.size);
  if (!heads || !head_lengths || !payload) fail("out of memory");
  for (int i = 0; i < topics; i++) head_lengths[i] = (uint16_t)head_of(heads + (size_t)i * head_stride, i);
  for (int i = 0; i < opt.size; i++) payload[i] = (uint8_t)('a' + i % 26);
}

void protocol_publish(Connection *c, int topic, uint64_t stamp) {
  size_t head = head_lengths[topic], identifier = opt.qos ? 2 : 0;
  size_t length = head + identifier + middle_length + (size_t)opt.size + ending_length;
  uint8_t *packet = packet_begin(c, length), *p = packet;
  memcpy(p, heads + (size_t)topic * head_stride, head);
  p += head;
  if (identifier) {
    if (++c->packet_id == 0) c->packet_id = 1;
    *p++ = (uint8_t)(c->packet_id >> 8);
    *p++ = (uint8_t)c->packet_id;
  }
  if (middle_length) memcpy(p, middle, middle_length);
  p += middle_length;
  memcpy(p + HEADER, payload + HEADER, (size_t)opt.size - HEADER);
  put48(p, stamp);
  put48(p + 8, (uint64_t)c->sent);
  put48(p + 16, (uint64_t)c->index);
  p += opt.size;
  if (ending_length) memcpy(p, ending, ending_length);
  packet_end(c, packet, length);
}

static void greet_mqtt(Connection *c) {
  uint8_t b[128], body[96];
  char id[32];
  size_t n = 0;
  memcpy(body, "\0\4MQTT", 6);
  body[6] = c->protocol == MQTT5 ? 5 : 4;
  memcpy(body + 7, "\2\0\0", 3);  // clean start; keep alive 0
  n = 10;
  if (c->protocol == MQTT5) body[n++] = 0;
  sprintf(id, "load%d-%d-%d", getpid(), c->role, c->index);
  n += text16(body + n, id);
  b[0] = 0x10;
  size_t head = 1 + varint(b + 1, n);
  memcpy(b + head, body, n);
  packet_put(c, b, head + n);
}

void protocol_greet(Connection *c) {
  char topic[40];
  if (is_mqtt(c->protocol)) {
    greet_mqtt(c);
  } else if (c->protocol == NATS) {
    say(c, "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false,\"protocol\":1}\r\nPING\r\n");
  } else if (c->protocol == REDIS) {
    if (c->role == PUBLISHER) say(c, "PING\r\n");
    else protocol_subscribe(c);
  } else if (c->role == PUBLISHER) {
    topic_name(topic, LINE, c->index % opt.topics);
    say(c, "PUBLISHER %s\n", topic);
  } else {
    protocol_subscribe(c);
  }
}

static void mqtt_subscribe(Connection *c, const char *filter, uint16_t id, bool identifier) {
  uint8_t b[128], body[112];
  size_t n = 0;
  body[n++] = (uint8_t)(id >> 8);
  body[n++] = (uint8_t)id;
  if (c->protocol == MQTT5) {
    body[n++] = identifier ? 2 : 0;
    if (identifier) {
      body[n++] = 0x0b;
      body[n++] = SUBSCRIPTION_IDENTIFIER;
    }
  }
  n += text16(body + n, filter);
  body[n++] = (uint8_t)opt.qos;
  b[0] = 0x82;
  size_t head = 1 + varint(b + 1, n);
  memcpy(b + head, body, n);
  packet_put(c, b, head + n);
}

void protocol_subscribe(Connection *c) {
  char filter[48], group[64];
  c->stage = SUBSCRIBING;
  if (opt.wildcard)
    strcpy(filter, c->protocol == NATS ? "bench.*.x" : c->protocol == REDIS ? "bench/*/x" : "bench/+/x");
  else
    topic_name(filter, c->protocol, c->index % opt.topics);
  if (is_mqtt(c->protocol)) {
    snprintf(group, sizeof group, "%s%s", opt.shared ? "$share/workers/" : "", filter);
    mqtt_subscribe(c, group, 1, opt.properties);
  } else if (c->protocol == NATS) {
    say(c, opt.shared ? "SUB %s workers 1\r\nPING\r\n" : "SUB %s 1\r\nPING\r\n", filter);
  } else if (c->protocol == REDIS) {
    say(c, "%sSUBSCRIBE %s\r\n", opt.wildcard ? "P" : "", filter);
  } else {
    say(c, "SUBSCRIBER %s\n", filter);
  }
}

// One step of churn beside the load: every second filter has a wildcard that shares levels with the busy topic.
void protocol_churn(Connection *c, long number, bool add) {
  bool wild = number & 1;
  char filter[48];
  if (c->protocol == NATS) sprintf(filter, wild ? "bench.*.churn%ld" : "bench.churn%ld.x", number % 10000);
  else if (c->protocol == REDIS) sprintf(filter, wild ? "bench/*/churn%ld" : "bench/churn%ld/x", number % 10000);
  else sprintf(filter, wild ? "bench/+/churn%ld" : "bench/churn%ld/x", number % 10000);
  if (c->protocol == NATS) {
    if (add) say(c, "SUB %s %ld\r\n", filter, number + 2);
    else say(c, "UNSUB %ld\r\n", number + 2);
    counts.churn_acked++;  // NATS answers neither
  } else if (c->protocol == REDIS) {
    say(c, "%s%sSUBSCRIBE %s\r\n", wild ? "P" : "", add ? "" : "UN", filter);
  } else if (add) {
    mqtt_subscribe(c, filter, (uint16_t)(number % 60000 + 1), false);
  } else {
    uint8_t b[96];
    size_t n = 2, empty = c->protocol == MQTT5;
    uint16_t id = (uint16_t)(number % 60000 + 1);
    uint8_t body[80] = {(uint8_t)(id >> 8), (uint8_t)id, 0};
    n += empty;
    n += text16(body + n, filter);
    b[0] = 0xa2;
    b[1] = (uint8_t)n;
    memcpy(b + 2, body, n);
    packet_put(c, b, n + 2);
  }
}

static void greeted(Connection *c) {
  if (c->role == PUBLISHER || c->role == CHURNER) became_ready(c);
  else protocol_subscribe(c);
}

static void connack(Connection *c, const uint8_t *b, size_t n) {
  if (n < 2 || b[1]) fail("the broker refused the connection with code %d", n < 2 ? -1 : b[1]);
  // Of the CONNACK properties only Receive Maximum (0x21) binds a publisher [MQTT-3.3.4-7].
  static const uint8_t fixed[64] = {[0x11] = 4, [0x21] = 2, [0x24] = 1, [0x25] = 1, [0x27] = 4,
                                    [0x22] = 2, [0x28] = 1, [0x29] = 1, [0x2a] = 1, [0x13] = 2};
  for (size_t i = 3; c->protocol == MQTT5 && i + 1 < n;) {
    uint8_t kind = b[i++];
    if (kind == 0x21 && (b[i] << 8 | b[i + 1]) < c->window) c->window = b[i] << 8 | b[i + 1];
    if (kind >= sizeof fixed || !fixed[kind]) break;
    i += fixed[kind];
  }
  greeted(c);
}

static void ack4(Connection *c, uint8_t type, const uint8_t *identifier) {
  uint8_t r[4] = {type, 2, identifier[0], identifier[1]};
  packet_put(c, r, 4);
}

static void mqtt_message(Connection *c, uint8_t first, const uint8_t *b, size_t n) {
  size_t at = 2 + (size_t)(b[0] << 8 | b[1]);
  int qos = first >> 1 & 3;
  if (qos) {
    ack4(c, qos == 1 ? 0x40 : 0x50, b + at);
    at += 2;
  }
  if (c->protocol == MQTT5) {
    size_t properties = b[at++];
    if (properties & 0x80) properties = (properties & 0x7f) | (size_t)b[at++] << 7;
    if (opt.properties && !(first & 1) && (properties < USER_PROPERTIES + 2 || !memmem(b + at, properties, user_properties, USER_PROPERTIES)))
      counts.malformed++;
    at += properties;
  }
  if (at > n) fail("the broker sent a malformed PUBLISH");
  got_message(c, b + at, n - at, first & 1);
}

static void mqtt_packet(Connection *c, uint8_t first, const uint8_t *b, size_t n) {
  switch (first >> 4) {
    case 2:
      connack(c, b, n);
      return;
    case 3:
      mqtt_message(c, first, b, n);
      return;
    case 4:
    case 7:
      if (n > 2 && b[2] >= 0x80) fail("the broker refused a message with code 0x%02x", b[2]);
      got_ack(c);
      return;
    case 5:
      if (n > 2 && b[2] >= 0x80) fail("the broker refused a message with code 0x%02x", b[2]);
      ack4(c, 0x62, b);
      return;
    case 6:
      ack4(c, 0x70, b);
      return;
    case 9:
      if (b[n - 1] >= 0x80) fail("the broker refused a subscription with code 0x%02x", b[n - 1]);
      if (c->stage == SUBSCRIBING) became_ready(c);
      else counts.churn_acked++;
      return;
    case 11:
      counts.churn_acked++;
      return;
    case 14:
      fail("the broker sent DISCONNECT with code 0x%02x", n ? b[0] : 0);
    default:
      return;
  }
}

static size_t parse_mqtt(Connection *c, uint8_t *bytes, size_t length) {
  uint8_t *p = bytes, *end = bytes + length;
  while (end - p >= 2) {
    size_t n = 0;
    int i = 1, shift = 0;
    for (;; i++, shift += 7) {
      if (p + i >= end) return (size_t)(p - bytes);
      n |= (size_t)(p[i] & 127) << shift;
      if (!(p[i] & 128)) break;
      if (shift == 21) fail("the broker sent a malformed length");
    }
    i++;
    if ((size_t)(end - p) < (size_t)i + n) break;
    mqtt_packet(c, p[0], p + i, n);
    p += (size_t)i + n;
  }
  return (size_t)(p - bytes);
}

static size_t parse_nats(Connection *c, uint8_t *bytes, size_t length) {
  uint8_t *p = bytes, *end = bytes + length;
  while (p < end) {
    uint8_t *line_end = memchr(p, '\n', (size_t)(end - p));
    if (!line_end) break;
    uint8_t *next = line_end + 1;
    if (p[0] == 'M') {  // MSG subject sid length
      uint8_t *digit = line_end - 2;
      size_t n = 0, scale = 1;
      for (; *digit != ' '; digit--, scale *= 10) n += (size_t)(*digit - '0') * scale;
      if ((size_t)(end - next) < n + 2) break;
      got_message(c, next, n, false);
      next += n + 2;
    } else if (!memcmp(p, "PONG", 4)) {
      if (c->stage == GREETING) greeted(c);
      else if (c->stage == SUBSCRIBING) became_ready(c);
    } else if (!memcmp(p, "PING", 4)) {
      packet_put(c, "PONG\r\n", 6);
    } else if (p[0] == '-') {
      fail("the broker said %.*s", (int)(line_end - p - 1), p);
    }
    p = next;
  }
  return (size_t)(p - bytes);
}

// Reads "<kind><number>\r\n" at p. Returns the byte behind it, or NULL when it is incomplete.
static uint8_t *redis_number(uint8_t *p, uint8_t *end, size_t *number) {
  uint8_t *e = memchr(p, '\n', (size_t)(end - p));
  if (!e) return NULL;
  size_t n = 0;
  for (p++; *p >= '0' && *p <= '9'; p++) n = n * 10 + (size_t)(*p - '0');
  *number = n;
  return e + 1;
}

// One push: an array of bulk strings and numbers. Returns the byte behind it, or NULL when it is incomplete.
static uint8_t *redis_push(Connection *c, uint8_t *p, uint8_t *end) {
  size_t parts, n = 0;
  uint8_t *last = NULL, *kind = NULL;
  size_t kind_length = 0;
  if (!(p = redis_number(p, end, &parts))) return NULL;
  for (size_t i = 0; i < parts; i++) {
    if (p >= end) return NULL;
    bool bulk = *p == '$';
    if (!(p = redis_number(p, end, &n))) return NULL;
    if (!bulk) continue;
    if ((size_t)(end - p) < n + 2) return NULL;
    if (!kind) kind = p, kind_length = n;
    last = p;
    p += n + 2;
  }
  if (!kind) return p;
  if (kind_length == 7 || kind_length == 8) got_message(c, last, n, false);  // message, pmessage
  else if (c->stage == SUBSCRIBING) became_ready(c);
  else counts.churn_acked++;
  return p;
}

static size_t parse_redis(Connection *c, uint8_t *bytes, size_t length) {
  uint8_t *p = bytes, *end = bytes + length;
  while (p < end) {
    uint8_t *next;
    size_t n;
    if (*p == '*') next = redis_push(c, p, end);
    else next = redis_number(p, end, &n);
    if (!next) break;
    if (*p == ':') got_ack(c);
    else if (*p == '-') fail("the broker said %.*s", (int)(next - p - 2), p);
    else if (*p == '+' && c->stage == GREETING) greeted(c);
    p = next;
  }
  return (size_t)(p - bytes);
}

// A message is "[topic] text"; any other line is the server speaking, and the first one answers the role.
static size_t parse_line(Connection *c, uint8_t *bytes, size_t length) {
  uint8_t *p = bytes, *end = bytes + length;
  while (p < end) {
    uint8_t *line_end = memchr(p, '\n', (size_t)(end - p));
    if (!line_end) break;
    uint8_t *last = line_end > p && line_end[-1] == '\r' ? line_end - 1 : line_end;
    if (*p == '[') {
      uint8_t *text = memmem(p, (size_t)(last - p), "] ", 2);
      if (!text) fail("a line begins with [ but names no topic");
      got_message(c, text + 2, (size_t)(last - text - 2), false);
    } else if (last - p >= 3 && !memcmp(p, "ERR", 3)) {
      fail("the broker said %.*s", (int)(last - p), p);
    } else if (c->stage == GREETING || c->stage == SUBSCRIBING) {
      became_ready(c);
    }
    p = line_end + 1;
  }
  return (size_t)(p - bytes);
}

size_t protocol_parse(Connection *c, uint8_t *bytes, size_t length) {
  switch (c->protocol) {
    case MQTT4:
    case MQTT5:
      return parse_mqtt(c, bytes, length);
    case NATS:
      return parse_nats(c, bytes, length);
    case REDIS:
      return parse_redis(c, bytes, length);
    default:
      return parse_line(c, bytes, length);
  }
}
