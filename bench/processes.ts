// Child processes of the benchmark: free ports, start, readiness, stop, and what /proc tells about them.
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

/** Where the benchmark keeps what it builds, installs and logs. */
export const cache = path.join(root, '.cache', 'bench')

/** A port of 127.0.0.1 that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = net.createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as net.AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

export interface Server {
  readonly pid: number
  readonly port: number
  readonly websocketPort: number
  stop(): Promise<void>
}

export interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly env?: Readonly<Record<string, string>>
}

const STARTUP_MS = 120_000

/**
 * Starts a server and resolves once it accepts connections on the port. Its output goes to a file in .cache/bench/logs.
 * Rejects with the last lines of that file when it ends or stays silent for 2 minutes.
 */
export async function startServer(
  name: string,
  command: Command,
  ports: { port: number; websocketPort: number },
): Promise<Server> {
  const logs = path.join(cache, 'logs')
  mkdirSync(logs, { recursive: true })
  const logFile = path.join(logs, `${name}.log`)
  const log = openSync(logFile, 'w')
  const env = { ...process.env, ...command.env }
  const child = spawn(command.file, command.args, { cwd: root, env, stdio: ['ignore', log, log] })
  closeSync(log)
  alive.add(child)
  child.once('exit', () => alive.delete(child))
  child.once('error', () => alive.delete(child))
  const stop = () => stopChild(child)
  try {
    await accepts(child, ports.port)
  } catch (error) {
    await stop()
    const last = readFileSync(logFile, 'utf8').trim().split('\n').slice(-3).join(' / ')
    throw new Error(`${name} did not start: ${(error as Error).message}${last && `; ${last}`}`)
  }
  return { pid: child.pid!, ...ports, stop }
}

const alive = new Set<ChildProcess>()

/** Ends whatever this process started. */
export function killAll(): void {
  for (const child of alive) child.kill('SIGKILL')
}

/** Who interrupts the benchmark ends what it started, too. */
export function endTogether(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      killAll()
      process.exit(130)
    })
  }
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  const gone = new Promise((resolve) => child.once('exit', resolve))
  child.kill('SIGTERM')
  const impatience = setTimeout(() => child.kill('SIGKILL'), 3000)
  await gone
  clearTimeout(impatience)
}

async function accepts(child: ChildProcess, port: number): Promise<void> {
  let ended: Error | undefined
  child.once('error', (error) => {
    ended = error
  })
  child.once('exit', (code, signal) => {
    ended ??= new Error(`it ended with ${signal ?? `status ${code}`}`)
  })
  const limit = Date.now() + STARTUP_MS
  while (Date.now() < limit) {
    if (ended) throw ended
    if (await connects(port)) return
    await pause(20)
  }
  throw new Error(`it does not accept connections on port ${port}`)
}

function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1')
    const end = (answer: boolean) => {
      socket.destroy()
      resolve(answer)
    }
    socket.once('connect', () => end(true))
    socket.once('error', () => end(false))
  })
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

/** Processor time of a process in seconds, or undefined where there is no /proc. */
export function cpuSeconds(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    // Fields 14 and 15 of proc(5), counted in hundredths of a second.
    return (Number(fields[11]) + Number(fields[12])) / 100
  } catch {
    return undefined
  }
}

/** Resident memory of a process in bytes, or undefined where there is no /proc. */
export function residentBytes(pid: number): number | undefined {
  try {
    const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return line ? Number(line[1]) * 1024 : undefined
  } catch {
    return undefined
  }
}
