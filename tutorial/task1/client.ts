// Task 1, the client: sends every line typed on this terminal to the server.
// A line that says only "terminate" ends it. Try: npx tsx client.ts localhost 5000
import { connect } from 'node:net'

const [host = 'localhost', portText] = process.argv.slice(2)
const port = Number(portText ?? 5000)
if (!(port > 0 && port < 65_536)) {
  console.error('usage: npx tsx client.ts localhost 5000')
  process.exit(1)
}

let leaving = false // True once we have said goodbye: then a closed connection is no surprise.

const socket = connect(port, host, () => {
  console.log(`* connected to ${host}:${port}; terminate ends`)
})

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

// This server never answers. Reading all the same is how we notice that it hangs up.
socket.resume()

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
