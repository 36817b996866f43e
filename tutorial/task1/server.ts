// Task 1, the server: shows on this terminal every line a client sends.
// It serves one client after another and goes on when they leave. Try: npx tsx server.ts 5000
import { createServer } from 'node:net'

const MAX_LINE = 64 * 1024 // Characters. A line that never ends must not fill our memory.

// A client could send codes that clear our screen or hide text: show such characters as \u{1b}.
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`)
}

let clients = 0

// This function runs once for every client that connects; `socket` is our end of the line to it.
const server = createServer((socket) => {
  const name = `client ${++clients}`
  let rest = '' // The beginning of a line whose end has not arrived yet.
  console.log(`${name} connected`)

  // Bytes become text here. A letter like ü is two bytes: if the network cuts it in half, Node
  // keeps the first half until the second arrives.
  socket.setEncoding('utf8')
  // A machine that loses power cannot say goodbye. After a minute of silence, ask if it is there.
  socket.setKeepAlive(true, 60_000)

  function handle(line: string): void {
    if (line.trim().toLowerCase() === 'terminate') {
      console.log(`${name} says goodbye`)
      socket.destroySoon() // Send what is still waiting, then close.
    } else {
      console.log(`${name}: ${printable(line)}`)
    }
  }

  // TCP carries a stream of bytes, not lines: one chunk may hold half a line or twenty lines.
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split(/\r?\n/)
    rest = lines.pop() ?? '' // What follows the last line end is not complete yet: keep it.
    for (const line of lines) if (socket.writable) handle(line) // After terminate it is not.
    if (rest.length > MAX_LINE) socket.destroy(new Error('its line is longer than 64 KiB'))
  })
  // The client will send no more. Its last line may have had no line end. After this Node
  // sends what still waits and closes our side too.
  socket.on('end', () => {
    if (rest !== '' && socket.writable) handle(rest)
  })
  // Without this handler, a client whose connection breaks would end the whole server.
  socket.on('error', (error) => console.log(`${name} was cut off: ${error.message}`))
  // Whatever happened before, this comes exactly once and last.
  socket.on('close', () => console.log(`${name} disconnected`))
})

function stop(why: string): never {
  console.error(why)
  process.exit(1)
}
const port = Number(process.argv[2] ?? 5000)
if (!(port > 0 && port < 65_536)) stop('usage: npx tsx server.ts 5000')
server.on('error', (error) => stop(`${error.message}. Try: npx tsx server.ts ${port + 1}`))

// bind and listen in one call. 127.0.0.1 means: only programs on this same machine can reach us.
server.listen(port, '127.0.0.1', () => console.log(`listening on port ${port}; Ctrl-C stops me`))
