// A broker on the memory engine behind an HTTP door on a port of its own, for the tests of the door.
import type { Server } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { type Access, OPEN_ACCESS } from '../../src/core/access.ts'
import { SILENT } from '../../src/core/activity.ts'
import { Broker } from '../../src/core/broker.ts'
import type { Limits } from '../../src/core/limits.ts'
import { MemoryEngine } from '../../src/engine/memory.ts'
import { topicRoutes } from '../../src/http/api.ts'
import { createDoor } from '../../src/http/door.ts'
import { healthRoutes } from '../../src/http/health.ts'
import type { OriginRules } from '../../src/http/origin.ts'
import { pageRoute } from '../../src/http/page.ts'
import { NodeRuntime } from '../../src/server/node-runtime.ts'

export interface WorldOptions {
  readonly access?: Access
  readonly limits?: Partial<Limits>
  readonly origins?: OriginRules
}

export async function openWorld({ access, limits, origins }: WorldOptions = {}) {
  const runtime = new NodeRuntime()
  const engine = new MemoryEngine(runtime)
  const shown: string[] = []
  const broker = new Broker({
    engine,
    runtime,
    access: access ?? OPEN_ACCESS,
    ...(limits === undefined ? {} : { limits }),
    activity: {
      ...SILENT,
      published: (who, run) => {
        for (const { topic, payload } of run.messages()) {
          shown.push(`${who.door} ${topic.name}: ${payload}`)
        }
      },
    },
  })
  await broker.open()
  const state = { draining: false, p99: 0.001, faults: [] as unknown[] }
  const rules = origins ?? { origins: [], hosts: [] }
  const http: Server = createDoor(
    [
      pageRoute('1.2.3', rules),
      ...healthRoutes({
        broker,
        delay: { read: () => ({ p50: 0.0001, p99: state.p99 }) },
        version: '1.2.3',
        draining: () => state.draining,
        uptime: () => 7,
      }),
      ...topicRoutes({
        broker,
        origins: rules,
        peerOf: () => ({ address: '127.0.0.1', port: 4711 }),
      }),
    ],
    { headers: 10 },
    (error) => state.faults.push(error),
  )
  const listener = createTcpServer({ allowHalfOpen: true }, (socket) => {
    http.emit('connection', socket)
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const { port } = listener.address() as AddressInfo
  return {
    broker,
    engine,
    state,
    shown,
    http,
    port,
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      http.closeAllConnections()
      http.close()
      listener.close()
      await broker.close('the test is over')
    },
  }
}

export type World = Awaited<ReturnType<typeof openWorld>>
