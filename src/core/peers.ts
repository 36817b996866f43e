// Other nodes, as members of the audience: each says which topics it has subscribers for, cut at the first
// level, and is passed the QoS 0 runs that match, never onward. What is cast in one turn goes together.

import type { Broker } from './broker.ts'
import type { Link } from './link.ts'
import { Kind, Reader, readRun, Writer, writeRun } from './peer-codec.ts'
import { MessageRun, type Run } from './run.ts'
import { Session } from './session.ts'
import { Subscription } from './subscription.ts'
import type { Message } from './types.ts'

/** Bytes after which what is cast to a node does not wait for the end of the turn. */
const CAST_BYTES = 64 * 1024
/** Milliseconds between two times that a node says everything again: a change may have been lost. */
const REPEAT_MS = 60_000

/** Messages that another node passed on: they go no further. */
class RelayedRun extends MessageRun {
  readonly relayed = true
}

/** One other node. */
class Peer {
  readonly link: PeerLink
  readonly #broker: Broker
  readonly #session: Session
  readonly #filters = new Map<string, Subscription>()
  /** Of what it said last about its filters; -1 before it said anything. */
  version = -1

  constructor(node: string, broker: Broker) {
    this.#broker = broker
    this.#session = new Session(`node ${node}`, broker)
    this.link = new PeerLink(node, broker)
    this.#session.link = this.link
  }

  add(filter: string): void {
    if (this.#filters.has(filter)) return
    const subscription = new Subscription(this.#session, filter, PLAIN, 0, null)
    this.#filters.set(filter, subscription)
    this.#broker.router.add(filter, subscription)
  }

  remove(filter: string): void {
    const subscription = this.#filters.get(filter)
    if (subscription === undefined) return
    this.#filters.delete(filter)
    this.#broker.router.remove(filter, subscription)
  }

  /** Exactly these. */
  replace(filters: ReadonlySet<string>): void {
    for (const filter of [...this.#filters.keys()]) if (!filters.has(filter)) this.remove(filter)
    for (const filter of filters) this.add(filter)
  }
}

const PLAIN = { qos: 0, identifier: 0, noLocal: false, retainAsPublished: true } as const

/** Casts what it is passed. */
class PeerLink implements Link {
  readonly peer: string
  readonly door = 'node'
  readonly clientId = ''
  readonly congested = false
  readonly receiveMaximum = 1
  readonly #node: string
  readonly #broker: Broker
  #writer: Writer | null = null

  constructor(node: string, broker: Broker) {
    this.peer = node
    this.#node = node
    this.#broker = broker
  }

  pass(run: Run): void {
    if (run.relayed === true) return
    if (this.#writer === null) {
      this.#writer = new Writer(Kind.messages)
      this.#broker.runtime.atTurnEnd(() => this.#cast())
    }
    writeRun(this.#writer, run.publisher, run.messages())
    if (this.#writer.length >= CAST_BYTES) this.#cast()
  }

  #cast(): void {
    const writer = this.#writer
    if (writer === null) return
    this.#writer = null
    this.#broker.engine.cast(this.#node, writer.finish())
  }

  /** QoS 1 and 2 reach other nodes through the log. */
  send(): boolean {
    return false
  }

  release(): void {}

  close(): void {}
}

export class Peers {
  readonly #broker: Broker
  readonly #byNode = new Map<string, Peer>()
  /** What this node has subscribers for, and how many. */
  readonly #filters = new Map<string, number>()
  #version = 0
  #stopped = false

  constructor(broker: Broker) {
    this.#broker = broker
  }

  start(): void {
    this.#broker.runtime.after(REPEAT_MS, () => {
      if (this.#stopped) return
      this.#tellAll(null)
      this.start()
    })
  }

  stop(): void {
    this.#stopped = true
  }

  /** What was said while the engine was away nobody heard, here or there. */
  engineBack(): void {
    this.#tellAll(null)
    this.#broker.engine.cast(null, new Writer(Kind.ask).finish())
  }

  /** A node came, and knows nothing of us, or died. */
  node(id: string, up: boolean): void {
    if (up) {
      this.#tellAll(id)
      return
    }
    this.#byNode.get(id)?.replace(new Set())
    this.#byNode.delete(id)
  }

  /** A subscription was made here. */
  added(filter: string): void {
    const cut = cutFilter(filter)
    if (cut === null) return
    const count = this.#filters.get(cut) ?? 0
    this.#filters.set(cut, count + 1)
    if (count === 0) this.#tell(Kind.added, cut)
  }

  removed(filter: string): void {
    const cut = cutFilter(filter)
    if (cut === null) return
    const count = this.#filters.get(cut) ?? 0
    if (count > 1) {
      this.#filters.set(cut, count - 1)
      return
    }
    this.#filters.delete(cut)
    if (count === 1) this.#tell(Kind.removed, cut)
  }

  #tell(kind: number, filter: string): void {
    const writer = new Writer(kind)
    writer.uint(++this.#version)
    writer.text(filter)
    this.#broker.engine.cast(null, writer.finish())
  }

  /** Everything, to one node or all. */
  #tellAll(node: string | null): void {
    const writer = new Writer(Kind.filters)
    writer.uint(this.#version)
    for (const filter of this.#filters.keys()) writer.text(filter)
    this.#broker.engine.cast(node, writer.finish())
  }

  /** Another node says something. */
  heard(from: string, bytes: Buffer): void {
    const reader = new Reader(bytes)
    try {
      const kind = reader.byte()
      if (kind === Kind.messages) this.#pass(reader)
      else if (kind === Kind.report || kind === Kind.lent) {
        this.#broker.groups.heard(from, kind, reader)
      } else if (kind === Kind.ask) this.#tellAll(from)
      else if (kind === Kind.filters) this.#filtersOf(from, reader)
      else if (kind === Kind.added || kind === Kind.removed) this.#change(from, kind, reader)
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      this.#broker.report('a node cannot be understood', `${from}: ${error.message}`)
    }
  }

  #filtersOf(from: string, reader: Reader): void {
    const peer = this.#peer(from)
    peer.version = reader.uint()
    const filters = new Set<string>()
    while (reader.more) filters.add(reader.text())
    peer.replace(filters)
  }

  #change(from: string, kind: number, reader: Reader): void {
    const peer = this.#peer(from)
    const version = reader.uint()
    if (version !== peer.version + 1) {
      if (version > peer.version) {
        this.#broker.engine.cast(from, new Writer(Kind.ask).finish())
      }
      return
    }
    peer.version = version
    if (kind === Kind.added) peer.add(reader.text())
    else peer.remove(reader.text())
  }

  #peer(node: string): Peer {
    let peer = this.#byNode.get(node)
    if (peer === undefined) {
      peer = new Peer(node, this.#broker)
      this.#byNode.set(node, peer)
    }
    return peer
  }

  /** Consecutive messages for the same audience go on as one run. */
  #pass(reader: Reader): void {
    const { router, topics } = this.#broker
    while (reader.more) {
      const { publisher, messages } = readRun(reader, topics)
      let start = 0
      for (let i = 0; i < messages.length; i++) {
        const audience = router.audience((messages[i] as Message).topic)
        const next = messages[i + 1]
        if (next !== undefined && router.audience(next.topic) === audience) continue
        const run = new RelayedRun(messages.slice(start, i + 1), publisher)
        start = i + 1
        if (!audience.empty) router.pass(run, audience)
      }
    }
  }
}

/** What other nodes are told: all below the first level; null where it is nobody else's business. */
function cutFilter(filter: string): string | null {
  const slash = filter.indexOf('/')
  const first = slash < 0 ? filter : filter.slice(0, slash)
  if (first === '+' || first === '#') return '#'
  // The server's own figures are of one node.
  return first === '$SYS' ? null : `${first}/#`
}
