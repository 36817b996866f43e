// Any web page can talk to a server on the reader's own machine, and DNS can be made to point there.
// One function says whether a request may upgrade or write; what a browser tells is all it goes by.

import { isIP } from 'node:net'

export interface OriginRules {
  /** Origins besides this server's own, such as `https://example.org`; `*` stands for all. */
  readonly origins: readonly string[]
  /** Names this server may be called by, besides addresses and localhost; no port. */
  readonly hosts: readonly string[]
}

interface AskingHeaders {
  readonly origin?: string | undefined
  readonly host?: string | undefined
}

/** Why a request to upgrade or to write is refused, as a sentence; null when it is welcome. */
export function originFault(headers: AskingHeaders, rules: OriginRules): string | null {
  return hostFault(headers, rules) ?? foreignFault(headers, rules)
}

/** Why the name this server was called by is refused: it may be a stranger's name for our address. */
export function hostFault({ host }: AskingHeaders, rules: OriginRules): string | null {
  // Only HTTP/1.0 may come without one, and no browser speaks that.
  if (host === undefined) return null
  const name = nameOf(host)
  if (name === null) return `the Host header ${show(host)} cannot be read`
  if (isAddress(name) || name === 'localhost' || name.endsWith('.localhost')) return null
  if (rules.hosts.some((each) => each.toLowerCase() === name)) return null
  return `this server is not known as ${show(name)}; use its address, or start it with --allow-host ${show(name)}`
}

function foreignFault({ origin, host }: AskingHeaders, rules: OriginRules): string | null {
  // A browser always says where a page came from; whoever does not is no page.
  if (origin === undefined) return null
  if (rules.origins.includes('*') || rules.origins.some((each) => sameOrigin(each, origin))) {
    return null
  }
  if (host !== undefined && isOwn(origin, host)) return null
  return `pages from ${show(origin)} may not use this server; to let them, start it with --allow-origin ${show(origin)}`
}

/** Whether the page came from the host it now talks to; a proxy may have taken TLS off in between. */
function isOwn(origin: string, host: string): boolean {
  const from = parse(origin)
  if (from === null || (from.protocol !== 'http:' && from.protocol !== 'https:')) return false
  return parse(`${from.protocol}//${host}`)?.host === from.host
}

function sameOrigin(allowed: string, origin: string): boolean {
  if (allowed === origin) return true
  const [one, other] = [parse(allowed), parse(origin)]
  if (one === null || other === null) return false
  return one.protocol === other.protocol && one.host === other.host && one.host !== ''
}

function nameOf(host: string): string | null {
  if (/[\s/?#@\\]/.test(host)) return null
  const hostname = parse(`http://${host}`)?.hostname
  return hostname === undefined || hostname === '' ? null : hostname
}

function isAddress(name: string): boolean {
  return isIP(name) === 4 || (name.startsWith('[') && isIP(name.slice(1, -1)) === 6)
}

function parse(text: string): URL | null {
  return URL.canParse(text) ? new URL(text) : null
}

/** A stranger's text in a sentence of ours: short, and nothing that drives a terminal. */
function show(text: string): string {
  return text.slice(0, 200).replace(/[^\x21-\x7e]/g, '?')
}
