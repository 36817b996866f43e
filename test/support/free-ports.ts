// Ports for servers that cannot choose their own: of those below the ones that outgoing connections are given, so that
// none of them takes the place of a server that is about to start, or to start again.

import net from 'node:net'

const FIRST = 10_000
const LAST = 30_000

/** How many ports `partyline cluster up` counts from its first one. */
const BLOCK = 41

/** One that nobody listens on at this moment. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1)
  return port!
}

/** So many different ones. */
export async function freePorts(count: number): Promise<number[]> {
  const held = new Map<number, net.Server>()
  while (held.size < count) {
    const port = anyPort()
    const probe = await listening(port)
    if (probe !== null) held.set(port, probe)
  }
  await Promise.all([...held.values()].map(closed))
  return [...held.keys()]
}

/** The first of as many in a row as a cluster on this machine takes. */
export async function freeBlock(): Promise<number> {
  for (;;) {
    const first = anyPort()
    const ports = Array.from({ length: BLOCK }, (_, n) => first + n)
    const probes = (await Promise.all(ports.map(listening))).filter((probe) => probe !== null)
    await Promise.all(probes.map(closed))
    if (probes.length === BLOCK) return first
  }
}

function anyPort(): number {
  return FIRST + Math.floor(Math.random() * (LAST - FIRST))
}

/** Null when the port is somebody's. */
function listening(port: number): Promise<net.Server | null> {
  const probe = net.createServer()
  return new Promise((resolve) => {
    probe.once('error', () => resolve(null))
    probe.listen(port, '127.0.0.1', () => resolve(probe))
  })
}

function closed(probe: net.Server): Promise<void> {
  return new Promise((resolve) => probe.close(() => resolve()))
}
