// A running Partyline: engine, broker, doors and the port, started in order and stopped in
// reverse. Both `partyline serve` and an embedding program run exactly this.

import type { AddressInfo } from 'node:net'
import type { Access, AccessClass } from '../core/access.ts'
import type { Activity } from '../core/activity.ts'
import { Broker } from '../core/broker.ts'
import { Deadlines } from '../core/deadlines.ts'
import { Farewell } from '../core/farewell.ts'
import type { Session } from '../core/session.ts'
import { ReadBuffers } from '../net/read-buffers.ts'
import { type TcpSettings, TcpWire } from '../net/tcp.ts'
import { LineDoor } from '../protocol/line/door.ts'
import { MqttDoor } from '../protocol/mqtt/door.ts'
import { connectionBound, descriptorLimit } from './descriptors.ts'
import { Listener } from './listener.ts'
import { NodeRuntime } from './node-runtime.ts'
import { denySubscribe, openAccess } from './open-access.ts'
import type { Settings } from './options.ts'
import { engineOf } from './storage.ts'
import { SysTopics } from './sys.ts'
import { TlsDoor } from './tls.ts'
import { acceptUpgrades } from './upgrades.ts'
import { Users } from './users.ts'
import { VERSION } from './version.ts'
import { Web } from './web.ts'

/** Milliseconds the last bytes of every link have to leave. */
const DRAIN_MS = 3_000
const STALL_GRANULARITY_MS = 1_000
/** What clients are told at the end. */
const ENDS = 'the server is shutting down'
/** Addresses of untrusted proxies that the log tells; more are most likely somebody's joke. */
const STRANGERS_TOLD = 10

/** What an operator should read. */
export interface Notes {
  info(sentence: string): void
  warn(sentence: string): void
  error(sentence: string): void
}

export interface ServerParts {
  readonly settings: Settings
  readonly notes: Notes
  readonly activity: Activity
  /** Told once when the engine failed for good: nothing is acknowledged any more. */
  failed(why: string): void
}

export class Server {
  readonly broker: Broker
  readonly #parts: ServerParts
  readonly #runtime = new NodeRuntime()
  readonly #users: Users | null
  readonly #mqtt: MqttDoor
  readonly #line: LineDoor
  readonly #web: Web
  readonly #tls: TlsDoor | null
  readonly #listener: Listener
  readonly #stalls: Deadlines<TcpWire>
  readonly #strangers = new Set<string>()
  #sys: SysTopics | null = null
  #addresses: readonly AddressInfo[] = []
  #draining = false
  #farewell: Farewell | null = null
  #stopping = false

  /** @throws Error for people, when settings name something that cannot be used. */
  constructor(parts: ServerParts) {
    const { settings, notes, activity } = parts
    this.#parts = parts
    const { users, allowAnonymous } = settings
    this.#users = users === '' ? null : new Users(users, this.#runtime, { allowAnonymous })
    this.broker = new Broker({
      engine: engineOf({
        settings,
        runtime: this.#runtime,
        // Stored topics are looked up in the broker's table, which is made after its engine.
        resolve: (bytes, start, length) => this.broker.topics.find(bytes, start, length),
        notify: (sentence) => notes.warn(sentence),
      }),
      runtime: this.#runtime,
      access: this.#access(),
      limits: settings.limits,
      logFull: settings.logFull,
      activity,
      report: (what, about) => notes.warn(`${what}: ${about}`),
    })
    this.broker.onState = (state, why) => this.#engineState(state, why)
    this.#mqtt = new MqttDoor(this.broker)
    this.#line = new LineDoor(this.broker)
    this.#tls = this.#openTls()
    this.#web = new Web({
      broker: this.broker,
      origins: { origins: settings.allowOrigins, hosts: settings.allowHosts },
      headersTimeout: settings.limits.connectTimeout,
      draining: () => this.#draining,
      peerOf: (socket) => this.#listener.peerOf(socket),
      failed: (sentence) => notes.error(sentence),
    })
    this.#stalls = new Deadlines(this.#runtime, STALL_GRANULARITY_MS, (wire) => wire.stalled())
    this.#listener = this.#listen()
  }

  /** Where it listens; empty before `start`. */
  get addresses(): readonly AddressInfo[] {
    return this.#addresses
  }

  /** Whether it takes new work: false while the engine is down and while it stops. */
  get ready(): boolean {
    return !this.#draining && this.broker.state === 'up'
  }

  #access(): Access {
    const { settings, notes } = this.#parts
    const access = this.#users ?? openAccess((sentence) => notes.info(sentence))
    return denySubscribe(access, settings.denySubscribe)
  }

  #openTls(): TlsDoor | null {
    const { tlsCert, tlsKey, limits } = this.#parts.settings
    if (tlsCert === '' && tlsKey === '') return null
    if (tlsCert === '' || tlsKey === '') {
      throw new Error('TLS needs both a certificate and its key: --tls-cert FILE --tls-key FILE')
    }
    return new TlsDoor(tlsCert, tlsKey, limits.connectTimeout)
  }

  #engineState(state: 'up' | 'down' | 'failed', why: string): void {
    const { notes } = this.#parts
    if (state === 'up') notes.info(`the ${this.broker.engine.name} engine is up again`)
    else notes.error(`the ${this.broker.engine.name} engine is ${state}: ${why}`)
    if (state === 'failed') this.#parts.failed(why)
  }

  #listen(): Listener {
    const { limits, allowOrigins, allowHosts, trustProxy } = this.#parts.settings
    const { broker } = this
    const wires: TcpSettings = {
      runtime: this.#runtime,
      counters: broker.counters,
      congestion: limits.queueBytes,
      stallTimeout: limits.stallTimeout,
      stalls: this.#stalls,
      reads: new ReadBuffers(this.#runtime),
    }
    const listener = new Listener({
      limits,
      runtime: this.#runtime,
      counters: broker.counters,
      connections: connectionBound(limits.connections, descriptorLimit()),
      trustProxy,
      untrusted: (address) => this.#tellUntrusted(address),
      tls: this.#tls?.server ?? null,
      http: this.#web.server,
      wire: (socket, peer) => new TcpWire(socket, peer, wires),
      mqtt: (wire) => this.#mqtt.open(wire),
      line: (wire) => this.#line.accept(wire),
    })
    acceptUpgrades(this.#web.server, {
      ...wires,
      origins: { origins: allowOrigins, hosts: allowHosts },
      packetBytes: limits.packetBytes,
      mqtt: (wire) => this.#mqtt.open(wire),
      peerOf: (socket) => listener.peerOf(socket),
    })
    return listener
  }

  #tellUntrusted(address: string): void {
    if (this.#strangers.has(address) || this.#strangers.size === STRANGERS_TOLD) return
    this.#strangers.add(address)
    this.#parts.notes.warn(
      `${address} sends PROXY headers and is not trusted, so its connections are closed; ` +
        `if it is a load balancer of yours, start with --trust-proxy ${address}`,
    )
  }

  /** Opens the engine and then the ports. Rejects with an Error for people; nothing is left open then. */
  async start(): Promise<void> {
    try {
      await this.broker.open()
    } catch (error) {
      // Of the two things that the same server cannot have twice, its port is the one to hear of.
      await this.#openPorts().finally(() => this.#listener.stop())
      this.#web.stop()
      throw error
    }
    try {
      this.#addresses = await this.#openPorts()
      const { sysInterval } = this.#parts.settings
      this.#sys = new SysTopics({ broker: this.broker, version: VERSION, interval: sysInterval })
    } catch (error) {
      this.#web.stop()
      await this.#listener.stop()
      await this.broker.close('the server could not start')
      throw error
    }
  }

  async #openPorts(): Promise<AddressInfo[]> {
    const { ports, hosts } = this.#parts.settings
    const opened: AddressInfo[] = []
    for (const port of ports) opened.push(...(await this.#listener.listen(port, hosts)))
    return opened
  }

  /**
   * From now on `/readyz` answers 503, and everything else goes on: load balancers send nobody new. Where there are
   * other nodes, clients are sent there over the second half of so many milliseconds, after which `stop` is to follow.
   */
  drain(time = 0): void {
    this.#draining = true
    this.#farewell ??= new Farewell(this.broker, time, ENDS)
  }

  /** Says goodbye to everybody, saves what is to be saved and closes. Takes about 3 seconds at most. */
  async stop(): Promise<void> {
    if (this.#stopping) return
    this.#stopping = true
    this.#draining = true
    this.#sys?.stop()
    this.#farewell?.stop()
    const stopped = this.#listener.stop()
    this.#line.close(ENDS)
    await this.broker.close(ENDS)
    const timer = this.#runtime.after(DRAIN_MS, () => this.#listener.destroy())
    // The timer above does not keep the process alive; the sockets it waits for do.
    await stopped
    timer.cancel()
    this.#web.stop()
    this.#mqtt.stop()
    this.#stalls.stop()
  }

  /** Reads certificate and users file again: each as a whole or, when it cannot be used, not at all. */
  async reload(): Promise<void> {
    this.#reloadTls()
    if (this.#users === null) return
    const { users, revoked } = this.#users.reload()
    let closed = 0
    for (const session of this.broker.sessions.all()) {
      const access = revoked.has(session.user)
        ? null
        : this.broker.access.classOf(session.user, session.id)
      if (access !== null) this.#rule(session, access)
      else if (session.link !== null) {
        session.link.close('access-revoked', 'the users file was changed')
        closed++
      }
    }
    this.#parts.notes.info(
      `read the users file again (users: ${users}, connections closed: ${closed})`,
    )
  }

  #reloadTls(): void {
    if (this.#tls === null) return
    try {
      this.#tls.reload()
      this.#parts.notes.info('read the certificate again: new connections use it')
    } catch (error) {
      this.#parts.notes.error(`${(error as Error).message}; the old certificate stays in use`)
    }
  }

  /** The rules that hold from now on, also for what was subscribed to before. */
  #rule(session: Session, access: AccessClass): void {
    session.access = access
    let lost = false
    for (const { filter, group } of [...session.subscriptions()]) {
      if (access.maySubscribe(group?.filter ?? filter)) continue
      lost = this.broker.unsubscribe(session, filter) || lost
    }
    if (!lost || !session.persistent) return
    this.broker.saver.profile(session).catch((error: unknown) => {
      this.#parts.notes.warn(`session ${session.id} could not be saved: ${String(error)}`)
    })
  }
}
