// Everything that answers HTTP on the port, put together: the page, health and figures, topics.
// Owns what has to be measured for them.

import type { Server as HttpServer } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Broker } from '../core/broker.ts'
import { topicRoutes } from '../http/api.ts'
import { createDoor } from '../http/door.ts'
import { healthRoutes } from '../http/health.ts'
import { LoopDelay } from '../http/loop-delay.ts'
import type { OriginRules } from '../http/origin.ts'
import { pageRoute } from '../http/page.ts'
import type { SocketPeer } from './listener.ts'
import { VERSION } from './version.ts'

export interface WebOptions {
  readonly broker: Broker
  readonly origins: OriginRules
  /** Seconds in which the headers of a request must have come. */
  readonly headersTimeout: number
  draining(): boolean
  peerOf(socket: Duplex): SocketPeer
  /** Told of answers that failed by a fault of ours. */
  failed(sentence: string): void
}

export class Web {
  /** Never listens: sockets on which HTTP is spoken are given to it. */
  readonly server: HttpServer
  readonly #delay = new LoopDelay()

  constructor(options: WebOptions) {
    const { broker, origins, headersTimeout, draining, peerOf, failed } = options
    const started = performance.now()
    this.server = createDoor(
      [
        pageRoute(VERSION, origins),
        ...healthRoutes({
          broker,
          delay: this.#delay,
          version: VERSION,
          draining,
          uptime: () => Math.round((performance.now() - started) / 1000),
        }),
        ...topicRoutes({ broker, origins, peerOf }),
      ],
      { headers: headersTimeout },
      (error) =>
        failed(`an HTTP answer failed: ${error instanceof Error ? error.message : String(error)}`),
    )
    // A connection that is kept for another request would hold the end up.
    this.server.prependListener('request', (request, response) => {
      const last = (): void => {
        if (draining() && !response.headersSent) response.setHeader('Connection', 'close')
      }
      last()
      request.once('end', last)
    })
  }

  stop(): void {
    this.#delay.stop()
    // Also ends its watch over late headers, which would otherwise go on for the life of the process.
    this.server.close()
  }
}
