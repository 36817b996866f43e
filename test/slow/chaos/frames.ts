// Cuts a stream of the NATS protocol into frames: a line, and the payload that PUB, HPUB, MSG and HMSG
// announce on it.

const CRLF = Buffer.from('\r\n')

export interface Frame {
  /** `PUB`, `HMSG`, `PING` and so on. */
  readonly verb: string
  /** The words after the verb; the rest of the line in one for what has no payload. */
  readonly words: readonly string[]
  /** Headers and payload; empty for what has none. */
  readonly body: Buffer
  /** Everything as it arrived. */
  readonly bytes: Buffer
}

export class Frames {
  #rest: Buffer = Buffer.alloc(0)

  /** The frames that are whole with these bytes. */
  push(chunk: Buffer): Frame[] {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    const frames: Frame[] = []
    for (;;) {
      const frame = first(bytes)
      if (frame === null) break
      frames.push(frame)
      bytes = bytes.subarray(frame.bytes.length)
    }
    this.#rest = bytes
    return frames
  }
}

function first(bytes: Buffer): Frame | null {
  const end = bytes.indexOf(CRLF)
  if (end < 0) return null
  const line = bytes.toString('latin1', 0, end)
  const start = end + CRLF.length
  const space = line.indexOf(' ')
  const verb = space < 0 ? line : line.slice(0, space)
  const rest = space < 0 ? '' : line.slice(space + 1)
  if (!/^H?(PUB|MSG)$/.test(verb)) {
    return { verb, words: [rest], body: bytes.subarray(0, 0), bytes: bytes.subarray(0, start) }
  }
  const words = rest.split(' ')
  const size = Number(words[words.length - 1])
  const whole = start + size + CRLF.length
  if (bytes.length < whole) return null
  return { verb, words, body: bytes.subarray(start, start + size), bytes: bytes.subarray(0, whole) }
}

/** Headers and payload of an HPUB or HMSG apart. */
export function payloadOf({ verb, words, body }: Frame): Buffer {
  return verb.startsWith('H') ? body.subarray(Number(words[words.length - 2])) : body
}
