// Starts Aedes with its in-memory persistence: MQTT over TCP and over WebSocket. The package is not a dependency of
// this project; the harness installs it into a folder of its own and names that folder here.
//   node aedes.mjs <folder> <port> <websocket port> <nodelay: true or false>

import { createServer as createHttpServer } from 'node:http'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { pathToFileURL } from 'node:url'

const [folder, port, websocketPort, noDelay] = process.argv.slice(2)
const require = createRequire(`${folder}/package.json`)
const { Aedes } = await import(pathToFileURL(require.resolve('aedes')).href)
const { WebSocketServer, createWebSocketStream } = require('ws')

// No periodic traffic, nobody cut off for reading late, no bound on half-done QoS 2 flows.
const aedes = await Aedes.createBroker({
  concurrency: 1_000,
  heartbeatInterval: 3_600_000,
  drainTimeout: 0,
  maxInflightInbound: 0,
})
createServer({ noDelay: noDelay === 'true' }, aedes.handle).listen(Number(port), '127.0.0.1', 4096)
const http = createHttpServer()
new WebSocketServer({ server: http, perMessageDeflate: false }).on(
  'connection',
  (socket, request) => aedes.handle(createWebSocketStream(socket), request),
)
http.listen(Number(websocketPort), '127.0.0.1', 4096)
