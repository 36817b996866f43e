#!/usr/bin/env node
// The command `partyline`. In a checkout it first sets the checkout up, as `npm start` does, so that
// `npx partyline …` works in a fresh clone and never runs yesterday's code. The published package
// holds no scripts/ and is ready as it is.
import fs from 'node:fs'

const setup = new URL('../scripts/setup.mjs', import.meta.url)
if (fs.existsSync(setup)) {
  const { endWith, setUp } = await import(setup.href)
  await setUp().catch(endWith)
}
await import('../dist/cli/main.js')
