// Everything a client can make grow has a bound here. The configuration table gives each
// its key and documentation (docs/limits.md); counters.ts counts what ran into one.

export interface Limits {
  /** Bytes of one MQTT packet, fixed header included; 128 … 268 435 455. */
  readonly packetBytes: number
  /** Bytes of one line of the line protocol, without its end. */
  readonly lineBytes: number
  /** Bytes of a topic or filter; 1 … 65 535. */
  readonly topicBytes: number
  /** Levels of a topic or filter. */
  readonly topicLevels: number
  /** Topics whose audience is remembered; older ones are looked up anew. */
  readonly topicsRemembered: number
  /** Subscriptions of one session. */
  readonly subscriptionsPerSession: number
  /** Subscriptions on the whole server. */
  readonly subscriptions: number
  /** Sessions, connected or away. */
  readonly sessions: number
  /** Groups of shared subscriptions. */
  readonly groups: number
  /** Retained messages. */
  readonly retainedMessages: number
  /** Bytes of topics, properties and payloads of all retained messages. */
  readonly retainedBytes: number
  /** Unacknowledged QoS 1 and 2 messages a client may have sent us: the Receive Maximum we announce. */
  readonly receiveMaximum: number
  /** Bytes of accepted, not yet stored QoS 1 and 2 messages of one link. */
  readonly intakeBytesPerLink: number
  /** The same for the whole process. */
  readonly intakeBytes: number
  /** Unacknowledged QoS 1 and 2 messages sent to a client that announced no Receive Maximum. */
  readonly sendWindow: number
  /** Topic aliases a client may use: the Topic Alias Maximum we announce. */
  readonly topicAliases: number
  /** Topic aliases we use towards a client that allows them. */
  readonly topicAliasesOut: number
  /** Bytes queued to one client, beyond which QoS 0 is dropped and QoS 1 and 2 wait in the log. */
  readonly queueBytes: number
  /** Bytes of the tail of the log kept in memory. */
  readonly tailBytes: number
  /** Bytes the memory engine keeps for sessions that are away. */
  readonly memoryLogBytes: number
  /** Connections at once. */
  readonly connections: number
  /** Connections at once from one address. */
  readonly connectionsPerAddress: number
  /** Seconds from the first byte of a binary protocol to a complete CONNECT. */
  readonly connectTimeout: number
  /** Seconds a silent or line connection may say nothing before it has a role. */
  readonly idleTimeout: number
  /** Seconds queued bytes may make no progress before the wire is closed. */
  readonly stallTimeout: number
  /** Largest keep alive accepted, seconds; longer or none is answered with this one (MQTT 5). 0 leaves it to the client. */
  readonly keepAliveMaximum: number
  /** Longest session expiry granted, seconds; also how long a persistent MQTT 3 session may be away. */
  readonly sessionExpiryMaximum: number
  /** Seconds a message is kept for sessions that have not had it. */
  readonly backlogMaximum: number
}

export const DEFAULT_LIMITS: Limits = {
  packetBytes: 4 * 1024 * 1024,
  lineBytes: 64 * 1024,
  topicBytes: 65_535,
  topicLevels: 128,
  topicsRemembered: 1_000_000,
  subscriptionsPerSession: 100_000,
  subscriptions: 10_000_000,
  sessions: 1_000_000,
  groups: 1_000,
  retainedMessages: 1_000_000,
  retainedBytes: 1024 * 1024 * 1024,
  receiveMaximum: 1_024,
  intakeBytesPerLink: 1024 * 1024,
  intakeBytes: 64 * 1024 * 1024,
  sendWindow: 1_024,
  topicAliases: 64,
  topicAliasesOut: 64,
  queueBytes: 8 * 1024 * 1024,
  tailBytes: 64 * 1024 * 1024,
  memoryLogBytes: 512 * 1024 * 1024,
  connections: 100_000,
  connectionsPerAddress: 50_000,
  connectTimeout: 10,
  idleTimeout: 600,
  stallTimeout: 30,
  keepAliveMaximum: 0,
  sessionExpiryMaximum: 30 * 24 * 3600,
  backlogMaximum: 7 * 24 * 3600,
}
