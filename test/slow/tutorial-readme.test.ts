// The expected output in the tutorial's README files is what the programs print: each scene is
// played here as the README tells it, and every screen must stand there letter by letter.
import { readFileSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { freePort } from '../support/free-ports.ts'
import { folder, Terminal } from './terminal.ts'

const open: Terminal[] = []
afterEach(async () => {
  await Promise.all(open.splice(0).map((terminal) => terminal.kill()))
})

function terminal(task: string, command: string, viaNpx = false): Terminal {
  const made = new Terminal(task, command, viaNpx)
  open.push(made)
  return made
}

/** The blocks marked `console` of a README, in order: each is one terminal's screen. */
function screensOf(task: string): string[] {
  const readme = readFileSync(`${folder(task)}README.md`, 'utf8')
  return [...readme.matchAll(/^```console\n(.*?)^```$/gms)].map((match) => match[1] ?? '')
}

/** What the screens show, with the port of the README in place of the port of this run. */
function screens(port: number, ...terminals: Terminal[]): string[] {
  return terminals.map(({ screen }) => screen.replaceAll(String(port), '5000'))
}

test('task 1: text appears on the server, terminate ends the client, the server goes on', async () => {
  const port = await freePort()
  const server = terminal('task1', `npx tsx server.ts ${port}`, true)
  await server.shows('listening')

  const first = terminal('task1', `npx tsx client.ts localhost ${port}`, true)
  await first.shows('connected')
  first.types('Hello, server!')
  first.types('Grüße aus 東京 👋')
  await server.shows('東京')
  first.types('terminate')
  expect(await first.ends()).toBe(0)
  await server.shows('client 1 disconnected')

  const second = terminal('task1', `npx tsx client.ts localhost ${port}`, true)
  await second.shows('connected')
  second.types('Are you still there?')
  second.types('terminate the contract')
  second.types('terminate')
  expect(await second.ends()).toBe(0)
  await server.shows('client 2 disconnected')

  expect(screensOf('task1')).toEqual(screens(port, server, first, second))
})

test('task 2: publishers reach every subscriber and no publisher', async () => {
  const port = await freePort()
  const server = terminal('task2', `npx tsx server.ts ${port}`)
  await server.shows('listening')
  const start = async (role: string) => {
    const client = terminal('task2', `npx tsx client.ts localhost ${port} ${role}`)
    await client.shows(`you are a`)
    return client
  }
  const anna = await start('SUBSCRIBER')
  const bert = await start('SUBSCRIBER')
  const carla = await start('PUBLISHER')
  const dora = await start('PUBLISHER')

  carla.types('Lunch is ready')
  await Promise.all([anna.shows('Lunch'), bert.shows('Lunch')])
  dora.types('Who took my umbrella?')
  await Promise.all([anna.shows('umbrella'), bert.shows('umbrella')])
  carla.types('terminate')
  expect(await carla.ends()).toBe(0)
  await server.shows('client 3 disconnected')
  dora.types('It was Carla!')
  await Promise.all([anna.shows('Carla'), bert.shows('Carla')])

  expect(screensOf('task2')).toEqual(screens(port, server, anna, bert, carla, dora))
})

test('task 3: only subscribers of the topic receive, and a client may have several', async () => {
  const port = await freePort()
  const server = terminal('task3', `npx tsx server.ts ${port}`)
  await server.shows('listening')
  const start = async (role: string) => {
    const client = terminal('task3', `npx tsx client.ts localhost ${port} ${role}`)
    await client.shows(`you are a`)
    return client
  }
  const sports = await start('SUBSCRIBER SPORTS')
  const both = await start('SUBSCRIBER SPORTS NEWS')
  const stadium = await start('PUBLISHER SPORTS')
  const office = await start('PUBLISHER NEWS WEATHER')

  stadium.types('goal')
  await Promise.all([sports.shows('goal'), both.shows('goal')])
  office.types('storm warning for the coast')
  await both.shows('storm')
  await server.shows('WEATHER, heard by 0: storm')
  stadium.types('final whistle, 1:0')
  await Promise.all([sports.shows('final'), both.shows('final')])

  expect(screensOf('task3')).toEqual(screens(port, server, sports, both, stadium, office))
})

test('concepts: the race shows what the text says', async () => {
  const demonstration = terminal('.', 'npx tsx race.ts')
  expect(await demonstration.ends()).toBe(0)
  const concepts = readFileSync(`${folder('.')}concepts.md`, 'utf8')
  expect(concepts).toContain(`\`\`\`console\n${demonstration.screen}\`\`\`\n`)
})
