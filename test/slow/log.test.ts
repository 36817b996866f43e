// A log that cannot be written: the server goes on, and ends when it is told to.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, existsSync, openSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { skipSuite } from '../support/programs.ts'

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const title = 'a server whose log goes to a full disk'

if (existsSync('/dev/full')) describe(title, onFullDisk)
else skipSuite(title, 'it needs /dev/full, which Linux has')

function onFullDisk(): void {
  it('ends with status 0 when it is told to', async () => {
    const full = openSync('/dev/full', 'w')
    const server = spawn(process.execPath, [main, 'serve', '0', '--engine', 'memory'], {
      stdio: ['ignore', full, 'pipe'],
    })
    closeSync(full)
    // Beside the log it says on its standard error where it listens.
    const [said] = (await once(server.stderr!, 'data')) as [Buffer]
    expect(said.toString()).toContain('listening on')
    const ended = once(server, 'close', { signal: AbortSignal.timeout(10_000) })
    server.kill('SIGTERM')
    try {
      expect(await ended).toEqual([0, null])
    } finally {
      server.kill('SIGKILL')
    }
  })
}
