// The child process that reads a whole data folder: argument in, one line of JSON out. Exit code
// 0 says that it was read to the end, whatever was found; anything else that it could not be.

import { inspectFolder } from './scan.ts'

const directory = process.argv[2]
if (directory === undefined) throw new Error('scan-child needs a folder')
process.stdout.write(`${JSON.stringify(await inspectFolder(directory))}\n`)
