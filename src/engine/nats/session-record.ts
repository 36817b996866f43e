// One session's record on the servers: who owns it, under which epoch, and its state. Claim and
// save both replace it, each expecting the sequence of the one before.
//
// Contents, version 1, in the frame of sealed.ts: MessagePack [node, nonce, epoch, ended, profile,
// flow, id, intents, came]; profile and flow as session-codec.ts makes them, or null; id only when the
// subject is a hash of it; intents [[group, [packetId …], first sequence, time] …]; came may be absent.

import { createHash } from 'node:crypto'
import { Packr } from 'msgpackr'
import { DamageError, SEAL_BYTES, seal, unseal } from '../sealed.ts'

const VERSION = 1
/** Bytes of a name up to which a subject spells it. */
const SPELT_MAX = 150

const packer = new Packr({ useRecords: false, variableMapSize: true })

/** QoS 2 messages whose identifiers were saved for an append that was not known to have happened. */
export interface Intent {
  /** Nats-Msg-Id under which they were appended. */
  readonly group: string
  readonly packetIds: readonly number[]
  /** The append has a higher sequence, if any. */
  readonly after: number
  /** Engine time of the save, in milliseconds. */
  readonly at: number
}

export interface SessionRecord {
  readonly node: string
  /** Made for each write: whoever finds its own knows that its write happened. */
  readonly nonce: string
  /** Sequence of the owner's claim; 0 in the claim itself. */
  readonly epoch: number
  readonly ended: boolean
  readonly profile: Buffer | null
  readonly flow: Buffer | null
  readonly intents: readonly Intent[]
  /** Engine time at which the client came that it was last claimed for; 0 when that is not known. */
  readonly came: number
}

/** Of a session nobody has. */
export const NOBODYS: SessionRecord = {
  node: '',
  nonce: '',
  epoch: 0,
  ended: false,
  profile: null,
  flow: null,
  intents: [],
  came: 0,
}

/** A claim does not know its own sequence, which is its epoch. */
export function epochOf(record: SessionRecord, seq: number): number {
  return record.epoch === 0 ? seq : record.epoch
}

type PackedIntent = [string, number[], number, number]
type Packed = [
  string,
  string,
  number,
  0 | 1,
  Uint8Array | null,
  Uint8Array | null,
  string | null,
  PackedIntent[],
  number?,
]

/** The part of a subject that stands for a name: its bytes, or a hash where they are many. */
export function tokenOf(name: Buffer): string {
  if (name.length === 0) return '~'
  if (name.length <= SPELT_MAX) return name.toString('base64url')
  return `~${createHash('sha256').update(name).digest('base64url')}`
}

export function encodeSession(token: string, id: string, record: SessionRecord): Buffer {
  const packed: Packed = [
    record.node,
    record.nonce,
    record.epoch,
    record.ended ? 1 : 0,
    record.profile,
    record.flow,
    token.startsWith('~') ? id : null,
    record.intents.map(({ group, packetIds, after, at }) => [group, [...packetIds], after, at]),
    record.came,
  ]
  const contents = packer.pack(packed)
  const value = Buffer.allocUnsafe(SEAL_BYTES + contents.length)
  contents.copy(value, SEAL_BYTES)
  return seal(Buffer.from(token), value, VERSION)
}

/** Throws DamageError. */
export function decodeSession(
  token: string,
  value: Buffer,
): SessionRecord & { readonly id: string } {
  unseal(Buffer.from(token), value, VERSION)
  const packed: unknown = packer.unpack(value.subarray(SEAL_BYTES))
  if (!Array.isArray(packed)) throw new DamageError('not a session record')
  const [node, nonce, epoch, ended, profile, flow, id, intents, came] = packed as Packed
  return {
    id: id ?? Buffer.from(token, 'base64url').toString(),
    node,
    nonce,
    epoch,
    ended: ended === 1,
    profile: profile && Buffer.from(profile),
    flow: flow && Buffer.from(flow),
    intents: intents.map(([group, packetIds, after, at]) => ({ group, packetIds, after, at })),
    came: came ?? 0,
  }
}
