// One port, many protocols: what the first bytes of a connection say about who is calling.
// A pure function over everything received so far; waiting and handing over is the listener's.

/** `wait` means that the bytes are the beginning of an HTTP request or of a line, and more must tell. */
export type Caller = 'mqtt' | 'tls' | 'http' | 'line' | 'wait'

/** Type 1, CONNECT, with its reserved flags zero: no other packet may come first [MQTT-3.1.0-1]. */
const MQTT_CONNECT = 0x10
/** A TLS record holding a handshake message. */
const TLS_HANDSHAKE = 0x16
const LF = 0x0a
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH', 'TRACE', 'CONNECT']
const REQUEST_LINE = /^[A-Z]+ \S+ HTTP\/1\.\d\r?$/
/** An HTTP request line longer than this is refused by any server; so it is not waited for. */
export const REQUEST_LINE_MAX = 16 * 1024

/** @param bytes everything received, at least one byte. */
export function recognise(bytes: Buffer): Caller {
  if (bytes[0] === MQTT_CONNECT) return 'mqtt'
  if (bytes[0] === TLS_HANDSHAKE) return 'tls'
  const end = bytes.subarray(0, REQUEST_LINE_MAX).indexOf(LF)
  const line = bytes.toString('latin1', 0, end < 0 ? Math.min(bytes.length, REQUEST_LINE_MAX) : end)
  if (end >= 0) return REQUEST_LINE.test(line) && METHODS.includes(wordOf(line)) ? 'http' : 'line'
  return bytes.length < REQUEST_LINE_MAX && mayBecomeRequest(line) ? 'wait' : 'line'
}

function wordOf(line: string): string {
  return line.slice(0, line.indexOf(' '))
}

/** Whether more bytes could make this a request line: people type `GET the milk`, too. */
function mayBecomeRequest(line: string): boolean {
  const [method = '', target, version, ...more] = line.split(' ')
  if (target === undefined) return METHODS.some((each) => each.startsWith(method))
  if (!METHODS.includes(method) || more.length > 0) return false
  if (version === undefined) return true
  return target !== '' && /^(H(T(T(P(\/(1(\.(\d\r?)?)?)?)?)?)?)?)?$/.test(version)
}
