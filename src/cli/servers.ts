// Where a client connects to: `host port`, `host:port` or several of these with commas, tried in turn.

import { connect, isIPv6 } from 'node:net'
import type { Duplex } from 'node:stream'

const DEFAULT_PORT = 5000
/** Milliseconds until a server that does not answer counts as not there. */
const PATIENCE = 10_000
/** Milliseconds of silence after which the server's machine is asked whether it is still there; ten seconds more decide. */
const KEEP_ALIVE = 15_000

export interface Server {
  readonly host: string
  readonly port: number
}

/**
 * Takes the servers off the front of a command's words: `localhost 5000 …`, `localhost …` (port 5000),
 * `a:5000,[::1]:5001 …`. Returns them and the words behind. Throws an Error for people.
 */
export function readServers(words: readonly string[]): { servers: Server[]; rest: string[] } {
  const [first, second, ...more] = words
  if (first === undefined) throw new Error('name a server, such as: localhost 5000')
  const named = first.split(',').map(readServer)
  const numbered = second !== undefined && /^\d+$/.test(second)
  if (!numbered || named.some((server) => server.port !== null)) {
    const servers = named.map(({ host, port }) => ({ host, port: port ?? DEFAULT_PORT }))
    return { servers, rest: words.slice(1) }
  }
  const port = checkPort(second)
  return { servers: named.map(({ host }) => ({ host, port })), rest: more }
}

function readServer(text: string): { host: string; port: number | null } {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d+))?$/.exec(text)
  if (match !== null) {
    const host = match[1] ?? match[2] ?? ''
    return { host, port: match[3] === undefined ? null : checkPort(match[3]) }
  }
  // An IPv6 address without brackets cannot carry a port.
  if (isIPv6(text)) return { host: text, port: null }
  throw new Error(`${JSON.stringify(text)} is no server; write host:port, or host and port`)
}

function checkPort(text: string): number {
  const port = Number(text)
  if (port >= 1 && port <= 65_535) return port
  throw new Error(`${text} is no port; ports go from 1 to 65535`)
}

export function nameOf({ host, port }: Server): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** A TCP connection to the server. Rejects with an Error whose message is half a sentence. */
export function dialTcp(server: Server): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const socket = connect({ ...server, allowHalfOpen: true, noDelay: true })
    socket.setKeepAlive(true, KEEP_ALIVE)
    socket.setTimeout(PATIENCE, () => socket.destroy(new Error('no answer')))
    const refused = (error: Error) => reject(new Error(reasonOf(error)))
    socket.once('error', refused)
    socket.once('connect', () => {
      socket.setTimeout(0)
      socket.off('error', refused)
      resolve(socket)
    })
  })
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nobody listens there',
  ENOTFOUND: 'there is no such host',
  EAI_AGAIN: 'the name cannot be looked up now',
  EHOSTUNREACH: 'the host cannot be reached',
  ENETUNREACH: 'the network cannot be reached',
  ETIMEDOUT: 'no answer',
  ECONNRESET: 'connection reset',
  EPIPE: 'connection reset',
}

/** Why a connection failed, in words. */
export function reasonOf(error: Error): string {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  return REASONS[code] ?? (error.message || code)
}
