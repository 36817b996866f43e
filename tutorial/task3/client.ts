// Task 3, the client: as in task 2, only that topics follow the role.
// Try: npx tsx client.ts localhost 5000 SUBSCRIBER SPORTS NEWS
import { connect } from 'node:net'

const MAX_LINE = 128 * 1024 // Characters; the server accepts 64 Ki and puts a label before.

const [host = 'localhost', portText, role = '', ...topics] = process.argv.slice(2)
const port = Number(portText ?? 5000)
if (!(port > 0 && port < 65_536) || !/^(PUBLISHER|SUBSCRIBER|)$/i.test(role)) {
  console.error('usage: npx tsx client.ts localhost 5000 SUBSCRIBER SPORTS')
  process.exit(1)
}

// Other people's text could drive our terminal: show control characters as \u{1b}.
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`)
}

let leaving = false // True once we have said goodbye: then a closed connection is no surprise.

const socket = connect(port, host, () => {
  console.log(`* connected to ${host}:${port}; terminate ends`)
})
if (role !== '') socket.write(`${[role, ...topics].join(' ')}\n`)

function send(line: string): void {
  if (leaving) return
  // False means: the network is slower than the keyboard (or the file). Stop reading for a while.
  if (!socket.write(`${line}\n`)) process.stdin.pause()
  if (line.trim().toLowerCase() === 'terminate') leave()
}
socket.on('drain', () => process.stdin.resume())

function leave(): void {
  leaving = true
  socket.end() // Everything written so far is still sent, then our side closes.
}

// The keyboard is a stream too. At a terminal it gives whole lines, from a pipe anything.
let typed = ''
process.stdin.setEncoding('utf8').on('data', (chunk: string) => {
  const lines = (typed + chunk).split(/\r?\n/)
  typed = lines.pop() ?? ''
  for (const line of lines) send(line)
})
// End of input: Ctrl-D at a terminal, or the end of a pipe.
process.stdin.on('end', () => {
  if (typed !== '') send(typed)
  leave()
})

let rest = ''
socket.setEncoding('utf8').on('data', (chunk: string) => {
  const lines = (rest + chunk).split(/\r?\n/)
  rest = lines.pop() ?? ''
  for (const line of lines) console.log(printable(line))
  if (rest.length > MAX_LINE) socket.destroy(new Error('the server sends a line without end'))
})

socket.on('error', (error: NodeJS.ErrnoException) => {
  process.exitCode = 1
  if (error.code === 'ECONNREFUSED') {
    console.error(`no server at ${host}:${port}. Start one first: npx tsx server.ts ${port}`)
  } else {
    console.error(`cannot talk to ${host}:${port}: ${error.message}`)
  }
})

socket.on('close', () => {
  process.stdin.destroy() // Stop waiting for the keyboard, so that the program can end.
  if (process.exitCode !== 1) console.log(leaving ? '* goodbye' : '* the server has gone away')
  if (!leaving) process.exitCode = 1
})
