// What clients sent, were promised and received over a run with crashes, and the judge of it. The judge
// knows nothing of the server: only of what MQTT promises clients.

/** A message a publisher sent; `n` counts up per publisher. */
export interface Sent {
  readonly publisher: string
  readonly n: number
  readonly topic: string
  readonly qos: 1 | 2
  readonly retain: boolean
  /** PUBACK or PUBREC arrived: the server answers for it. */
  acknowledged: boolean
}

/** A durable subscription that stood before the first message was sent. */
export interface Received {
  readonly subscriber: string
  /** Topics below this prefix. */
  readonly prefix: string
  /** Members of one shared group divide the messages among them; empty for a subscriber of its own. */
  readonly group: string
  /** Keys of messages handed to the application, in order; QoS 2 already without what MQTT filters. */
  readonly keys: string[]
}

export interface History {
  readonly sent: Map<string, Sent>
  readonly received: Received[]
  /** Retained messages a new subscriber was given at the end: topic and key. */
  readonly retained: Map<string, string>
}

export function keyOf(publisher: string, n: number): string {
  return `${publisher}:${n}`
}

/** Every broken promise, one sentence each; at most `limit` of each kind. */
export function judge(history: History, limit = 5): string[] {
  return [
    ...missing(history).slice(0, limit),
    ...missingInGroups(history).slice(0, limit),
    ...doubled(history).slice(0, limit),
    ...swapped(history).slice(0, limit),
    ...invented(history).slice(0, limit),
    ...notRetained(history).slice(0, limit),
  ]
}

/** Whether somebody has not received yet what was acknowledged. */
export function isOwed(history: History): boolean {
  return missing(history).length > 0 || missingInGroups(history).length > 0
}

function missing({ sent, received }: History): string[] {
  const faults: string[] = []
  for (const { subscriber, prefix, group, keys } of received) {
    if (group !== '') continue
    const got = new Set(keys)
    for (const [key, { topic, acknowledged }] of sent) {
      if (acknowledged && topic.startsWith(prefix) && !got.has(key)) {
        faults.push(`${subscriber} never received ${key}, which was acknowledged`)
      }
    }
  }
  return faults
}

function missingInGroups({ sent, received }: History): string[] {
  const faults: string[] = []
  const groups = new Map<string, { prefix: string; got: Set<string> }>()
  for (const { group, prefix, keys } of received) {
    if (group === '') continue
    const known = groups.get(group) ?? { prefix, got: new Set<string>() }
    for (const key of keys) known.got.add(key)
    groups.set(group, known)
  }
  for (const [group, { prefix, got }] of groups) {
    for (const [key, { topic, acknowledged }] of sent) {
      if (acknowledged && topic.startsWith(prefix) && !got.has(key)) {
        faults.push(`nobody in group ${group} received ${key}, which was acknowledged`)
      }
    }
  }
  return faults
}

/** Of a shared group no two members may have the same QoS 2 message either. */
function doubled({ sent, received }: History): string[] {
  const faults: string[] = []
  const takenBy = new Map<string, Map<string, string>>()
  for (const { subscriber, group, keys } of received) {
    const taken = takenBy.get(group) ?? new Map<string, string>()
    if (group !== '') takenBy.set(group, taken)
    for (const key of keys) {
      if (sent.get(key)?.qos !== 2) continue
      const before = taken.get(key)
      if (before === subscriber) faults.push(`${subscriber} received ${key} twice at QoS 2`)
      else if (before !== undefined) {
        faults.push(`${subscriber} received ${key} at QoS 2, and ${before} of its group did`)
      }
      taken.set(key, subscriber)
    }
  }
  return faults
}

/** Order is promised per publisher, topic and QoS, for the first time each message arrives. */
function swapped({ sent, received }: History): string[] {
  const faults: string[] = []
  for (const { subscriber, group, keys } of received) {
    if (group !== '') continue
    const got = new Set<string>()
    const last = new Map<string, number>()
    for (const key of keys) {
      if (got.has(key)) continue
      got.add(key)
      const message = sent.get(key)
      if (!message) continue
      const lane = `${message.publisher} ${message.topic} ${message.qos}`
      const before = last.get(lane) ?? -1
      if (message.n < before) faults.push(`${subscriber} received ${key} after number ${before}`)
      last.set(lane, Math.max(before, message.n))
    }
  }
  return faults
}

function invented({ sent, received }: History): string[] {
  const faults: string[] = []
  for (const { subscriber, keys } of received) {
    for (const key of keys) {
      if (!sent.has(key)) faults.push(`${subscriber} received ${key}, which nobody sent`)
    }
  }
  return faults
}

/** The retained message is the last acknowledged one of its topic, or one sent after it. */
function notRetained({ sent, retained }: History): string[] {
  const lowest = new Map<string, number>()
  for (const { topic, n, retain, acknowledged } of sent.values()) {
    if (retain && acknowledged) lowest.set(topic, Math.max(n, lowest.get(topic) ?? -1))
  }
  const faults: string[] = []
  for (const [topic, n] of lowest) {
    const key = retained.get(topic)
    const kept = key === undefined ? undefined : sent.get(key)
    if (!kept) faults.push(`nothing is retained on ${topic}, where number ${n} was acknowledged`)
    else if (kept.n < n) faults.push(`${topic} retains number ${kept.n}, older than ${n}`)
  }
  return faults
}
