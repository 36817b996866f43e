// What the encoder does that no row of the packet table shows: reasons for which an old version has
// no word, acknowledgements written into a block, and texts that leave no room.

import { describe, expect, it } from 'vitest'
import {
  AckByte,
  ack,
  auth,
  connack,
  connackCode,
  disconnect,
  suback,
  subackCode,
  unsuback,
  writeAck,
} from '../../src/protocol/mqtt/encode.ts'
import { Reason } from '../../src/protocol/mqtt/packets.ts'

describe('a refusal in MQTT 3.1.1', () => {
  it('has one of five codes, or none, for every reason there is', () => {
    const found = new Map<number | null, string[]>()
    for (const [name, reason] of Object.entries(Reason)) {
      const code = connackCode(reason, 4)
      if (reason >= 0x80) found.set(code, [...(found.get(code) ?? []), name])
    }
    expect([...found.keys()].sort()).toEqual([1, 2, 3, 4, 5, null])
    expect(found.get(1)).toEqual(['unsupportedProtocolVersion'])
    expect(found.get(2)).toEqual(['clientIdentifierNotValid'])
    expect(found.get(4)).toEqual(['badUserNameOrPassword'])
    expect(found.get(5)).toEqual(['notAuthorized', 'banned', 'badAuthenticationMethod'])
    expect(found.get(3)).toContain('serverBusy')
    expect(found.get(null)).toContain('malformedPacket')
  })

  it('is silence when there is no code for it', () => {
    expect(connack({ sessionPresent: false, reason: Reason.malformedPacket }, 4)).toHaveLength(0)
    expect(connack({ sessionPresent: false, reason: Reason.malformedPacket }, 5)).toHaveLength(5)
  })

  it('is 0x80 for a subscription, whatever the reason', () => {
    expect([0, 1, 2, 0x80, 0x87, 0xa2].map((code) => subackCode(code, 4))).toEqual([
      0, 1, 2, 0x80, 0x80, 0x80,
    ])
    expect([0, 1, 2, 0x80, 0x87, 0xa2].map((code) => subackCode(code, 5))).toEqual([
      0, 1, 2, 0x80, 0x87, 0xa2,
    ])
  })
})

describe('an acknowledgement', () => {
  it('goes into a block behind what is there, four bytes each', () => {
    const block = Buffer.alloc(10, 0xee)
    let at = writeAck(block, 1, AckByte.puback, 1)
    at = writeAck(block, at, AckByte.pubrel, 65_535)
    expect(at).toBe(9)
    expect(block.toString('hex')).toBe('ee40020001' + '6202ffff' + 'ee')
  })

  it('carries no reason before MQTT 5', () => {
    expect(ack('pubrec', 1, Reason.quotaExceeded, 4, 'full').toString('hex')).toBe('50020001')
  })
})

describe('a reason string', () => {
  it('is kept from a client that asked for no problem information', () => {
    const packets = [
      suback(1, [0x87], 5, 'why', 100, false),
      unsuback(1, [0x87], 5, 'why', 100, false),
      ack('puback', 1, 0x87, 5, 'why', 100, false),
      auth(0x18, 'm', undefined, 'why', 100, false),
    ]
    expect(packets.map((packet) => packet.toString('hex'))).toEqual([
      '900400010087',
      'b00400010087',
      '4003000187',
      'f006180415' + '00016d',
    ])
  })

  it('longer than a string of MQTT can be is cut, not wrapped around', () => {
    const packet = disconnect(Reason.unspecified, 'é'.repeat(70_000))
    const size = packet.readUInt16BE(packet.indexOf(0x1f) + 1)
    expect(packet.length).toBe(packet.indexOf(0x1f) + 3 + size)
    expect(size).toBeGreaterThan(40_000)
  })
})
