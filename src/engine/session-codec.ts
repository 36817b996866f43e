// The two halves of a session record as bytes: the profile, which changes seldom, and the flow,
// which changes with traffic. MessagePack arrays inside the frame of sealed.ts.
//
// Profile, version 1: [epoch, expiry, user, [[filter, options, identifier, from] …], will, id];
//   options is QoS + 4 no local + 8 retain as published; will is null or [topic, payload,
//   properties, QoS + 4 retain, delay, expiry]; id only when the key is a hash of it.
// Flow, version 1: [epoch, cursor, [[packetId, state, [first, count …], topics?, with?] …], receiving,
//   awaySince, log, id]; positions are runs of consecutive ones.

import { Packr } from 'msgpackr'
import type {
  Pos,
  QoS,
  SendRun,
  SendState,
  SessionFlow,
  SessionProfile,
  StoredSubscription,
  Will,
} from '../core/types.ts'
import { DamageError, SEAL_BYTES, seal, unseal } from './sealed.ts'

const PROFILE_VERSION = 1
const FLOW_VERSION = 1
const NO_LOCAL = 4
const RETAIN_AS_PUBLISHED = 8
const WILL_RETAIN = 4

/** Plain MessagePack: no record extension, so that any reader of the format can decode it. */
const packer = new Packr({ useRecords: false, variableMapSize: true })

type PackedSubscription = [filter: string, options: number, identifier: number, from: Pos]
type PackedWill = [string, Uint8Array, Uint8Array, number, number, number]
type PackedProfile = [
  number,
  number,
  string,
  PackedSubscription[],
  PackedWill | null,
  string | null,
]
type PackedRun = [number, number, number[], (string[] | null)?, string?]
type PackedFlow = [number, Pos, PackedRun[], number[], number, string, string | null]

/** A stored half; `id` is set when the key does not tell it. */
export interface Stored<Part> {
  readonly epoch: number
  readonly id: string | null
  readonly part: Part
}

export function encodeProfile(
  key: Uint8Array,
  profile: SessionProfile,
  epoch: number,
  id: string | null,
): Buffer {
  const packed: PackedProfile = [
    epoch,
    profile.expiry,
    profile.user,
    profile.subscriptions.map(packSubscription),
    profile.will && packWill(profile.will),
    id,
  ]
  return sealed(key, packed, PROFILE_VERSION)
}

/** Throws DamageError. */
export function decodeProfile(key: Uint8Array, value: Buffer): Stored<SessionProfile> {
  const [epoch, expiry, user, subscriptions, will, id] = opened<PackedProfile>(
    key,
    value,
    PROFILE_VERSION,
  )
  return {
    epoch,
    id,
    part: {
      expiry,
      user,
      subscriptions: subscriptions.map(unpackSubscription),
      will: will && unpackWill(will),
    },
  }
}

export function encodeFlow(
  key: Uint8Array,
  flow: SessionFlow,
  epoch: number,
  id: string | null,
): Buffer {
  const packed: PackedFlow = [
    epoch,
    flow.cursor,
    flow.sending.map(packRun),
    flow.receiving as number[],
    flow.awaySince,
    flow.log,
    id,
  ]
  return sealed(key, packed, FLOW_VERSION)
}

/** Throws DamageError. */
export function decodeFlow(key: Uint8Array, value: Buffer): Stored<SessionFlow> {
  const [epoch, cursor, sending, receiving, awaySince, log, id] = opened<PackedFlow>(
    key,
    value,
    FLOW_VERSION,
  )
  return {
    epoch,
    id,
    part: { cursor, sending: sending.map(unpackRun), receiving, awaySince, log },
  }
}

function sealed(key: Uint8Array, packed: unknown, version: number): Buffer {
  const contents = packer.pack(packed)
  const value = Buffer.allocUnsafe(SEAL_BYTES + contents.length)
  contents.copy(value, SEAL_BYTES)
  return seal(key, value, version)
}

function opened<Packed>(key: Uint8Array, value: Buffer, newest: number): Packed {
  unseal(key, value, newest)
  const packed: unknown = packer.unpack(value.subarray(SEAL_BYTES))
  if (!Array.isArray(packed)) throw new DamageError('not a session record')
  return packed as Packed
}

function packSubscription(subscription: StoredSubscription): PackedSubscription {
  const { filter, qos, noLocal, retainAsPublished, identifier, from } = subscription
  const options = qos | (noLocal ? NO_LOCAL : 0) | (retainAsPublished ? RETAIN_AS_PUBLISHED : 0)
  return [filter, options, identifier, from]
}

function unpackSubscription(packed: PackedSubscription): StoredSubscription {
  const [filter, options, identifier, from] = packed
  return {
    filter,
    qos: (options & 3) as QoS,
    noLocal: (options & NO_LOCAL) !== 0,
    retainAsPublished: (options & RETAIN_AS_PUBLISHED) !== 0,
    identifier,
    from,
  }
}

function packWill(will: Will): PackedWill {
  const options = will.qos | (will.retain ? WILL_RETAIN : 0)
  return [will.topic, will.payload, will.properties, options, will.delay, will.expiry]
}

function unpackWill(packed: PackedWill): Will {
  const [topic, payload, properties, options, delay, expiry] = packed
  return {
    topic,
    payload: Buffer.from(payload),
    properties: Buffer.from(properties),
    qos: (options & 3) as QoS,
    retain: (options & WILL_RETAIN) !== 0,
    delay,
    expiry,
  }
}

function packRun(run: SendRun): PackedRun {
  const runs: number[] = []
  let end = Number.NaN
  for (const pos of run.positions) {
    if (pos === end) runs[runs.length - 1]!++
    else runs.push(pos, 1)
    end = pos + 1
  }
  const retained = run.retained ? [...run.retained] : null
  if (run.with !== undefined) return [run.packetId, run.state, runs, retained, run.with]
  return retained ? [run.packetId, run.state, runs, retained] : [run.packetId, run.state, runs]
}

function unpackRun(packed: PackedRun): SendRun {
  const [packetId, state, runs, retained, party] = packed
  const positions: Pos[] = []
  for (let i = 0; i < runs.length; i += 2) {
    for (let n = 0; n < runs[i + 1]!; n++) positions.push(runs[i]! + n)
  }
  return {
    packetId,
    positions,
    state: state as SendState,
    ...(retained ? { retained } : {}),
    ...(party === undefined ? {} : { with: party }),
  }
}
