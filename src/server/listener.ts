// One port for every protocol: accepts sockets, bounds how many, looks at the first bytes and hands
// each to the link, the TLS layer or the HTTP server that understands it. Owns the sockets until then.

import type { Server as HttpServer } from 'node:http'
import { type AddressInfo, BlockList, createServer, isIP, type Server, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TLSSocket, Server as TlsServer } from 'node:tls'
import type { Counters } from '../core/counters.ts'
import type { Limits } from '../core/limits.ts'
import type { Runtime } from '../core/runtime.ts'
import { type ProxiedPeer, readProxyHeader } from '../net/proxy-protocol.ts'
import type { Wire, WireReader } from '../net/wire.ts'
import { Admission } from './admission.ts'
import { awaitBeginning } from './beginning.ts'
import { type Caller, recognise } from './first-bytes.ts'
import { ListenError } from './listen-error.ts'

/** The other side of a socket; behind a trusted proxy the one the proxy named. */
export interface SocketPeer {
  readonly address: string
  readonly port: number
  readonly secure: boolean
}

export interface ListenerOptions {
  readonly limits: Limits
  readonly runtime: Runtime
  readonly counters: Counters
  /** Connections at once, at most; see `connectionBound`. */
  readonly connections: number
  /** Addresses and networks (`10.0.0.0/8`) whose PROXY headers are believed. */
  readonly trustProxy: readonly string[]
  /** Told that a connection from there was closed, since it began with a PROXY header. */
  untrusted(address: string): void
  /** Not listening itself; null where TLS is not configured. */
  readonly tls: TlsServer | null
  /** Not listening itself; its requests and upgrades are somebody else's. */
  readonly http: HttpServer
  /** Makes the wire of a TCP or TLS socket that is flowing; its first bytes come by `read`. */
  wire(socket: Socket, peer: SocketPeer): Wire
  mqtt(wire: Wire): WireReader
  line(wire: Wire): WireReader
}

const BACKLOG = 4096
const TCP_KEEP_ALIVE_MS = 60_000
/** With port 0, IPv6 must find free what IPv4 was given; someone else may have it. */
const PORT_ATTEMPTS = 20
const LOOPBACK = ['127.0.0.1', '::1']
/** Codes of a machine without IPv6. */
const NO_SUCH_FAMILY = ['EADDRNOTAVAIL', 'EAFNOSUPPORT', 'EPROTONOSUPPORT', 'EINVAL']

type Proxied =
  | { readonly length: number; readonly peer: ProxiedPeer | null }
  | { readonly invalid: string }

export class Listener {
  readonly #options: ListenerOptions
  readonly #admission: Admission
  readonly #trusted: BlockList
  readonly #servers: Server[] = []
  /** Every open socket and the address it is counted under. */
  readonly #sockets = new Map<Socket, string>()
  /** Sockets whose first bytes have not yet said what they speak. */
  readonly #undecided = new Set<Duplex>()
  /** Whom a proxy named, until the TLS handshake is done; by the socket's own addresses. */
  readonly #named = new Map<string, SocketPeer>()
  readonly #httpPeers = new WeakMap<Duplex, SocketPeer>()
  readonly #left: (this: Socket) => void

  /** Throws a person-readable Error when `trustProxy` names something that is no network. */
  constructor(options: ListenerOptions) {
    const { connections, limits, counters } = options
    this.#options = options
    this.#admission = new Admission(connections, limits.connectionsPerAddress, counters)
    this.#trusted = networks(options.trustProxy)
    const leave = (socket: Socket): void => this.#leave(socket)
    this.#left = function (this: Socket) {
      leave(this)
    }
    options.tls?.on('secureConnection', (socket) => this.#secured(socket))
    options.tls?.on('tlsClientError', (_error, socket) => {
      counters.protocolErrors++
      socket.destroy()
    })
  }

  /**
   * Opens one port on each host; without hosts, or for `localhost`, on loopback in IPv4 and, where there is one,
   * IPv6. Port 0 takes a free one. Throws ListenError; what was opened before it stays open until `stop`.
   */
  async listen(port: number, hosts: readonly string[] = []): Promise<AddressInfo[]> {
    const named = hosts.length > 0 ? hosts : ['localhost']
    const targets = named.flatMap((host) => (host === 'localhost' ? LOOPBACK : [host]))
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#listenAll(port, targets, named.includes('localhost'))
      } catch (error) {
        const taken = error instanceof ListenError && error.code === 'EADDRINUSE'
        if (port !== 0 || !taken || attempt === PORT_ATTEMPTS) throw error
      }
    }
  }

  /** Who is on the other side of an HTTP request's socket. */
  peerOf(socket: Duplex): SocketPeer {
    return this.#httpPeers.get(socket) ?? { address: '', port: 0, secure: false }
  }

  /**
   * Accepts nobody any more; resolves when every connection is gone. Sockets whose protocol is not yet known and
   * idle HTTP connections are closed here, links by who made them, and what is left by `destroy`.
   */
  async stop(): Promise<void> {
    const closed = this.#servers.map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    )
    this.#servers.length = 0
    for (const socket of this.#undecided) socket.destroy()
    this.#options.http.closeIdleConnections()
    await Promise.all(closed)
  }

  /** Drops every connection at once. */
  destroy(): void {
    for (const socket of this.#sockets.keys()) socket.destroy()
  }

  async #listenAll(
    port: number,
    targets: readonly string[],
    loopback: boolean,
  ): Promise<AddressInfo[]> {
    const opened: { server: Server; address: AddressInfo }[] = []
    try {
      for (const host of targets) {
        const wanted = port === 0 ? (opened[0]?.address.port ?? 0) : port
        const optional = loopback && host === '::1' && opened.length > 0
        const server = await this.#open(host, wanted, optional)
        if (server !== null) opened.push({ server, address: server.address() as AddressInfo })
      }
    } catch (error) {
      for (const { server } of opened) server.close()
      throw error
    }
    this.#servers.push(...opened.map(({ server }) => server))
    return opened.map(({ address }) => address)
  }

  #open(host: string, port: number, optional: boolean): Promise<Server | null> {
    const server = createServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: TCP_KEEP_ALIVE_MS,
    })
    server.maxConnections = this.#options.connections
    server.on('connection', (socket) => this.#accept(socket))
    server.on('drop', () => this.#admission.refuse())
    return new Promise((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException): void => {
        const code = error.code ?? error.message
        if (optional && NO_SUCH_FAMILY.includes(code)) resolve(null)
        else reject(new ListenError(code, host, port, { cause: error }))
      }
      server.once('error', failed)
      try {
        server.listen({ host, port, backlog: BACKLOG }, () => {
          server.off('error', failed)
          // Accepting may fail for want of descriptors; that must not end the server.
          server.on('error', () => this.#admission.refuse())
          resolve(server)
        })
      } catch (error) {
        failed(error as NodeJS.ErrnoException)
      }
    })
  }

  #accept(socket: Socket): void {
    // Without an address the other side has left already.
    const address = plainAddress(socket.remoteAddress)
    const trusted = address !== '' && this.#trusted.check(address, familyOf(address))
    const counted = trusted ? '' : address
    if (address === '' || !this.#admission.enter(counted)) {
      socket.destroy()
      return
    }
    this.#sockets.set(socket, counted)
    socket.on('close', this.#left)
    // Whoever owns the socket later hears of errors himself; until then `close` says all there is to know.
    socket.on('error', ignore)
    const peer = { address, port: socket.remotePort ?? 0, secure: false }
    if (trusted) this.#awaitProxy(socket, peer)
    else this.#awaitCaller(socket, peer)
  }

  #leave(socket: Socket): void {
    const counted = this.#sockets.get(socket)
    if (counted === undefined) return
    this.#sockets.delete(socket)
    this.#admission.leave(counted)
  }

  #awaitProxy(socket: Socket, peer: SocketPeer): void {
    this.#await<Proxied>(socket, {
      judge: (bytes) => {
        const header = readProxyHeader(bytes)
        if (header.kind === 'partial') return null
        if (header.kind === 'invalid') return { invalid: header.why }
        return header.kind === 'none' ? { length: 0, peer: null } : header
      },
      unclear: () => ({ length: 0, peer: null }),
      done: (proxied, bytes, ended) => {
        if ('invalid' in proxied) this.#refuseProxy(socket)
        else this.#proxied(socket, peer, proxied, bytes, ended)
      },
    })
  }

  #refuseProxy(socket: Socket): void {
    this.#options.counters.protocolErrors++
    socket.destroy()
  }

  #proxied(
    socket: Socket,
    proxy: SocketPeer,
    { length, peer: named }: { length: number; peer: ProxiedPeer | null },
    bytes: Buffer,
    ended: boolean,
  ): void {
    let peer = proxy
    if (named !== null) {
      peer = { address: plainAddress(named.address), port: named.port, secure: false }
      if (!this.#admission.rename('', peer.address)) {
        socket.destroy()
        return
      }
      this.#sockets.set(socket, peer.address)
      this.#nameForTls(socket, peer)
    }
    const rest = bytes.subarray(length)
    if (ended) {
      if (rest.length > 0) this.#link('line', socket, peer, rest, true)
      else socket.end()
      return
    }
    this.#awaitCaller(socket, peer, rest)
  }

  /** The TLS layer makes a socket of its own on top; it finds its peer by the addresses both share. */
  #nameForTls(socket: Socket, peer: SocketPeer): void {
    if (this.#options.tls === null) return
    const way = wayOf(socket)
    this.#named.set(way, peer)
    socket.once('close', () => this.#named.delete(way))
  }

  #secured(socket: TLSSocket): void {
    socket.on('error', ignore)
    const named = this.#named.get(wayOf(socket))
    const address = named?.address ?? plainAddress(socket.remoteAddress)
    const peer = { address, port: named?.port ?? socket.remotePort ?? 0, secure: true }
    this.#awaitCaller(socket, peer)
  }

  /** `first` was read already, with a PROXY header. */
  #awaitCaller(socket: Socket, peer: SocketPeer, first: Buffer = NOTHING): void {
    if (first.length > 0) {
      const caller = recognise(first)
      if (caller !== 'wait') {
        this.#hand(caller, socket, peer, first, false)
        return
      }
      socket.unshift(first)
    }
    this.#await<Exclude<Caller, 'wait'>>(socket, {
      judge: (bytes) => {
        const caller = recognise(bytes)
        return caller === 'wait' ? null : caller
      },
      unclear: () => 'line',
      done: (caller, bytes, ended) => this.#hand(caller, socket, peer, bytes, ended),
    })
  }

  #await<Verdict>(
    socket: Socket,
    part: {
      judge(bytes: Buffer): Verdict | null
      unclear(): Verdict
      done(verdict: Verdict, bytes: Buffer, ended: boolean): void
    },
  ): void {
    const { runtime, limits, counters } = this.#options
    this.#undecided.add(socket)
    awaitBeginning<Verdict>(socket, {
      runtime,
      silence: limits.idleTimeout * 1000,
      patience: limits.connectTimeout * 1000,
      judge: part.judge,
      unclear: part.unclear,
      done: (verdict, bytes, ended) => {
        this.#undecided.delete(socket)
        part.done(verdict, bytes, ended)
      },
      closed: () => this.#undecided.delete(socket),
      silent: () => {
        this.#undecided.delete(socket)
        counters.limitsReached++
        socket.destroy()
      },
    })
  }

  #hand(
    caller: Exclude<Caller, 'wait'>,
    socket: Socket,
    peer: SocketPeer,
    bytes: Buffer,
    ended: boolean,
  ): void {
    const { tls, http } = this.#options
    if (caller === 'http') {
      this.#httpPeers.set(socket, peer)
      handOver(http, socket, bytes)
      // The TLS layer reads below the socket; an HTTP server waits for it to flow.
      socket.resume()
    } else if (caller === 'tls' && tls !== null && !peer.secure) handOver(tls, socket, bytes)
    else if (caller === 'line' && readProxyHeader(bytes).kind === 'header') {
      // It would be read as lines and answered with errors that only a load balancer hears.
      this.#refuseProxy(socket)
      this.#options.untrusted(peer.address)
    } else this.#link(caller === 'mqtt' ? 'mqtt' : 'line', socket, peer, bytes, ended)
  }

  #link(
    protocol: 'mqtt' | 'line',
    socket: Socket,
    peer: SocketPeer,
    bytes: Buffer,
    ended: boolean,
  ): void {
    const wire = this.#options.wire(socket, peer)
    const reader = protocol === 'mqtt' ? this.#options.mqtt(wire) : this.#options.line(wire)
    wire.attach(reader)
    reader.read(bytes)
    if (ended) reader.ended()
  }
}

const NOTHING = Buffer.alloc(0)

function ignore(): void {}

/** Gives a socket to a server as if it had been accepted there, nothing read. */
function handOver(server: HttpServer | TlsServer, socket: Socket, bytes: Buffer): void {
  socket.pause()
  socket.unshift(bytes)
  server.emit('connection', socket)
}

/** An IPv4 address as such, also where a socket for both families spells it as IPv6. */
function plainAddress(address: string | undefined): string {
  if (address === undefined) return ''
  return address.startsWith('::ffff:') && isIP(address.slice(7)) === 4 ? address.slice(7) : address
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4'
}

/** What is the same for a TLS socket and the TCP socket below it, and for no two open connections. */
function wayOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`
}

function networks(trusted: readonly string[]): BlockList {
  const list = new BlockList()
  for (const each of trusted) {
    const [address = '', bits] = each.split('/')
    const most = isIP(address) === 6 ? 128 : 32
    if (isIP(address) === 0 || (bits !== undefined && !(/^\d+$/.test(bits) && +bits <= most))) {
      throw new Error(
        `${each} is no address or network to trust; write 10.0.0.7, 10.0.0.0/8 or fd00::/8`,
      )
    }
    list.addSubnet(address, bits === undefined ? most : Number(bits), familyOf(address))
  }
  return list
}
