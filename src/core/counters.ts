// Plain numbers that the hot path adds to and /metrics and $SYS read. No events, no objects
// per message: whoever wants a rate takes the difference of two readings.

export class Counters {
  connectionsAccepted = 0
  connectionsOpen = 0
  connectionsRefused = 0
  /** CONNECTs and logins turned away for bad credentials or missing rights. */
  authenticationsFailed = 0
  publishesDenied = 0
  subscribesDenied = 0
  /** Messages accepted from publishers. */
  messagesIn = 0
  bytesIn = 0
  /** Messages handed to wires of subscribers. */
  messagesOut = 0
  bytesOut = 0
  /** QoS 0 messages not delivered because a reader was behind. */
  droppedSlow = 0
  /** Messages not delivered because they exceed the subscriber's Maximum Packet Size. */
  droppedTooLarge = 0
  /** Messages not delivered because they expired first. */
  droppedExpired = 0
  /** Messages a session missed because the log no longer had them. */
  droppedOverrun = 0
  /** Messages for a shared group that had no member to take them. */
  droppedNoMember = 0
  /** Publishes refused because there was no room to store them. */
  refusedFull = 0
  /** Times a link was not read for a while because its own publishes found no room. */
  linksPaused = 0
  /** Wires closed because their queue made no progress. */
  stalledClosed = 0
  /** Links closed because their keep alive ran out. */
  keepAliveClosed = 0
  /** Links closed for a packet or line that breaks the protocol. */
  protocolErrors = 0
  /** Refusals because a configured limit was reached, whatever limit. */
  limitsReached = 0
  takeovers = 0
  sessionsExpired = 0
  /** Times a session lost messages so that the log stays within its bounds. */
  sessionsEvicted = 0
  /** Messages that sessions and groups lost so that the log stays within its bounds. */
  messagesEvicted = 0
  willsPublished = 0
  /** Topics forgotten to keep the topic table within its bound. */
  topicsEvicted = 0
  /** Stored records found damaged, skipped and not served. */
  recordsDamaged = 0
}
