// The certificate of this server: read from two files at start and again on request, so that a
// renewed one is used without a restart. Connections that are open keep the one they began with.

import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:tls'
import { fileFault } from '../engine/file-fault.ts'

export class TlsDoor {
  /** Never listens: sockets that begin with a TLS handshake are given to it. */
  readonly server: Server
  readonly #cert: string
  readonly #key: string

  /**
   * Paths of a certificate chain and its private key, both PEM; seconds a handshake may take.
   * @throws Error saying which file cannot be used and why.
   */
  constructor(cert: string, key: string, handshakeTimeout: number) {
    this.#cert = cert
    this.#key = key
    this.server = createServer({
      handshakeTimeout: handshakeTimeout * 1000,
      minVersion: 'TLSv1.2',
    })
    this.reload()
  }

  /** @throws Error as the constructor does; then the old certificate stays in use. */
  reload(): void {
    const pair = { cert: read('certificate', this.#cert), key: read('key', this.#key) }
    try {
      this.server.setSecureContext({ ...pair, minVersion: 'TLSv1.2' })
    } catch (error) {
      throw new Error(
        `the certificate ${this.#cert} and the key ${this.#key} cannot be used together: ${(error as Error).message}; both must be PEM, the key without a passphrase, and belong to each other`,
        { cause: error },
      )
    }
  }
}

function read(what: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new Error(`the TLS ${what} ${path} cannot be read: ${fileFault(error)}`, { cause: error })
  }
}
