// Other nodes, as members of the audience: each says what it has subscribers for, and is passed the QoS 0 runs
// that match, never onward. What is cast in one turn goes together.

import type { Broker } from './broker.ts'
import { FarGroup, type FarLink, type GroupName } from './far-group.ts'
import { Interest } from './interest.ts'
import type { Link } from './link.ts'
import { Kind, Reader, readRun, Writer, writeRun } from './peer-codec.ts'
import { MessageRun, type Run } from './run.ts'
import type { Timer } from './runtime.ts'
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
  /** Shared groups with members there, by `name/filter`. */
  readonly groups = new Map<string, GroupName>()
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
class PeerLink implements Link, FarLink {
  readonly peer: string
  readonly door = 'node'
  readonly clientId = ''
  readonly congested = false
  readonly receiveMaximum = 1
  readonly #node: string
  readonly #broker: Broker
  #writer: Writer | null = null
  #shared: Writer | null = null

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

  /** For one member of the group. */
  passShared({ name, filter }: GroupName, run: Run): void {
    if (this.#shared === null) {
      this.#shared = new Writer(Kind.shared)
      this.#broker.runtime.atTurnEnd(() => this.#castShared())
    }
    this.#shared.text(name)
    this.#shared.text(filter)
    writeRun(this.#shared, run.publisher, run.messages())
    if (this.#shared.length >= CAST_BYTES) this.#castShared()
  }

  #castShared(): void {
    const writer = this.#shared
    if (writer === null) return
    this.#shared = null
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
  /** Shared groups with members at other nodes, by `name/filter`. */
  readonly #far = new Map<string, FarGroup>()
  /** What the others are told. */
  readonly interest: Interest
  #timer: Timer | null = null

  constructor(broker: Broker) {
    this.#broker = broker
    this.interest = new Interest(broker.engine, broker.runtime)
  }

  start(): void {
    this.#timer = this.#broker.runtime.after(REPEAT_MS, () => {
      this.interest.tellAll(null)
      this.start()
    })
  }

  stop(): void {
    this.#timer?.cancel()
  }

  /** What was said while the engine was away nobody heard, here or there. */
  engineBack(): void {
    this.interest.tellAll(null)
    this.#broker.engine.cast(null, new Writer(Kind.ask).finish())
  }

  /** A node came, and knows nothing of us, or died. */
  node(id: string, up: boolean): void {
    if (up) {
      this.interest.tellAll(id)
      return
    }
    const peer = this.#byNode.get(id)
    if (peer === undefined) return
    peer.replace(new Set())
    for (const group of [...peer.groups.values()]) this.#members(peer, group, 0)
    this.#byNode.delete(id)
  }

  /** Another node says something. */
  heard(from: string, bytes: Buffer): void {
    const reader = new Reader(bytes)
    try {
      const kind = reader.byte()
      if (kind === Kind.messages) this.#pass(reader)
      else if (kind === Kind.shared) this.#passShared(reader)
      else if (kind === Kind.report || kind === Kind.lent) {
        this.#broker.groups.heard(from, kind, reader)
      } else if (kind === Kind.ask) this.interest.tellAll(from)
      else if (kind === Kind.filters) this.#all(from, reader)
      else if (kind === Kind.added || kind === Kind.removed || kind === Kind.members) {
        this.#change(from, kind, reader)
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      this.#broker.report('a node cannot be understood', `${from}: ${error.message}`)
    }
  }

  #all(from: string, reader: Reader): void {
    const peer = this.#peer(from)
    peer.version = reader.uint()
    const filters = new Set<string>()
    for (let left = reader.uint(); left > 0; left--) filters.add(reader.text())
    peer.replace(filters)
    const gone = new Map(peer.groups)
    while (reader.more) {
      const group = { name: reader.text(), filter: reader.text() }
      this.#members(peer, group, reader.uint())
      gone.delete(keyOf(group))
    }
    for (const group of gone.values()) this.#members(peer, group, 0)
  }

  #members(peer: Peer, group: GroupName, members: number): void {
    const { router, runtime } = this.#broker
    const key = keyOf(group)
    if (members > 0) peer.groups.set(key, group)
    else if (!peer.groups.delete(key)) return
    let far = this.#far.get(key)
    if (far === undefined) {
      far = new FarGroup(group, runtime)
      this.#far.set(key, far)
      router.addFar(far)
    }
    far.set(peer.link, members)
    if (!far.empty) return
    this.#far.delete(key)
    router.removeFar(far)
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
    else if (kind === Kind.removed) peer.remove(reader.text())
    else this.#members(peer, { name: reader.text(), filter: reader.text() }, reader.uint())
  }

  #peer(node: string): Peer {
    let peer = this.#byNode.get(node)
    if (peer === undefined) {
      peer = new Peer(node, this.#broker)
      this.#byNode.set(node, peer)
    }
    return peer
  }

  /** Runs that another node found nobody for, each for one member here. */
  #passShared(reader: Reader): void {
    const { counters, groups, router, topics } = this.#broker
    while (reader.more) {
      const group = groups.get(keyOf({ name: reader.text(), filter: reader.text() }))
      const { publisher, messages } = readRun(reader, topics)
      if (messages.length === 0) continue
      // Its members have left since.
      if (group === undefined) counters.droppedNoMember += messages.length
      else router.passShared(new RelayedRun(messages, publisher), group)
    }
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

/** Of a group among all. */
function keyOf({ name, filter }: GroupName): string {
  return `${name}/${filter}`
}
