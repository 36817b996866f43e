// Asks the monitoring addresses of the NATS servers whether each of them syncs before it
// acknowledges: only there does it show.

const TIMEOUT_MS = 3_000

interface Varz {
  readonly server_name?: string
  readonly jetstream?: { readonly config?: { readonly sync_always?: boolean } }
}

/** Says what was found, one sentence a server; never throws. */
export async function askWhetherSynced(
  addresses: readonly string[],
  notify: (message: string) => void,
): Promise<void> {
  if (addresses.length === 0) {
    notify(
      'not verified that every NATS server syncs always: a power cut of several at once could lose messages; ' +
        'set sync_interval: always on each and name their monitoring addresses',
    )
    return
  }
  await Promise.all(
    addresses.map(async (address) => {
      const answer = await ask(address)
      if (answer !== null) notify(answer)
    }),
  )
}

async function ask(address: string): Promise<string | null> {
  try {
    const url = new URL('/varz', address)
    const answer = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    const { jetstream, server_name } = (await answer.json()) as Varz
    if (jetstream?.config?.sync_always === true) return null
    const name = server_name ?? address
    return `the NATS server ${name} acknowledges before it syncs: set sync_interval: always in its jetstream block`
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return `not verified that the NATS server at ${address} syncs always: its monitoring address did not answer (${why})`
  }
}
