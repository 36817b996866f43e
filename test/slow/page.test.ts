// The page at / in a real browser: it connects, shows what arrives as text, publishes, logs in; and
// a page from elsewhere gets nowhere.
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { passwd } from '../../src/cli/passwd.ts'
import type { PartialSettings } from '../../src/server/config.ts'
import { describeWith } from '../support/programs.ts'
import { startServer, type TestServer } from '../support/server.ts'

describeWith(['chromium'], 'the page in a browser', (programs) => {
  let browser: Browser
  let page: Page
  let server: TestServer | undefined
  const complaints: string[] = []

  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: programs.chromium.path,
      args: ['--no-sandbox', '--disable-gpu'],
    })
  })
  afterAll(() => browser?.close())
  afterEach(async () => {
    await page?.close()
    await server?.stop()
  })

  async function open(settings: PartialSettings = {}): Promise<string> {
    server = await startServer(settings)
    complaints.length = 0
    page = await browser.newPage()
    // What the policy forbids, and every fault of the script, is said on the console.
    page.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text())
    })
    page.on('pageerror', (error) => complaints.push(String(error)))
    const url = `http://127.0.0.1:${server.port}/`
    await page.goto(url)
    return url
  }

  const status = (words: string) => page.waitForSelector(`#status:text-is("${words}")`)
  const shown = () => page.locator('#messages li').allTextContents()

  /** A line client that says something and leaves. */
  async function says(...lines: string[]): Promise<void> {
    const socket = connect(server?.port ?? 0, '127.0.0.1')
    socket.end(`${lines.join('\n')}\n`)
    socket.resume()
    await new Promise((resolve) => socket.once('close', resolve))
  }

  test('shows what a line client says, as text whatever it is', async () => {
    await open()
    await status('connected')
    await says(
      'PUBLISHER SPORTS',
      'goal',
      '<img src=x onerror="document.title=1"><b>bold</b>',
      'ünï',
    )
    await page.waitForSelector('#messages li >> text=ünï')
    expect(await shown()).toEqual([
      'SPORTS goal',
      'SPORTS <img src=x onerror="document.title=1"><b>bold</b>',
      'SPORTS ünï',
    ])
    expect(await page.locator('#messages img, #messages li b >> text=bold').count()).toBe(0)
    expect(await page.title()).toMatch(/^Partyline on /)
    expect(complaints).toEqual([])
  })

  test('publishes, subscribes to what it is told, and shows what was retained', async () => {
    const url = await open()
    await status('connected')
    await page.fill('#topic', 'NEWS')
    await page.fill('#text', 'it rains')
    await page.click('#publish')
    await page.waitForSelector('#messages li >> text=it rains')
    await fetch(`${url}topics/home/light?retain=true`, { method: 'POST', body: 'on' })
    await page.fill('#filter', 'home/+')
    await page.click('#subscribe button')
    await page.waitForSelector('#messages li >> text=(retained)')
    await says('PUBLISHER NEWS', 'not this')
    await says('PUBLISHER home/door', 'shut')
    await page.waitForSelector('#messages li >> text=shut')
    expect(await shown()).toEqual(['home/light on (retained)', 'home/door shut'])
    await page.fill('#topic', 'a/#')
    await page.click('#publish')
    expect(await page.textContent('#note')).toMatch(/no \+ or #/)
    expect(complaints).toEqual([])
  })

  test('bytes are shown as digits, a long message is cut', async () => {
    const url = await open()
    await status('connected')
    const post = (body: Buffer) =>
      fetch(`${url}topics/raw`, { method: 'POST', body: new Uint8Array(body) })
    await post(Buffer.from([0, 255, 16]))
    await post(Buffer.alloc(300_000, 'x'))
    await page.waitForSelector('#messages li >> text=300000 bytes')
    const [digits, long] = await shown()
    expect(digits).toBe('raw 00 ff 10 (3 bytes)')
    expect(long?.length).toBeLessThan(2100)
  })

  test('asks for a name and a password where they are needed', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'partyline-page-'))
    const users = join(folder, 'users.txt')
    await passwd(users, 'alice', false, Readable.from([Buffer.from('wonder')]))
    await open({ users })
    await page.waitForSelector('#login:not([hidden])')
    await page.fill('#name', 'alice')
    await page.fill('#password', 'wander')
    await page.click('#login button')
    await page.waitForSelector('#status:text-matches("refused: the name or password")')
    await page.fill('#password', 'wonder')
    await page.click('#login button')
    await status('connected')
    expect(await page.isVisible('#login')).toBe(false)
    rmSync(folder, { recursive: true })
  })

  test('comes back when the server does', async () => {
    await open()
    await status('connected')
    const port = server?.port ?? 0
    await server?.stop()
    await status('not connected')
    server = await startServer({ ports: [port] })
    await status('connected')
  })

  test('a page from elsewhere can neither listen nor publish', async () => {
    await open()
    const elsewhere = createServer((_request, response) => {
      response.setHeader('Content-Type', 'text/html')
      response.end('<!doctype html><title>elsewhere</title>')
    })
    await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve))
    const { port } = elsewhere.address() as AddressInfo
    await page.goto(`http://127.0.0.1:${port}/`)
    const target = `127.0.0.1:${server?.port}`
    const outcome = await page.evaluate(`new Promise((resolve) => {
      const socket = new WebSocket('ws://${target}/', 'mqtt')
      socket.onopen = () => resolve('open')
      socket.onerror = () => resolve('refused')
    })`)
    expect(outcome).toBe('refused')
    await page.evaluate(
      `fetch('http://${target}/topics/SPORTS', { method: 'POST', mode: 'no-cors', body: 'goal' }).catch(String)`,
    )
    expect(server?.broker.counters.messagesIn).toBe(0)
    elsewhere.closeAllConnections()
    elsewhere.close()
  })
})
