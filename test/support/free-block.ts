// Ports for a whole cluster on this machine, which counts them from the first one.

import net from 'node:net'

/** How many ports `partyline cluster up` counts from its first one. */
const BLOCK = 41

/** The first of ports in a row that were all free a moment ago, below those that outgoing connections are given. */
export async function freeBlock(): Promise<number> {
  for (;;) {
    const first = 10_000 + Math.floor(Math.random() * 20_000)
    const free = await Promise.all(Array.from({ length: BLOCK }, (_, n) => isFree(first + n)))
    if (free.every(Boolean)) return first
  }
}

function isFree(port: number): Promise<boolean> {
  const probe = net.createServer()
  return new Promise((resolve) => {
    probe.once('error', () => resolve(false))
    probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)))
  })
}
