// What strangers' bytes look like on a screen: text that cannot drive a terminal and cannot pretend to be
// another line. Used for whatever is sent to line clients and shown by the server and the terminal client.
// The rules are those of docs/protocol.md, "How text is shown".

import { isUtf8 } from 'node:buffer'

/** Nothing but printable ASCII and TAB: by far the most common text, shown as it is. */
const PLAIN = /^[\t -~]*$/
/** Control characters, line separators, marks that turn the direction of writing, and their like. */
const UNSAFE = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]/gu
const NAMED: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\t' }

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0')

function escapeOne(character: string): string {
  const code = character.charCodeAt(0)
  return NAMED[character] ?? (code < 0x80 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`)
}

/** Text with everything unsafe escaped; TAB stays. */
export function shown(text: string): string {
  return PLAIN.test(text) ? text : text.replace(UNSAFE, escapeOne)
}

/** A topic, filter or name: as `shown`, and neither a TAB nor a `]`, which ends the topic of a delivery. */
export function shownName(name: string): string {
  return shown(name).replaceAll('\t', '\\t').replaceAll(']', '\\x5d')
}

/** A whole number with commas, as `toLocaleString('en')`, whose first call stops the server for 15 to 30 ms. */
export function shownNumber(n: number): string {
  return String(n).replace(/\B(?=(?:\d{3})+$)/g, ',')
}

/** The beginning of a stranger's word, for quoting in an answer. */
export function shownWord(word: string): string {
  return shownName(word.length > 40 ? `${word.slice(0, 40)}…` : word)
}

function isPlain(bytes: Buffer): boolean {
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number
    if ((byte < 0x20 && byte !== 0x09) || byte > 0x7e) return false
  }
  return true
}

/** A payload as the bytes to send: the payload itself when nothing in it needs escaping. */
export function shownPayload(payload: Buffer): Buffer {
  return isPlain(payload) ? payload : Buffer.from(shownBytes(payload))
}

/** Any bytes as safe text; what is not UTF-8 appears byte by byte as `\xff`. */
export function shownBytes(bytes: Buffer): string {
  if (isUtf8(bytes)) return shown(bytes.toString('utf8'))
  let text = ''
  let start = 0
  let at = 0
  while (at < bytes.length) {
    const size = sequenceAt(bytes, at)
    if (size > 0) {
      at += size
      continue
    }
    text += `${shown(bytes.toString('utf8', start, at))}\\x${hex(bytes[at] as number, 2)}`
    at++
    start = at
  }
  return text + shown(bytes.toString('utf8', start))
}

/** Bytes of the well-formed UTF-8 sequence that begins there, 0 when none does (Unicode 15, table 3-7). */
function sequenceAt(bytes: Buffer, at: number): number {
  const lead = bytes[at] as number
  if (lead < 0x80) return 1
  const size = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2
  if (lead < 0xc2 || lead > 0xf4 || at + size > bytes.length) return 0
  const second = bytes[at + 1] as number
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  if (second < lowest || second > highest) return 0
  for (let i = at + 2; i < at + size; i++) if ((bytes[i] as number) >> 6 !== 2) return 0
  return size
}
