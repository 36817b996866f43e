// `npm start`: sets the clone up, then becomes the server, in this very process. One process
// fewer between npm and the server means that a signal has one hop fewer to get lost on; what
// remains of that problem (a shell that does not pass signals on, an npm killed outright) is
// solved by watching the ancestors. docs/decisions/0003 says what was measured.
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { endWith, root, setUp } from './setup.mjs'

const EVERY = 500 // ms between two looks at the ancestors

/**
 * Ends this process, as SIGTERM would, once npm or the shell between npm and us has gone.
 * Only under npm: whoever runs this file by hand with nohup wants it to stay.
 */
function watchAncestors() {
  if (process.env.npm_lifecycle_event === undefined) return
  const parent = process.ppid
  const watched = [parent, shellsParent(parent)].filter((pid) => pid !== undefined && pid > 1)
  const timer = setInterval(() => {
    if (process.ppid === parent && watched.every(isAlive)) return
    clearInterval(timer)
    // Emitted rather than sent: on Windows a process that sends itself SIGTERM dies undrained.
    if (!process.emit('SIGTERM', 'SIGTERM')) process.exit(143)
  }, EVERY)
  timer.unref()
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code !== 'ESRCH'
  }
}

/**
 * The parent of our parent when that is a shell: dash and bash replace themselves by the command
 * they were given, busybox need not, and then npm's death leaves our parent alive.
 */
function shellsParent(pid) {
  if (process.platform === 'win32') return undefined
  try {
    const [parent, command] = describe(pid)
    return /(^|\/)-?(ba|da|a|z|k)?sh$|busybox/.test(command) ? parent : undefined
  } catch {
    return undefined // No ps here: our own parent is watched all the same.
  }
}

/** @returns {[number, string]} the parent's id and the command's name */
function describe(pid) {
  if (fs.existsSync('/proc/self/stat')) {
    const [, name, parent] = /\((.*)\) \S (\d+)/s.exec(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'))
    return [Number(parent), name]
  }
  const line = execFileSync('ps', ['-o', 'ppid=,comm=', '-p', String(pid)], { encoding: 'utf8' })
  const [, parent, name] = /^\s*(\d+)\s+(.*?)\s*$/s.exec(line)
  return [Number(parent), name]
}

watchAncestors()
await setUp().catch(endWith)
const main = path.join(root, 'dist', 'cli', 'main.js')
process.argv = [process.argv[0], main, 'serve', ...process.argv.slice(2)]
await import(pathToFileURL(main).href)
