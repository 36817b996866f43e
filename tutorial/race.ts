// A race in a program with a single thread, made visible, and its cure.
// Two devices connect at the same time under one client identifier. Only one may own the session.
// Run it: npx tsx race.ts

/** What a server remembers for a client identifier: who is connected under it now. */
export type Owners = Map<string, string>

/**
 * Something the server has to wait for between its question and its decision: a disk, a database,
 * a password check. While it waits, the one thread does other work. That is where the race lives.
 */
export type Storage = { load(clientId: string): Promise<void> }

/** Answers which device was told "the session is yours". */
export type Connect = (clientId: string, device: string) => Promise<boolean>

/**
 * Wrong: look, wait, act. What we saw before the `await` need not be true after it. Two devices
 * both see a free session, both wait, and both are told that it is theirs.
 */
export function carelessDesk(owners: Owners, storage: Storage): Connect {
  return async (clientId, device) => {
    const free = !owners.has(clientId)
    await storage.load(clientId)
    if (free) owners.set(clientId, device)
    return free
  }
}

/**
 * Right: one queue for each identifier. Whoever comes second waits until the first is done, then
 * looks for itself. It is a lock, built from a promise; nobody with another identifier waits.
 */
export function carefulDesk(owners: Owners, storage: Storage): Connect {
  const queues = new Map<string, Promise<boolean>>()
  const lookWaitAct = carelessDesk(owners, storage)
  return async (clientId, device) => {
    const before = queues.get(clientId) ?? Promise.resolve(false)
    // The next two lines run without an await between them, so nothing can come between them.
    const mine = before.catch(() => false).then(() => lookWaitAct(clientId, device))
    queues.set(clientId, mine)
    try {
      return await mine
    } finally {
      // The last in the queue removes it, else the map would grow with every identifier ever seen.
      if (queues.get(clientId) === mine) queues.delete(clientId)
    }
  }
}

async function show(title: string, desk: typeof carelessDesk): Promise<void> {
  const owners: Owners = new Map()
  // A storage that answers in the next turn of the event loop: long enough for others to come in.
  const connect = desk(owners, { load: () => new Promise((resolve) => setImmediate(resolve)) })
  const devices = ['kitchen tablet', 'phone']
  const told = await Promise.all(devices.map((device) => connect('anna', device)))
  console.log(title)
  for (const [i, device] of devices.entries()) {
    console.log(`  ${device}: ${told[i] ? 'told "anna is yours"' : 'refused, anna is taken'}`)
  }
  console.log(`  the server believes the owner is: ${owners.get('anna')}`)
}

if (process.argv[1]?.endsWith('race.ts')) {
  await show('look, wait, act:', carelessDesk)
  await show('one queue for each identifier:', carefulDesk)
}
