// What this node tells the others it has subscribers for: filters, cut at the first level so that few changes have
// to be told, and how many members of each shared group are connected here.

import type { Engine } from './engine.ts'
import type { GroupName } from './far-group.ts'
import { Kind, Writer } from './peer-codec.ts'
import type { Runtime } from './runtime.ts'
import type { Group } from './share.ts'

/** A number of members that differs from what was told by less than this share of it is not told. */
const MEMBERS_STEP = 1 / 8

interface Told extends GroupName {
  readonly members: number
}

export class Interest {
  readonly #engine: Engine
  readonly #runtime: Runtime
  /** And how many subscriptions there are of each. */
  readonly #filters = new Map<string, number>()
  readonly #groups = new Map<string, Told>()
  readonly #noticed = new Set<Group>()
  /** Changes that were told. */
  #version = 0

  constructor(engine: Engine, runtime: Runtime) {
    this.#engine = engine
    this.#runtime = runtime
  }

  /** A subscription was made here. */
  added(filter: string): void {
    const cut = cutFilter(filter)
    if (cut === null) return
    const count = this.#filters.get(cut) ?? 0
    this.#filters.set(cut, count + 1)
    if (count === 0) this.#tell(Kind.added, (writer) => writer.text(cut))
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
    if (count === 1) this.#tell(Kind.removed, (writer) => writer.text(cut))
  }

  /** A member of the group came, left, or lost its connection: told at the end of this turn. */
  noticed(group: Group): void {
    if (cutFilter(group.filter) === null) return
    this.#noticed.add(group)
    if (this.#noticed.size > 1) return
    this.#runtime.atTurnEnd(() => {
      const noticed = [...this.#noticed]
      this.#noticed.clear()
      for (const one of noticed) this.#count(one)
    })
  }

  #count(group: Group): void {
    const { key, name, filter, connected } = group
    const told = this.#groups.get(key)?.members ?? 0
    const change = Math.abs(connected - told)
    if (change === 0 || (connected > 0 && change < told * MEMBERS_STEP)) return
    const now = { name, filter, members: connected }
    if (connected === 0) this.#groups.delete(key)
    else this.#groups.set(key, now)
    this.#tell(Kind.members, (writer) => writeMembers(writer, now))
  }

  #tell(kind: number, what: (writer: Writer) => void): void {
    const writer = new Writer(kind)
    writer.uint(++this.#version)
    what(writer)
    this.#engine.cast(null, writer.finish())
  }

  /** Everything, to one node or all. */
  tellAll(node: string | null): void {
    const writer = new Writer(Kind.filters)
    writer.uint(this.#version)
    writer.uint(this.#filters.size)
    for (const filter of this.#filters.keys()) writer.text(filter)
    for (const told of this.#groups.values()) writeMembers(writer, told)
    this.#engine.cast(node, writer.finish())
  }
}

function writeMembers(writer: Writer, { name, filter, members }: Told): void {
  writer.text(name)
  writer.text(filter)
  writer.uint(members)
}

/** What other nodes are told: all below the first level; null where it is nobody else's business. */
function cutFilter(filter: string): string | null {
  const slash = filter.indexOf('/')
  const first = slash < 0 ? filter : filter.slice(0, slash)
  if (first === '+' || first === '#') return '#'
  // The server's own figures are of one node.
  return first === '$SYS' ? null : `${first}/#`
}
