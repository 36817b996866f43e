// Slows whoever guesses passwords: failures of one address fill a bucket that leaks. One bucket for
// each name tried from there, so that one misconfigured device does not lock its neighbours out.

import { isIPv6 } from 'node:net'

interface Bucket {
  level: number
  /** Milliseconds since 1970 when `level` was true. */
  at: number
}

/** Failures until one name is refused from one address, and how many are forgiven a minute. */
const PER_NAME = 10
/** The same for all names together. */
const PER_ADDRESS = 100
const FORGIVEN_PER_MINUTE = 0.5
const BUCKETS_MAX = 20_000

export class Throttle {
  readonly #now: () => number
  readonly #buckets = new Map<string, Bucket>()

  /** `now` is the wall clock in milliseconds. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Whether this address has failed too often, with this name or at all. */
  blocks(address: string, name: string): boolean {
    const from = networkOf(address)
    return this.#full(`${from} ${name}`, PER_NAME) || this.#full(from, PER_ADDRESS)
  }

  failed(address: string, name: string): void {
    const from = networkOf(address)
    this.#fill(`${from} ${name}`, PER_NAME)
    this.#fill(from, PER_ADDRESS)
  }

  /** Whether one failure more would not fit: buckets leak all the time, so a full one is never quite full. */
  #full(key: string, capacity: number): boolean {
    return this.#level(key, capacity) > capacity - 1
  }

  #level(key: string, capacity: number): number {
    const bucket = this.#buckets.get(key)
    if (bucket === undefined) return 0
    const minutes = Math.max(0, this.#now() - bucket.at) / 60_000
    return Math.max(0, bucket.level - minutes * FORGIVEN_PER_MINUTE * capacity)
  }

  #fill(key: string, capacity: number): void {
    const level = Math.min(capacity, this.#level(key, capacity) + 1)
    // Deleted first, so that the map's order is that of the last failure and the oldest can go.
    this.#buckets.delete(key)
    this.#buckets.set(key, { level, at: this.#now() })
    if (this.#buckets.size <= BUCKETS_MAX) return
    const oldest = this.#buckets.keys().next().value
    if (oldest !== undefined) this.#buckets.delete(oldest)
  }
}

/** Who has one IPv6 address has the whole /64. */
function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const hostname = new URL(`http://[${address.split('%')[0]}]/`).hostname.slice(1, -1)
  const [head = '', tail = ''] = hostname.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (hostname.includes('::')) {
    const behind = tail === '' ? 0 : tail.split(':').length
    while (groups.length < 8 - behind) groups.push('0')
  }
  return `${groups.slice(0, 4).join(':')}::/64`
}
