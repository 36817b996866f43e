// Why a port could not be opened, in one sentence that says what to do next.

export class ListenError extends Error {
  /** The operating system's word for it, such as EADDRINUSE. */
  readonly code: string
  readonly host: string
  readonly port: number

  constructor(code: string, host: string, port: number, options?: ErrorOptions) {
    super(sentence(code, host, port, process.platform), options)
    this.name = 'ListenError'
    this.code = code
    this.host = host
    this.port = port
  }
}

/** Exported for its test: the platform decides who is likely to be there already. */
export function sentence(code: string, host: string, port: number, platform: string): string {
  switch (code) {
    case 'EADDRINUSE':
      return `port ${port} on ${host} is already in use${airPlay(port, platform)}; take another one: npx partyline serve ${port < 65_535 ? port + 1 : port - 1}`
    case 'EACCES':
      return `port ${port} may not be opened by this user; take one above 1023: npx partyline serve 5000`
    case 'EADDRNOTAVAIL':
      return `${host} is not an address of this machine; see which there are with \`ip addr\` or \`ifconfig\`, or leave --host out`
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return `the host ${host} cannot be found; give an address of this machine, such as --host 0.0.0.0`
    case 'ERR_SOCKET_BAD_PORT':
      return `${port} is not a port; take a number from 1 to 65535`
    default:
      return `cannot listen on ${host} port ${port}: ${code}`
  }
}

function airPlay(port: number, platform: string): string {
  if (platform !== 'darwin' || (port !== 5000 && port !== 7000)) return ''
  return ' (on macOS mostly by AirPlay Receiver, which System Settings › General › AirDrop & Handoff turns off)'
}
