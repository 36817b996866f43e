// What an operator says about the NATS servers and the streams made on them, and the names that
// everything there goes by.

import type { Runtime } from '../../core/runtime.ts'
import type { ResolveTopic } from '../record.ts'

export interface NatsTls {
  /** File with the certificates that may have signed the servers'; the system's when absent. */
  readonly caFile?: string
  /** File with the certificate this node shows. */
  readonly certFile?: string
  readonly keyFile?: string
}

export interface NatsOptions {
  /** `nats://host:port`, `tls://host:port` or `host:port`; one is enough, the others are learnt from it. */
  readonly servers: readonly string[]
  /** Whether the others are learnt; default true. Not where servers call themselves by names unknown here. */
  readonly learn?: boolean
  readonly runtime: Pick<Runtime, 'now' | 'random'>
  /** Topics of stored messages. */
  readonly resolve: ResolveTopic
  /** Begins this node's identity; letters, digits, `-` and `_`. Default: `node`. */
  readonly name?: string
  /** Begins every subject and stream; another one is another cluster. Default: `mq`. */
  readonly prefix?: string
  /** Copies of everything, 1 … 5. Default: 3 where three servers are, else what is there. */
  readonly replicas?: number
  /** Bytes the log may hold, on each server. Default: 8 GiB, or less where that is not free. */
  readonly logBytes?: number
  readonly user?: string
  readonly password?: string
  readonly token?: string
  /** A `.creds` file as `nsc` makes it. */
  readonly credentialsFile?: string
  /** File with an nkey seed. */
  readonly nkeyFile?: string
  readonly tls?: NatsTls
  /** Monitoring addresses of the servers, `http://host:8222`: asked whether each syncs always. */
  readonly monitor?: readonly string[]
  /** Told what an operator should know, one sentence each. */
  readonly notify?: (message: string) => void
  /** Whether to act as if the record of that sequence had been lost on its way here: what tests put in. */
  readonly lossy?: (sequence: number) => boolean
}

/** Streams and subjects; `mq.t.>` is where the servers repeat what they stored. */
export class Names {
  readonly prefix: string
  readonly node: string
  readonly log: string
  readonly sessions: string
  readonly retained: string
  readonly nodes: string

  /** Throws when the prefix or the name cannot be part of a subject. */
  constructor(options: Pick<NatsOptions, 'prefix' | 'name' | 'runtime'>) {
    const { prefix = 'mq', name = 'node', runtime } = options
    for (const [what, word] of Object.entries({ prefix, name })) {
      if (/^[A-Za-z0-9_-]{1,40}$/.test(word)) continue
      throw new Error(`the ${what} "${word}" must be 1 to 40 letters, digits, "-" or "_"`)
    }
    this.prefix = prefix
    // A node that comes back is another one: what its former self owned must be claimed.
    const chance = Math.floor(runtime.random() * 36 ** 8).toString(36)
    this.node = `${name}-${chance.padStart(8, '0')}`
    const stem = prefix.toUpperCase()
    this.log = `${stem}_LOG`
    this.sessions = `${stem}_SES`
    this.retained = `${stem}_RET`
    this.nodes = `${stem}_NOD`
  }

  /** `subject('l', node)` is `mq.l.<node>`. */
  subject(kind: 'l' | 's' | 'r' | 'p' | 'k' | 'n', rest: string): string {
    return `${this.prefix}.${kind}.${rest}`
  }

  /** Where what was stored under subjects of a kind is repeated; `*` for all of them. */
  repeated(kind: 'l' | 'r', rest = '*'): string {
    return `${this.prefix}.t.${kind}.${rest}`
  }
}
