// What nodes tell each other of a shared group, as bytes: a node what it holds and is done with, the owner what it
// lends. Each says everything each time.

import { Kind, type Reader, Writer } from './peer-codec.ts'
import type { Pos } from './types.ts'

interface Named {
  readonly name: string
  readonly filter: string
}

/** What one node says of itself. */
export interface Report {
  readonly epoch: number
  /** Number of the last statement it heard. */
  readonly seen: number
  readonly members: number
  readonly room: number
  /** Its members asked after that position, Infinity when it has none. */
  readonly since: Pos
  readonly held: ReadonlySet<Pos>
  readonly done: ReadonlySet<Pos>
}

/** What the owner says to one node. */
export interface Statement {
  readonly epoch: number
  readonly number: number
  /** Where the group begins, as its record says; Infinity before it does. */
  readonly begin: Pos
  /** What the node may give to its members; null where nothing is said but who the owner is. */
  readonly lent: ReadonlySet<Pos> | null
  /** What it need not repeat that it is done with. */
  readonly confirmed: ReadonlySet<Pos>
}

export function writeReport(group: Named, said: Report): Buffer {
  const writer = begun(Kind.report, group)
  writer.double(said.epoch)
  writer.uint(said.seen)
  writer.uint(said.members)
  writer.uint(said.room)
  writer.double(said.since)
  writePositions(writer, said.held)
  writePositions(writer, said.done)
  return writer.finish()
}

export function readReport(reader: Reader): Report {
  return {
    epoch: reader.double(),
    seen: reader.uint(),
    members: reader.uint(),
    room: reader.uint(),
    since: reader.double(),
    held: readPositions(reader),
    done: readPositions(reader),
  }
}

export function writeStatement(group: Named, said: Statement): Buffer {
  const writer = begun(Kind.lent, group)
  writer.double(said.epoch)
  writer.uint(said.number)
  writer.double(said.begin)
  writer.byte(said.lent === null ? 0 : 1)
  writePositions(writer, said.lent ?? NONE)
  writePositions(writer, said.confirmed)
  return writer.finish()
}

export function readStatement(reader: Reader): Statement {
  const epoch = reader.double()
  const number = reader.uint()
  const begin = reader.double()
  const isWhole = reader.byte() === 1
  const lent = readPositions(reader)
  return { epoch, number, begin, lent: isWhole ? lent : null, confirmed: readPositions(reader) }
}

/** The answer of a node that has nothing to do with the group any more: it holds nothing. */
export function disclaimer(group: Named, { epoch, number }: Statement): Buffer {
  const since = Number.POSITIVE_INFINITY
  return writeReport(group, {
    epoch,
    seen: number,
    members: 0,
    room: 0,
    since,
    held: NONE,
    done: NONE,
  })
}

const NONE: ReadonlySet<Pos> = new Set()

function begun(kind: number, { name, filter }: Named): Writer {
  const writer = new Writer(kind)
  writer.text(name)
  writer.text(filter)
  return writer
}

function writePositions(writer: Writer, positions: ReadonlySet<Pos>): void {
  writer.uint(positions.size)
  for (const pos of positions) writer.double(pos)
}

function readPositions(reader: Reader): Set<Pos> {
  const positions = new Set<Pos>()
  for (let count = reader.uint(); count > 0; count--) positions.add(reader.double())
  return positions
}
