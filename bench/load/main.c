// main.c: the load generator. Connects subscribers, then publishers, lets the publishers send for some seconds, waits
// for what is still on its way, checks that everything arrived once and in order, and prints one JSON object.
//   cc -O2 -o load *.c && ./load --port 1883 --protocol mqtt4 --publishers 1 --subscribers 10 --seconds 1
// Exit status: 0 all well, 1 lost or disordered messages, 2 wrong options, 3 the broker refused or closed.
#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HANDSHAKES = 64, BATCH = 64 * 1024, EVENTS = 512, CHURN_LAG = 16 };
static const uint64_t SECOND = 1000000000u, HANDSHAKE_LIMIT = 30u * 1000000000u, LINGER = 10000000u;

Options opt = {.publishers = 1, .subscribers = 1, .size = 64, .window = 20, .topics = 1, .seconds = 1, .patience = 2};
Counts counts;
bool running;
uint64_t arrival;

static int epoll;
static Connection *connections;  // subscribers, stalled, churners, publishers, and at last one latecomer
static int connection_count, publisher_base;
static int opened, ready, target;  // handshakes: how many were begun, are done, and are wanted
static Connection **waiting;       // publishers that may have something to send
static int waiting_count;
typedef struct {
  uint32_t next, skipped;          // what must come next, and how many before it have not come
} Order;
static Order *orders;              // [subscriber][publisher]
static int *fanout;                // [publisher]: how many copies of a message must arrive
static uint64_t begun, ended, stop_at, last_progress;
static double connect_seconds, cpu_begun, cpu_used, broker_begun, broker_used;
static bool sending;
static volatile sig_atomic_t told_to_stop;
static uint64_t churn_number;

void fail(const char *format, ...) {
  char text[400], safe[800];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  char *to = safe;
  for (char *p = text; *p; p++) {
    if (*p == '"' || *p == '\\') *to++ = '\\';
    if ((unsigned char)*p >= ' ') *to++ = *p;
  }
  *to = 0;
  printf("{\"generator\":\"c\",\"error\":\"%s\"}\n", safe);
  exit(3);
}

void became_ready(Connection *c) {
  if (c->stage == READY) return;
  c->stage = READY;
  ready++;
}

void was_closed(Connection *c) {
  if (c->role == STALLED) {
    counts.cut++;
    return;
  }
  static const char *names[] = {"subscriber", "subscriber", "churner", "publisher", "late subscriber"};
  fail("the broker closed the connection of %s %d", names[c->role], c->index);
}

void may_send(Connection *c) {
  if (c->role != PUBLISHER || c->waiting || !sending) return;
  c->waiting = true;
  waiting[waiting_count++] = c;
}

void got_ack(Connection *c) {
  c->acked++;
  counts.acked++;
  last_progress = arrival;
  may_send(c);
}

static void got_retained(Connection *c, uint64_t sequence, bool retained) {
  if (c->role != LATECOMER || !retained) return;
  counts.retained++;
  last_progress = arrival;
  long sent = connections[publisher_base].sent;
  if ((long)sequence < sent - opt.spread) counts.stale++;
}

void got_message(Connection *c, const uint8_t *payload, size_t length, bool retained) {
  if (retained && c->role == SUBSCRIBER) return;  // left by an earlier run, delivered at subscription
  if (length != (size_t)opt.size) {
    counts.malformed++;
    return;
  }
  if (c->role != SUBSCRIBER) {
    got_retained(c, get48(payload + 8), retained);
    return;
  }
  uint64_t sequence = get48(payload + 8), publisher = get48(payload + 16);
  if (publisher >= (uint64_t)opt.publishers || !running) {
    counts.stray++;
    return;
  }
  if (!opt.wildcard && (int)publisher % opt.topics != c->index % opt.topics) counts.stray++;
  Order *order = orders + (size_t)c->index * (size_t)opt.publishers + publisher;
  if ((uint32_t)sequence >= order->next) {
    order->skipped += (uint32_t)sequence - order->next;
    order->next = (uint32_t)sequence + 1;
  } else {
    counts.disordered++;
    if (order->skipped == 0) return;  // none is missing, so this one has come before
    order->skipped--;
  }
  c->received++;
  counts.received++;
  last_progress = arrival;
  if (opt.rate > 0) latency_add(arrival - get48(payload));
  if (opt.echo) {
    connections[publisher_base + (int)publisher].echoed++;
    may_send(&connections[publisher_base + (int)publisher]);
  }
}

static void connected(Connection *c) {
  int error = 0;
  socklen_t n = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
  if (error) fail("connect to port %d: %s", c->role == PUBLISHER ? opt.port : opt.subscriber_port, strerror(error));
  if (opt.websocket) {
    char text[320];
    int length = snprintf(text, sizeof text,
                          "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Key: cGFydHlsaW5lIGJlbmNoIQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                          c->protocol == NATS ? "/" : "/mqtt", opt.port,
                          c->protocol == NATS ? "" : "Sec-WebSocket-Protocol: mqtt\r\n");
    c->stage = UPGRADING;
    packet_put(c, text, (size_t)length);
  } else {
    c->stage = GREETING;
    protocol_greet(c);
  }
  connection_flush(c);
}

static void open_more(void) {
  while (opened < target && opened - ready < HANDSHAKES) connection_open(&connections[opened++], epoll);
}

// One wait for events and all that follows from them.
static void turn(uint64_t timeout_ns) {
  struct epoll_event events[EVENTS];
  struct timespec t = {(time_t)(timeout_ns / SECOND), (long)(timeout_ns % SECOND)};
  int n = epoll_pwait2(epoll, events, EVENTS, &t, NULL);
  if (n < 0 && errno != EINTR) fail("epoll: %s", strerror(errno));
  for (int i = 0; i < n; i++) {
    Connection *c = events[i].data.ptr;
    if (c->stage == CLOSED) continue;
    if (c->stage == CONNECTING && events[i].events & (EPOLLOUT | EPOLLERR)) connected(c);
    if (c->role == STALLED && c->stage == READY) {
      if (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        close(c->fd);
        c->stage = CLOSED;
        was_closed(c);
      }
      continue;
    }
    if (events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) connection_read(c);
    if (events[i].events & EPOLLOUT && c->stage != CLOSED && c->blocked) {
      connection_flush(c);
      if (!c->blocked) may_send(c);
    }
  }
}

static void handshakes(int until) {
  uint64_t limit = now_ns() + HANDSHAKE_LIMIT + (uint64_t)until * 4000000u;
  target = until;
  while (ready < until) {
    open_more();
    turn(SECOND / 10);
    if (now_ns() > limit) fail("only %d of %d connections were answered in time", ready, until);
  }
}

// How far publishers may run ahead of subscribers at QoS 0: 1 MiB for each subscriber and 16 MiB in all. It keeps the
// link unloaded in the sense that no broker is driven into its overload rules by a generator that reads too slowly.
static long ahead_limit(void) {
  double bytes = opt.subscribers < 16 ? opt.subscribers * 1048576.0 : 16 * 1048576.0;
  long messages = (long)(bytes / (opt.size + 40));
  return messages > opt.subscribers ? messages : opt.subscribers;
}
static long most_ahead;

static int topic_of(const Connection *c) {
  if (!opt.spread) return c->index % opt.topics;
  return (int)((c->sent * 7919 + c->index) % opt.spread);  // neighbours in time are never neighbours in name
}

static bool allowed(const Connection *c) {
  if (c->blocked) return false;
  if (opt.echo) return c->sent == c->echoed;
  if (opt.qos) return c->sent - c->acked < c->window;
  return counts.expected - counts.received < most_ahead;
}

static void publish(Connection *c, uint64_t stamp) {
  protocol_publish(c, topic_of(c), stamp);
  c->sent++;
  counts.sent++;
  counts.expected += fanout[c->index];
}

// Lets every waiting publisher write one batch. Returns whether any of them could go on at once.
static bool publish_waiting(void) {
  uint64_t stamp = now_ns();
  int n = waiting_count, kept = 0;
  if (stamp >= stop_at || told_to_stop) sending = false;
  for (int i = 0; i < n; i++) {
    Connection *c = waiting[i];
    c->waiting = false;
    while (sending && allowed(c) && connection_queued(c) < BATCH) {
      publish(c, stamp);
      if (opt.echo) break;
    }
    if (connection_queued(c) && !c->blocked) connection_flush(c);
    // Whoever waits for an acknowledgement, an echo or its socket is put back by that event.
    if (!sending || c->blocked || opt.echo || (opt.qos && !allowed(c))) continue;
    c->waiting = true;
    waiting[kept++] = c;
  }
  waiting_count = kept;
  bool more = false;
  for (int i = 0; i < kept && !more; i++) more = allowed(waiting[i]);
  return more;
}

// Sends what is due at a fixed rate, stamped with when it was due, not with when it was sent: a generator that comes
// late must not make the broker look quick. Returns the nanoseconds to the next due time.
static uint64_t publish_due(void) {
  uint64_t now = now_ns();
  if (now >= stop_at || told_to_stop) sending = false;
  for (;;) {
    uint64_t due = begun + (uint64_t)((double)counts.sent * 1e9 / opt.rate);
    if (!sending || due >= stop_at) return SECOND / 100;
    if (due > now) return due - now;
    Connection *c = &connections[publisher_base + counts.sent % opt.publishers];
    publish(c, due);
    if (!c->blocked) connection_flush(c);
  }
}

static void churn_due(uint64_t now) {
  while (begun + (uint64_t)((double)churn_number * 1e9 / opt.churn) <= now && sending) {
    Connection *first = &connections[opt.subscribers + opt.stalled];
    Connection *c = first + churn_number % (uint64_t)opt.churners;
    protocol_churn(c, (long)churn_number, true);
    if (!c->blocked) connection_flush(c);
    counts.churned++;
    if (churn_number >= CHURN_LAG) {
      c = first + (churn_number - CHURN_LAG) % (uint64_t)opt.churners;
      protocol_churn(c, (long)churn_number - CHURN_LAG, false);
      if (!c->blocked) connection_flush(c);
      counts.churned++;
    }
    churn_number++;
  }
}

static bool all_arrived(void) {
  return !sending && counts.received >= counts.expected && (opt.qos == 0 || counts.acked >= counts.sent);
}

static void run(void) {
  for (int i = 0; i < opt.publishers; i++)
    for (int j = 0; j < opt.subscribers; j++)
      if (opt.wildcard || i % opt.topics == j % opt.topics) fanout[i]++;
  for (int i = 0; i < opt.publishers && opt.shared; i++) fanout[i] = 1;
  most_ahead = ahead_limit();
  sending = running = true;
  for (int i = 0; i < opt.publishers; i++) may_send(&connections[publisher_base + i]);
  broker_begun = process_cpu_seconds(opt.pid);
  cpu_begun = own_cpu_seconds();
  begun = last_progress = now_ns();
  stop_at = begun + (uint64_t)(opt.seconds * 1e9);
  while (!all_arrived()) {
    uint64_t wait = SECOND / 200;
    if (opt.rate > 0) wait = publish_due();
    else if (publish_waiting()) wait = 0;
    if (opt.churn > 0 && sending) {
      churn_due(now_ns());
      if (wait > SECOND / 2000) wait = SECOND / 2000;
    }
    turn(wait);
    if (!sending && now_ns() > last_progress + (uint64_t)(opt.patience * 1e9)) break;
  }
  ended = last_progress > begun ? last_progress : now_ns();
  cpu_used = own_cpu_seconds() - cpu_begun;
  broker_used = process_cpu_seconds(opt.pid) - broker_begun;
  // What comes twice may come after all has come once.
  for (uint64_t until = now_ns() + LINGER; now_ns() < until;) turn(LINGER / 4);
}

// After the measured time: does someone who comes late get the newest retained message of every topic?
static void check_retained(void) {
  Connection *c = &connections[connection_count - 1];
  long wanted = counts.sent < opt.spread ? counts.sent : opt.spread;
  handshakes(connection_count);
  last_progress = now_ns();
  while (counts.retained < wanted && now_ns() < last_progress + (uint64_t)(opt.patience * 1e9)) turn(SECOND / 100);
  if (c->stage == CLOSED) fail("the broker closed the late subscriber");
}

static void hold(void) {
  printf("{\"generator\":\"c\",\"event\":\"ready\",\"connections\":%d,\"connect_seconds\":%.4f}\n", ready, connect_seconds);
  fflush(stdout);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &e)) fail("--hold needs standard input to be a pipe");
  struct epoll_event events[EVENTS];
  for (;;) {
    int n = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < n; i++) {
      Connection *c = events[i].data.ptr;
      if (!c) {
        printf("{\"generator\":\"c\",\"event\":\"done\",\"connections\":%d}\n", ready);
        exit(0);
      }
      if (c->stage != CLOSED && events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) connection_read(c);
    }
  }
}

static long missing(void) { return counts.expected > counts.received ? counts.expected - counts.received : 0; }

static int report(void) {
  double seconds = (double)(ended - begun) / 1e9;
  long retained_wanted = !opt.retain ? 0 : counts.sent < opt.spread ? counts.sent : opt.spread;
  bool ok = !missing() && counts.received == counts.expected && !counts.disordered && !counts.stray && !counts.malformed &&
            counts.retained == retained_wanted && !counts.stale && (opt.qos == 0 || counts.acked == counts.sent);
  printf("{\"generator\":\"c\",\"sent\":%ld,\"acked\":%ld,\"received\":%ld,\"expected\":%ld,\"lost\":%ld,"
         "\"disordered\":%ld,\"stray\":%ld,\"malformed\":%ld,\"ok\":%s,",
         counts.sent, counts.acked, counts.received, counts.expected, missing(), counts.disordered, counts.stray,
         counts.malformed, ok ? "true" : "false");
  printf("\"seconds\":%.6f,\"per_second\":%.1f,\"sent_per_second\":%.1f,\"connect_seconds\":%.4f,", seconds,
         (double)counts.received / seconds, (double)counts.sent / seconds, connect_seconds);
  printf("\"generator_cpu\":%.4f,\"broker_cpu\":%.4f,\"cut\":%ld,\"churned\":%ld,\"churn_acked\":%ld,"
         "\"retained\":%ld,\"retained_expected\":%ld,\"stale\":%ld",
         cpu_used, broker_used, counts.cut, counts.churned, counts.churn_acked, counts.retained, retained_wanted,
         counts.stale);
  if (latency_count())
    printf(",\"latency_us\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f,\"count\":%ld}", latency_us(.5),
           latency_us(.99), latency_us(.999), latency_us(1), latency_count());
  printf("}\n");
  return ok ? 0 : 1;
}

static Protocol protocol_named(const char *s) {
  static const char *names[] = {"mqtt4", "mqtt5", "nats", "redis", "line"};
  for (int i = 0; i < 5; i++)
    if (!strcmp(s, names[i])) return (Protocol)i;
  fprintf(stderr, "unknown protocol %s: use mqtt4, mqtt5, nats, redis or line\n", s);
  exit(2);
}

static void read_options(int argc, char **argv) {
  static const struct option known[] = {
      {"port", 1, 0, 'p'},       {"pid", 1, 0, 'i'},     {"protocol", 1, 0, 'm'}, {"publishers", 1, 0, 'P'},
      {"subscribers", 1, 0, 'S'}, {"stalled", 1, 0, 'x'}, {"churners", 1, 0, 'c'}, {"churn", 1, 0, 'C'},
      {"size", 1, 0, 's'},       {"qos", 1, 0, 'q'},     {"window", 1, 0, 'w'},   {"topics", 1, 0, 't'},
      {"spread", 1, 0, 'T'},     {"seconds", 1, 0, 'd'}, {"rate", 1, 0, 'r'},     {"patience", 1, 0, 'a'},
      {"wildcard", 0, 0, 'W'},   {"shared", 0, 0, 'g'},  {"retain", 0, 0, 'R'},   {"properties", 0, 0, 'u'},
      {"base", 1, 0, 'B'},       {"subscriber-port", 1, 0, 'o'},
      {"echo", 0, 0, 'e'},       {"hold", 0, 0, 'h'},    {"mixed", 0, 0, 'M'},    {"websocket", 0, 0, 'b'},
      {0, 0, 0, 0}};
  int o;
  while ((o = getopt_long(argc, argv, "", known, NULL)) != -1) switch (o) {
      case 'p': opt.port = atoi(optarg); break;
      case 'o': opt.subscriber_port = atoi(optarg); break;
      case 'i': opt.pid = atoi(optarg); break;
      case 'm': opt.publish = opt.subscribe = protocol_named(optarg); break;
      case 'P': opt.publishers = atoi(optarg); break;
      case 'S': opt.subscribers = atoi(optarg); break;
      case 'x': opt.stalled = atoi(optarg); break;
      case 'c': opt.churners = atoi(optarg); break;
      case 'C': opt.churn = atof(optarg); break;
      case 's': opt.size = atoi(optarg); break;
      case 'q': opt.qos = atoi(optarg); break;
      case 'w': opt.window = atoi(optarg); break;
      case 't': opt.topics = atoi(optarg); break;
      case 'B': opt.base = atoi(optarg); break;
      case 'T': opt.spread = atoi(optarg), opt.wildcard = true; break;
      case 'd': opt.seconds = atof(optarg); break;
      case 'r': opt.rate = atof(optarg); break;
      case 'a': opt.patience = atof(optarg); break;
      case 'W': opt.wildcard = true; break;
      case 'g': opt.shared = true; break;
      case 'R': opt.retain = true; break;
      case 'u': opt.properties = true; break;
      case 'e': opt.echo = true; break;
      case 'h': opt.hold = true; break;
      case 'M': opt.mixed = true; break;
      case 'b': opt.websocket = true; break;
      default: exit(2);
    }
  if (!opt.subscriber_port) opt.subscriber_port = opt.port;
  bool mqtt = opt.publish == MQTT4 || opt.publish == MQTT5;
  const char *wrong = opt.port <= 0                                ? "--port is needed"
                      : opt.size < HEADER                          ? "--size must be at least 24"
                      : opt.subscribers < !opt.qos || opt.publishers < 0 ? "at QoS 0 at least one subscriber is needed"
                      : opt.topics < 1 || opt.window < 1           ? "--topics and --window must be at least 1"
                      : opt.qos < 0 || opt.qos > 2                 ? "--qos is 0, 1 or 2"
                      : (opt.qos || opt.retain) && !mqtt           ? "QoS and retained messages exist in MQTT only"
                      : opt.retain && !opt.spread                  ? "--retain needs --spread"
                      : opt.echo && opt.qos                        ? "--echo is for QoS 0"
                      : opt.properties && opt.publish != MQTT5     ? "--properties needs --protocol mqtt5"
                      : opt.mixed && opt.publish != MQTT4          ? "--mixed needs --protocol mqtt4"
                      : opt.shared && opt.publish == REDIS         ? "Redis has no shared subscriptions"
                      : opt.echo && opt.subscribers != 1           ? "--echo is for one subscriber"
                      : opt.websocket && opt.publish > NATS        ? "over WebSocket there are MQTT and NATS"
                      : opt.churn > 0 && opt.churners < 1          ? "--churn needs --churners"
                      : !opt.hold && opt.publishers < 1            ? "at least one publisher is needed"
                                                                   : NULL;
  if (wrong) {
    fprintf(stderr, "%s\n", wrong);
    exit(2);
  }
}

static void add(int *n, int count, Role role, Protocol protocol) {
  for (int i = 0; i < count; i++, (*n)++) {
    bool newer = opt.mixed && role == SUBSCRIBER && i % 2;
    connections[*n] = (Connection){.role = role, .index = i, .protocol = newer ? MQTT5 : protocol, .window = opt.window};
  }
}

static void prepare(void) {
  int n = 0, publishers = opt.hold ? 0 : opt.publishers;
  connection_count = opt.subscribers + opt.stalled + opt.churners + publishers + opt.retain;
  connections = calloc((size_t)connection_count, sizeof *connections);
  waiting = calloc((size_t)publishers + 1, sizeof *waiting);
  fanout = calloc((size_t)publishers + 1, sizeof *fanout);
  orders = calloc((size_t)opt.subscribers * (size_t)publishers + 1, sizeof *orders);
  if (!connections || !waiting || !fanout || !orders) fail("out of memory");
  add(&n, opt.subscribers, SUBSCRIBER, opt.subscribe);
  add(&n, opt.stalled, STALLED, opt.subscribe);
  add(&n, opt.churners, CHURNER, opt.subscribe);
  publisher_base = n;
  add(&n, publishers, PUBLISHER, opt.publish);
  add(&n, opt.retain, LATECOMER, opt.subscribe);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  if ((rlim_t)connection_count + 16 > files.rlim_max)
    fail("%d connections need more descriptors than the limit of %ld; raise it with ulimit -n", connection_count,
         (long)files.rlim_max);
}

static void on_signal(int signal) {
  (void)signal;
  told_to_stop = 1;
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  struct sigaction stop = {.sa_handler = on_signal};
  sigaction(SIGTERM, &stop, NULL);
  prctl(PR_SET_TIMERSLACK, 1);  // due times are kept to microseconds, not to the default 50
  prepare();
  protocol_prepare();
  epoll = epoll_create1(0);
  uint64_t start = now_ns();
  handshakes(publisher_base);
  connect_seconds = (double)(now_ns() - start) / 1e9;
  if (opt.hold) hold();
  handshakes(publisher_base + opt.publishers);
  run();
  if (opt.retain) check_retained();
  return report();
}
