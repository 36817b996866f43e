// The page at /: says what this port speaks, offers lines to try with the address the reader used,
// and shows messages as they come. Everything is in the one answer; nothing else may be loaded.

import { createHash } from 'node:crypto'
import type { Exchange, Route } from './door.ts'
import { answer } from './door.ts'
import { hostFault, type OriginRules } from './origin.ts'
import { PAGE_SCRIPT } from './page-script.ts'
import { PAGE_STYLE } from './page-style.ts'

const LOGO = `<svg viewBox="0 0 64 40" fill="none" stroke="currentColor" stroke-width="3" stroke-linecap="round" aria-hidden="true"><path d="M4 12 C 18 34, 46 34, 60 12"/><circle cx="4" cy="10" r="3" fill="currentColor" stroke="none"/><circle cx="60" cy="10" r="3" fill="currentColor" stroke="none"/><circle cx="19" cy="25" r="4.5" fill="currentColor" stroke="none"/><circle cx="32" cy="29" r="4.5" fill="currentColor" stroke="none"/><circle cx="45" cy="25" r="4.5" fill="currentColor" stroke="none"/></svg>`

const hashOf = (text: string): string =>
  `'sha256-${createHash('sha256').update(text).digest('base64')}'`

const SCRIPT_HASH = hashOf(PAGE_SCRIPT)
const STYLE_HASH = hashOf(PAGE_STYLE)

/** The address of this server as its caller wrote it, or as the socket knows it. */
export interface PageAddress {
  /** IPv6 without brackets. */
  readonly host: string
  readonly port: number
  readonly secure: boolean
}

export function pageRoute(version: string, rules: OriginRules): Route {
  return {
    method: 'GET',
    path: '/',
    answer: (exchange) => {
      const address = addressOf(exchange, rules)
      exchange.response.setHeader('Content-Security-Policy', policy(address))
      answer(exchange.response, 200, 'text/html; charset=utf-8', renderPage(address, version))
    },
  }
}

function addressOf({ request }: Exchange, rules: OriginRules): PageAddress {
  const { socket, headers } = request
  const secure = 'encrypted' in socket && socket.encrypted === true
  const known = {
    host: plainAddress(socket.localAddress ?? 'localhost'),
    port: socket.localPort ?? 0,
    secure,
  }
  if (headers.host === undefined || hostFault(headers, rules) !== null) return known
  const url = new URL(`http://${headers.host}`)
  const port = url.port === '' ? (secure ? 443 : 80) : Number(url.port)
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port, secure }
}

function plainAddress(address: string): string {
  return address.startsWith('::ffff:') ? address.slice(7) : address
}

/** `self` does not include WebSockets in every browser, so they are named. */
function policy({ host, port }: PageAddress): string {
  const there = `${host.includes(':') ? `[${host}]` : host}:${port}`
  return [
    "default-src 'none'",
    `script-src ${SCRIPT_HASH}`,
    `style-src ${STYLE_HASH}`,
    `connect-src 'self' ws://${there} wss://${there}`,
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

/** Exported for its test: nothing a caller sends may become markup. */
export function renderPage({ host, port, secure }: PageAddress, version: string): string {
  const bracketed = host.includes(':') ? `[${host}]` : host
  const at = escapeHtml(`${bracketed}:${port}`)
  const name = escapeHtml(host)
  const [http, ws, mqtt] = secure ? ['https', 'wss', 'mqtts'] : ['http', 'ws', 'mqtt']
  const nc = secure ? `openssl s_client -quiet -connect ${at}` : `nc ${name} ${port}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Partyline on ${at}</title>
<link rel="icon" href="data:,">
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<header>${LOGO}<h1>Partyline</h1><span class="status" id="status" role="status">connecting</span></header>
<p class="lead">One port, one topic space, four ways in. What is published by one of them arrives by all the others.</p>
<div class="columns">
<section class="panel">
<h2>A line to try</h2>
<p class="step">Paste this into a terminal and watch it arrive beside it:</p>
<pre id="one-line">printf 'PUBLISHER SPORTS\\ngoal\\nterminate\\n' | ${nc}</pre>
<button class="quiet" data-copy="one-line">copy</button>
<p class="step">Or stay on the line. Listen in one terminal:</p>
<pre id="listen">${nc}
SUBSCRIBER SPORTS</pre>
<p class="step">and talk in another; every line is a message:</p>
<pre id="talk">${nc}
PUBLISHER SPORTS
goal</pre>
<p class="note"><code>HELP</code> lists what else there is, <code>terminate</code> hangs up.</p>
</section>
<section class="panel">
<h2>Live, over WebSocket</h2>
<form id="login" hidden>
<input id="name" placeholder="name" aria-label="name" autocomplete="username">
<input id="password" type="password" placeholder="password" aria-label="password" autocomplete="current-password">
<button>log in</button>
</form>
<form id="subscribe">
<input id="filter" value="#" aria-label="filter" spellcheck="false" autocomplete="off">
<button class="quiet">subscribe</button>
</form>
<ul class="messages" id="messages" tabindex="0" aria-label="messages"></ul>
<p class="note" id="note" role="alert"></p>
<form id="say">
<input id="topic" value="SPORTS" aria-label="topic" spellcheck="false" autocomplete="off">
<input id="text" placeholder="message" aria-label="message" autocomplete="off">
<button id="publish" disabled>publish</button>
</form>
</section>
</div>
<section class="panel">
<h2>What this port speaks</h2>
<dl>
<dt>Lines of text</dt><dd><code>${nc}</code></dd>
<dt>MQTT 3.1.1 and 5</dt><dd><code>${mqtt}://${at}</code>, such as <code>mosquitto_sub -h ${name} -p ${port} -t '#' -v</code></dd>
<dt>MQTT over WebSocket</dt><dd><code>${ws}://${at}/</code> with the subprotocol <code>mqtt</code></dd>
<dt>HTTP</dt><dd><code>curl -d goal ${http}://${at}/topics/SPORTS</code></dd>
<dt>For operators</dt><dd><a href="/metrics">/metrics</a> · <a href="/healthz">/healthz</a> · <a href="/readyz">/readyz</a></dd>
</dl>
</section>
<footer>Partyline ${escapeHtml(version)}</footer>
</main>
<script>${PAGE_SCRIPT}</script>
</body>
</html>
`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`)
}
