// Passwords at rest: scrypt with its parameters and salt beside it, in the notation `$scrypt$…` that
// other programs use, too. Hashing runs on Node's thread pool, a few at a time.

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'

/** A hash taken apart. */
export interface PasswordHash {
  /** Binary logarithm of the cost. */
  readonly ln: number
  readonly r: number
  readonly p: number
  readonly salt: Buffer
  readonly hash: Buffer
}

/** 32 MiB and some 60 ms on a small machine. */
const LN = 15
const R = 8
const P = 1
const SALT_BYTES = 16
const HASH_BYTES = 32
/** What a file may ask of us: hashes made elsewhere may be dearer, but not without bound. */
const MEMORY_MAX = 256 * 1024 * 1024
const NOTATION =
  /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]{2,128}={0,2})\$([A-Za-z0-9+/]{2,128}={0,2})$/

/** Reads `$scrypt$ln=15,r=8,p=1$salt$hash`; a sentence when it is not that. */
export function readHash(text: string): PasswordHash | string {
  const [, ln = '', r = '', p = '', salt = '', hash = ''] = NOTATION.exec(text) ?? []
  if (hash === '') return 'the password hash must look like $scrypt$ln=15,r=8,p=1$salt$hash'
  const read = {
    ln: Number(ln),
    r: Number(r),
    p: Number(p),
    salt: Buffer.from(salt, 'base64'),
    hash: Buffer.from(hash, 'base64'),
  }
  const memory = 128 * 2 ** read.ln * read.r
  if (read.ln < 1 || read.r < 1 || read.p < 1 || memory > MEMORY_MAX || read.p > 16) {
    return 'the password hash asks for more than 256 MiB or has a parameter out of range'
  }
  if (read.hash.length < 16) return 'the password hash is shorter than 16 bytes'
  return read
}

/** A new hash with a salt of its own. */
export async function hashPassword(password: Buffer): Promise<string> {
  const salt = randomBytes(SALT_BYTES)
  const hash = await derive(password, { ln: LN, r: R, p: P, salt, hash: Buffer.alloc(HASH_BYTES) })
  return `$scrypt$ln=${LN},r=${R},p=${P}$${plain(salt)}$${plain(hash)}`
}

/** A hash that no password has, costing what a real one costs: for names nobody has. */
export function nobodysHash(): PasswordHash {
  return { ln: LN, r: R, p: P, salt: randomBytes(SALT_BYTES), hash: randomBytes(HASH_BYTES) }
}

function derive(password: Buffer, { ln, r, p, salt, hash }: PasswordHash): Promise<Buffer> {
  const options = { cost: 2 ** ln, blockSize: r, parallelization: p, maxmem: 2 * MEMORY_MAX }
  return new Promise((resolve, reject) => {
    scrypt(password, salt, hash.length, options, (error, key) => {
      if (error === null) resolve(key)
      else reject(error)
    })
  })
}

function plain(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}

/** Checks passwords, at most so many at once: the thread pool also serves the disk. */
export class Verifier {
  readonly #parallel: number
  readonly #queueMax: number
  #running = 0
  readonly #waiting: (() => void)[] = []

  /** Hashes computed at once, and callers that may wait beyond those. */
  constructor(parallel = 2, queueMax = 1000) {
    this.#parallel = parallel
    this.#queueMax = queueMax
  }

  /** Null when too many are waiting already. Takes equally long whether the password is right or wrong. */
  async verify(password: Buffer, against: PasswordHash): Promise<boolean | null> {
    if (this.#running >= this.#parallel) {
      if (this.#waiting.length >= this.#queueMax) return null
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    } else this.#running++
    try {
      return timingSafeEqual(await derive(password, against), against.hash)
    } finally {
      // Whoever waited longest takes this one's place.
      const next = this.#waiting.shift()
      if (next === undefined) this.#running--
      else next()
    }
  }
}
