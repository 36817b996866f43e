// measure.c: clocks, processor time and the latency histogram.
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double own_cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

// User and system time of all threads of a process. It is read here and not by the harness so that it covers exactly
// the measured seconds, and by the process's clock, because /proc counts in ticks of 10 ms.
double process_cpu_seconds(int pid) {
  clockid_t clock;
  struct timespec t;
  if (pid <= 0 || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// Log-linear buckets: 64 to each power of two, so a figure is at most 1.6 % off, in memory that does not grow.
enum { SUB_BITS = 6, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS) * SUB };
static long buckets[BUCKETS];
static long total;

static int bucket_of(uint64_t v) {
  if (v < SUB) return (int)v;
  int shift = 63 - __builtin_clzll(v) - SUB_BITS;
  return (shift + 1) * SUB + (int)((v >> shift) - SUB);
}

static double middle_of(int bucket) {
  if (bucket < SUB) return bucket;
  int shift = bucket / SUB - 1;
  return ((double)(SUB + bucket % SUB) + 0.5) * (double)(1ull << shift);
}

void latency_add(uint64_t nanoseconds) {
  buckets[bucket_of(nanoseconds)]++;
  total++;
}

long latency_count(void) { return total; }

// The smallest latency that at least this share of the messages did not exceed, in microseconds.
double latency_us(double quantile) {
  long rank = (long)((double)total * quantile + 0.999999), seen = 0;
  if (rank < 1) rank = 1;
  for (int i = 0; i < BUCKETS; i++) {
    seen += buckets[i];
    if (seen >= rank) return middle_of(i) / 1e3;
  }
  return 0;
}
