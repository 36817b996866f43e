// How a node proves itself to NATS servers that ask: user and password, token, nkey, and TLS. What
// does not fit is refused at the start with a sentence that says so.

import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { nkeys } from '@nats-io/transport-node'
import { afterAll, afterEach, expect, test } from 'vitest'
import type { NatsOptions } from '../../src/engine/nats/options.ts'
import { message, record } from '../engine/contract.ts'
import { NatsCluster } from '../support/nats.ts'
import { Node } from '../support/nats-nodes.ts'
import { describeWith } from '../support/programs.ts'

const certificates = fileURLToPath(new URL('../server/certificates/', import.meta.url))
const file = (name: string) => path.join(certificates, name)

describeWith(['nats-server'], 'access to NATS', (programs) => {
  let cluster: NatsCluster | null = null
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'partyline-nkey-'))

  afterEach(async () => {
    await cluster?.remove()
    cluster = null
  })
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  /** Starts one server with these lines; what a node with these options does there. */
  async function trying(lines: readonly string[], options: Partial<NatsOptions>): Promise<void> {
    cluster ??= await NatsCluster.start(programs['nats-server'], 1, lines)
    const node = new Node({ servers: cluster.addresses, ...options })
    await node.engine.open(node)
    await node.engine.append(record([message('a', 'stored')]))
    expect(node.heard).toEqual(['stored'])
    expect(node.notes.join()).toMatch(/ONE copy of everything/)
    await node.engine.close()
  }

  test('user and password, as options or in the address', async () => {
    const lines = ['authorization { user: "ann", password: "p@ss" }']
    await trying(lines, { user: 'ann', password: 'p@ss' })
    const { address } = cluster!.servers[0]!
    await cluster!.clear({ user: 'ann', pass: 'p@ss' })
    await trying(lines, { servers: [`nats://ann:p%40ss@${address}`] })
    await expect(trying(lines, {})).rejects.toThrow(
      /^the NATS server at 127.0.0.1:\d+ refused who this node says it is .*; give --nats-user/,
    )
    // The password is in no error.
    const wrong = trying(lines, { servers: [`nats://ann:secret@${address}`] })
    await expect(wrong).rejects.not.toThrow(/secret/)
  })

  test('a token', async () => {
    await trying(['authorization { token: "t0ken" }'], { token: 't0ken' })
  })

  test('an nkey', async () => {
    const pair = nkeys.createUser()
    const nkeyFile = path.join(folder, 'user.nk')
    fs.writeFileSync(nkeyFile, `${new TextDecoder().decode(pair.getSeed())}\n`)
    await trying([`authorization { users: [{ nkey: ${pair.getPublicKey()} }] }`], { nkeyFile })
    const missing = path.join(folder, 'missing')
    for (const given of [
      { nkeyFile: missing },
      { credentialsFile: missing },
      { tls: { caFile: missing } },
    ]) {
      await expect(trying([], given)).rejects.toThrow(
        `${missing} for the NATS servers cannot be read: there is no such file or folder (ENOENT); correct its path or its permissions`,
      )
    }
  })

  test('more copies than servers are refused, and what to do about it is said', async () => {
    cluster = await NatsCluster.start(programs['nats-server'], 1)
    await expect(trying([], { replicas: 3 })).rejects.toThrow(
      /fewer of them, in one cluster, than copies were asked for; start more, or ask for fewer with --replicas/,
    )
  })

  test('TLS with certificates of both sides', async () => {
    const lines = [
      `tls { cert_file: "${file('first.cert.pem')}", key_file: "${file('first.key.pem')}", ` +
        `ca_file: "${file('second.cert.pem')}", verify: true }`,
    ]
    const tls = {
      caFile: file('first.cert.pem'),
      certFile: file('second.cert.pem'),
      keyFile: file('second.key.pem'),
    }
    await trying(lines, { tls })
    await expect(trying(lines, {})).rejects.toThrow(/credentials or TLS/)
  })
})
