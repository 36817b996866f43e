// What is done to a cluster. Each fault strikes, holds and heals; the run goes on when clients are served again.

import { setTimeout as sleep } from 'node:timers/promises'
import type { NatsServer } from '../../support/nats.ts'
import type { Cluster, Node } from './cluster.ts'

export interface Scene {
  readonly cluster: Cluster
  readonly random: () => number
  /** Long faults are as long as an operator fears; short ones as short as they still prove something. */
  readonly long: boolean
  /** Resolves when all clients are served again, by whoever. */
  served(): Promise<void>
  /** Resolves when no client waits for a server that was paused at that moment, by `performance.now()`. */
  moved(since: number): Promise<void>
  /** Clients leave silent connections open from now on. */
  abandon(): void
  /** They close them again; how many were left open. */
  close(): number
}

export interface Fault {
  readonly name: string
  /** Whether NATS alone is in trouble: then no client's will may be published. */
  readonly ofNats: boolean
  /** Whether it means nothing unless a client was cut off. */
  readonly cutsOff?: boolean
  /** Resolves when it is over; false when it met nobody and proves nothing. */
  strike(scene: Scene): Promise<boolean>
}

const LOG = 'MQ_LOG'
const NATS_AWAY_MS = 40_000
/** Longer than it takes until a silent node counts as dead. */
const DEAD_MS = 20_000

export const FAULTS: readonly Fault[] = [
  { name: 'broker killed', ofNats: false, cutsOff: true, strike: killBroker },
  { name: 'NATS leader killed', ofNats: true, strike: killLeader },
  { name: 'NATS follower killed', ofNats: true, strike: killFollower },
  { name: 'two of three NATS servers killed', ofNats: true, strike: killTwo },
  {
    name: 'first HAProxy killed',
    ofNats: false,
    cutsOff: true,
    strike: (scene) => killBalancer(scene, 0),
  },
  {
    name: 'second HAProxy killed',
    ofNats: false,
    cutsOff: true,
    strike: (scene) => killBalancer(scene, 1),
  },
  { name: 'broker paused', ofNats: false, strike: pauseBroker },
  { name: 'NATS server paused', ofNats: true, strike: pauseServer },
  { name: 'broker cut off from NATS', ofNats: true, strike: cutOff },
  { name: 'NATS away', ofNats: true, strike: takeNatsAway },
  { name: 'tail records lost', ofNats: true, strike: loseTail },
  { name: 'zombie broker', ofNats: false, strike: raiseZombie },
]

/** All brokers restarted in order, one after the other: what an upgrade does. */
export const UPGRADE: readonly Fault[] = [0, 1, 2].map((n) => ({
  name: 'broker restarted in order',
  ofNats: true,
  strike: async ({ cluster }) => {
    const { broker } = cluster.nodes[n]!
    await broker.stop()
    await broker.start()
    // Where another one had to be killed a moment ago, nobody may be on this one yet.
    return true
  },
}))

async function killBroker(scene: Scene): Promise<boolean> {
  const { broker } = await anyNode(scene)
  await broker.kill()
  await between(scene, 500, 1_000)
  await broker.start()
  return true
}

/** It stays away until another was elected. */
async function killLeader(scene: Scene): Promise<boolean> {
  const { nats } = scene.cluster
  const leader = await nats.leader(LOG)
  await leader.kill()
  await scene.served()
  leader.start()
  await nats.ready()
  return true
}

async function killFollower(scene: Scene): Promise<boolean> {
  const { nats } = scene.cluster
  const [follower] = await followers(scene)
  await follower!.kill()
  await between(scene, 500, 1_500)
  follower!.start()
  await nats.ready()
  return true
}

async function killTwo(scene: Scene): Promise<boolean> {
  const { nats } = scene.cluster
  const two = [await nats.leader(LOG), (await followers(scene))[0]!]
  await Promise.all(two.map((server) => server.kill()))
  await between(scene, 500, 1_500)
  for (const server of two) server.start()
  await nats.ready()
  return true
}

async function killBalancer(scene: Scene, n: number): Promise<boolean> {
  const balancer = scene.cluster.balancers[n]!
  await balancer.kill()
  await between(scene, 300, 1_000)
  await balancer.start()
  return true
}

async function pauseBroker(scene: Scene): Promise<boolean> {
  const { broker } = await anyNode(scene)
  broker.pause()
  await between(scene, 700, 2_000)
  broker.resume()
  return true
}

async function pauseServer(scene: Scene): Promise<boolean> {
  const { nats } = scene.cluster
  const followed = scene.long && scene.random() < 0.5
  const server = followed ? await nats.leader(LOG) : (await followers(scene))[0]!
  server.pause()
  await between(scene, 1_000, scene.long ? 9_000 : 1_500)
  server.resume()
  await nats.ready()
  return true
}

async function cutOff(scene: Scene): Promise<boolean> {
  const { relay } = await anyNode(scene)
  if (scene.random() < 0.5) relay.cut()
  else relay.silence()
  await between(scene, 2_000, scene.long ? DEAD_MS : 3_000)
  relay.mend()
  return true
}

async function takeNatsAway(scene: Scene): Promise<boolean> {
  const { servers } = scene.cluster.nats
  const killed = scene.random() < 0.5
  await Promise.all(servers.map((one) => (killed ? one.kill() : one.pause())))
  await sleep(scene.long ? NATS_AWAY_MS : 2_000)
  for (const one of servers) killed ? one.start() : one.resume()
  await scene.cluster.nats.ready()
  return true
}

/** The last ones certainly: nothing that follows tells of them. */
async function loseTail(scene: Scene): Promise<boolean> {
  const relays = scene.cluster.nodes.map(({ relay }) => relay)
  const lost = (): number => relays.reduce((sum, relay) => sum + relay.lost, 0)
  const before = lost()
  for (const relay of relays) relay.lose(0.3)
  await between(scene, 500, 2_000)
  for (const relay of relays) relay.lose(1)
  await sleep(100)
  for (const relay of relays) relay.lose(0)
  return lost() > before
}

/** It wakes when its clients have been elsewhere for a while. */
async function raiseZombie(scene: Scene): Promise<boolean> {
  const { broker } = await anyNode(scene)
  const began = performance.now()
  scene.abandon()
  broker.pause()
  await scene.moved(began)
  if (scene.long) await sleep(Math.max(0, began + DEAD_MS - performance.now()))
  broker.resume()
  return scene.close() > 0
}

/** One that has clients, also when those that wander have left: or a fault of it would prove nothing. */
async function anyNode({ cluster, random }: Scene): Promise<Node> {
  const counts = await Promise.all(cluster.nodes.map(({ broker }) => broker.clients()))
  const used = cluster.nodes.filter((_, n) => counts[n]! > 2)
  return used[Math.floor(random() * used.length)]!
}

async function followers({ cluster, random }: Scene): Promise<NatsServer[]> {
  const leader = await cluster.nats.leader(LOG)
  const others = cluster.nats.servers.filter((server) => server !== leader)
  return random() < 0.5 ? others : others.reverse()
}

function between({ random }: Scene, least: number, most: number): Promise<void> {
  return sleep(least + random() * (most - least))
}
