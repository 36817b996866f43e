// The header by which a trusted load balancer says who is really calling: PROXY protocol, versions 1 and 2.
// Reads the first bytes of a connection and nothing else; who is trusted is the listener's business.

/** Who connected to the proxy. */
export interface ProxiedPeer {
  readonly address: string
  readonly port: number
}

export type ProxyHeader =
  /** The bytes do not begin with a PROXY header. */
  | { readonly kind: 'none' }
  /** They may: more are needed to tell, or the header is not complete. */
  | { readonly kind: 'partial' }
  /** `length` bytes of header; the peer is null for the proxy's own checks and for other families. */
  | { readonly kind: 'header'; readonly length: number; readonly peer: ProxiedPeer | null }
  | { readonly kind: 'invalid'; readonly why: string }

const V1 = Buffer.from('PROXY ')
const V2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
/** The longest line of version 1, its end included. */
const V1_MAX = 107
const V2_FIXED = 16
/** Addresses and the type-length-values after them; more than any proxy sends. */
const V2_BODY_MAX = 4096
const NONE: ProxyHeader = { kind: 'none' }
const PARTIAL: ProxyHeader = { kind: 'partial' }

/** Looks at everything received so far; never throws. */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  if (begins(bytes, V1)) return bytes.length < V1.length ? PARTIAL : readV1(bytes)
  if (begins(bytes, V2)) return bytes.length < V2_FIXED ? PARTIAL : readV2(bytes)
  return NONE
}

/** Whether one is a beginning of the other. No bytes at all begin everything. */
function begins(bytes: Buffer, signature: Buffer): boolean {
  const size = Math.min(bytes.length, signature.length)
  return bytes.compare(signature, 0, size, 0, size) === 0
}

function readV1(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, V1_MAX).indexOf('\r\n')
  if (end < 0) return bytes.length < V1_MAX ? PARTIAL : invalid('its line does not end')
  const length = end + 2
  const [, family, source, target, sourcePort, targetPort, more] = bytes
    .toString('latin1', 0, end)
    .split(' ')
  if (family === 'UNKNOWN') return { kind: 'header', length, peer: null }
  if (family !== 'TCP4' && family !== 'TCP6') return invalid(`it names the family ${family}`)
  const valid = family === 'TCP4' ? isV4 : isV6
  if (source === undefined || !valid(source) || target === undefined || !valid(target)) {
    return invalid(`its addresses are not ${family} addresses`)
  }
  const port = readPort(sourcePort)
  if (port === null || readPort(targetPort) === null || more !== undefined) {
    return invalid('its ports are not two numbers up to 65535')
  }
  return { kind: 'header', length, peer: { address: source, port } }
}

function readV2(bytes: Buffer): ProxyHeader {
  const version = bytes[12]! >> 4
  const command = bytes[12]! & 15
  const family = bytes[13]! >> 4
  const bodyLength = bytes.readUInt16BE(14)
  if (version !== 2) return invalid(`it says version ${version}`)
  if (command > 1) return invalid(`it holds the unknown command ${command}`)
  if (bodyLength > V2_BODY_MAX) return invalid(`it announces ${bodyLength} bytes`)
  const length = V2_FIXED + bodyLength
  if (bytes.length < length) return PARTIAL
  // LOCAL is the proxy speaking for itself, a health check mostly.
  if (command === 0) return { kind: 'header', length, peer: null }
  const body = bytes.subarray(V2_FIXED, length)
  if (family === 1) return readAddresses(body, 4, length)
  if (family === 2) return readAddresses(body, 16, length)
  return { kind: 'header', length, peer: null }
}

function readAddresses(body: Buffer, size: 4 | 16, length: number): ProxyHeader {
  if (body.length < 2 * size + 4) return invalid('its addresses are cut short')
  const source = body.subarray(0, size)
  const address = size === 4 ? source.join('.') : formatV6(source)
  return { kind: 'header', length, peer: { address, port: body.readUInt16BE(2 * size) } }
}

function invalid(why: string): ProxyHeader {
  return { kind: 'invalid', why: `the PROXY header cannot be read: ${why}` }
}

function readPort(text: string | undefined): number | null {
  if (text === undefined || !/^\d{1,5}$/.test(text)) return null
  const port = Number(text)
  return port <= 65_535 ? port : null
}

function isV4(text: string): boolean {
  const parts = text.split('.')
  return parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) < 256)
}

function isV6(text: string): boolean {
  if (!/^[0-9a-fA-F:.]{2,45}$/.test(text)) return false
  try {
    return new URL(`http://[${text}]/`).hostname.length > 0
  } catch {
    return false
  }
}

/** The shortest common spelling, as the operating system writes it. */
function formatV6(bytes: Buffer): string {
  const groups: string[] = []
  for (let at = 0; at < 16; at += 2) groups.push(bytes.readUInt16BE(at).toString(16))
  const mapped = groups.slice(0, 5).every((group) => group === '0') && groups[5] === 'ffff'
  if (mapped) return bytes.subarray(12).join('.')
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1)
}
