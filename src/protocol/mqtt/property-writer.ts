// Writes the properties of MQTT 5 that a server sends, each as its row in the table of
// properties.ts says. The caller measures first, since the length stands before them.

import type { UserProperty } from './packets.ts'
import { type Property, type PropertyType, propertyRow } from './properties.ts'
import { varintSize, writeVarint } from './varint.ts'

/** A property to be written: identifier and the value its row asks for. */
export type PropertyValue = readonly [id: Property, value: number | string | Buffer | UserProperty]

/** Bytes that the properties take without their length. */
export function propertiesSize(properties: readonly PropertyValue[]): number {
  let size = 0
  for (const [id, value] of properties) size += 1 + valueSize(propertyRow(id).type, value)
  return size
}

/** Writes the length of the properties (`size`, from `propertiesSize`) and the properties; returns the offset behind. */
export function writeProperties(
  block: Buffer,
  at: number,
  properties: readonly PropertyValue[],
  size: number,
): number {
  let to = writeVarint(block, at, size)
  for (const [id, value] of properties) {
    block[to] = id
    to = writeValue(block, to + 1, propertyRow(id).type, value)
  }
  return to
}

function valueSize(type: PropertyType, value: PropertyValue[1]): number {
  if (typeof value === 'number') {
    return type === 'byte' ? 1 : type === 'u16' ? 2 : type === 'u32' ? 4 : varintSize(value)
  }
  if (typeof value === 'string') return 2 + Buffer.byteLength(value)
  if (Buffer.isBuffer(value)) return 2 + value.length
  return 4 + Buffer.byteLength(value[0]) + Buffer.byteLength(value[1])
}

function writeValue(
  block: Buffer,
  at: number,
  type: PropertyType,
  value: PropertyValue[1],
): number {
  if (typeof value === 'number') {
    if (type === 'byte') return block.writeUInt8(value, at)
    if (type === 'u16') return block.writeUInt16BE(value, at)
    if (type === 'u32') return block.writeUInt32BE(value, at)
    return writeVarint(block, at, value)
  }
  if (typeof value === 'string') return writeText(block, at, value)
  if (Buffer.isBuffer(value)) {
    block.writeUInt16BE(value.length, at)
    return at + 2 + value.copy(block, at + 2)
  }
  return writeText(block, writeText(block, at, value[0]), value[1])
}

function writeText(block: Buffer, at: number, value: string): number {
  const size = block.write(value, at + 2)
  block.writeUInt16BE(size, at)
  return at + 2 + size
}
