// strace on a running process: its syncs are made slow, or made to fail.

import { type ChildProcess, spawn } from 'node:child_process'
import type { Program } from './programs.ts'

const SYNCS = 'fdatasync,fsync,msync'

/**
 * Has every sync of a running process, from now on, delayed (`delay_enter=` microseconds) or refused (`error=`).
 * Rejects when strace may not attach. Ends with the process that is returned.
 */
export async function injectSyncs(
  strace: Program,
  pid: number,
  how: string,
): Promise<ChildProcess> {
  const tracer = spawn(
    strace.path,
    [
      '-f',
      '-p',
      String(pid),
      '-o',
      '/dev/null',
      '-e',
      `trace=${SYNCS}`,
      '-e',
      `inject=${SYNCS}:${how}`,
    ],
    { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...strace.env } },
  )
  let said = ''
  await new Promise<void>((resolve, reject) => {
    tracer.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text
      if (/attached/.test(said)) resolve()
    })
    tracer.on('close', () =>
      reject(
        new Error(
          `strace could not attach (${said.trim()}); run as root or set kernel.yama.ptrace_scope to 0`,
        ),
      ),
    )
  })
  return tracer
}
