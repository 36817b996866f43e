// The way from an HTTP request to a WebSocket that carries MQTT: on any path, for the `mqtt`
// subprotocol [MQTT-6.0.0-3], for pages that may. Everything else gets an answer in words.

import type { IncomingMessage, Server } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { Counters } from '../core/counters.ts'
import { type OriginRules, originFault } from '../http/origin.ts'
import { type WebSocketSettings, WebSocketWire } from '../net/websocket.ts'
import type { Wire, WireReader } from '../net/wire.ts'
import type { SocketPeer } from './listener.ts'

export interface UpgradesOptions extends WebSocketSettings {
  readonly counters: Counters
  readonly origins: OriginRules
  /** Bytes of one MQTT packet; a message may hold a little more than one. */
  readonly packetBytes: number
  mqtt(wire: Wire): WireReader
  peerOf(socket: Duplex): SocketPeer
}

/** Packets may share a message, so one message may be larger than one packet. */
const MESSAGE_SLACK = 64 * 1024
/** What MQTT 5 registers, and what clients of MQTT 3.1 say. The client's first choice is answered. */
const SUBPROTOCOLS = ['mqtt', 'mqttv3.1']

/** Answers every upgrade request of this HTTP server from now on. */
export function acceptUpgrades(http: Server, options: UpgradesOptions): void {
  const webSockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: options.packetBytes + MESSAGE_SLACK,
    handleProtocols: (offered) => [...offered].find((each) => SUBPROTOCOLS.includes(each)) ?? false,
  })
  http.on('upgrade', (request, socket, head) => {
    // Until the WebSocket has it, nobody else hears of a reset, and unheard it would end the process.
    socket.on('error', ignore)
    const fault = originFault(request.headers, options.origins)
    if (fault !== null) {
      options.counters.connectionsRefused++
      refuse(socket, '403 Forbidden', fault)
      return
    }
    const wanted = wantedFault(request)
    if (wanted !== null) {
      refuse(socket, '400 Bad Request', wanted)
      return
    }
    const peer = options.peerOf(socket)
    webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      const wire = new WebSocketWire(webSocket, peer, options)
      wire.attach(options.mqtt(wire))
    })
  })
}

function wantedFault(request: IncomingMessage): string | null {
  if (request.headers.upgrade?.toLowerCase() !== 'websocket') {
    return 'this server upgrades to websocket only'
  }
  const offered = (request.headers['sec-websocket-protocol'] ?? '').split(',')
  if (offered.some((each) => SUBPROTOCOLS.includes(each.trim()))) return null
  return "this WebSocket speaks MQTT; ask for the subprotocol mqtt: new WebSocket(url, 'mqtt')"
}

function refuse(socket: Duplex, status: string, why: string): void {
  const body = `${JSON.stringify({ error: why })}\n`
  // Nobody reads this socket any more: unread, its end would never be seen.
  socket.resume()
  socket.once('finish', () => socket.destroy())
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}

function ignore(): void {}
