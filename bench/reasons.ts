// Why a row may miss its goal and what would reach it, as far as that is known from profiles. The report shows it beside
// goals that were missed, and only then.

const SLOWEST =
  'half of the messages are as fast as elsewhere; of the slowest, a system trace shows that they wait for V8 compiling what has become ' +
  'hot and for a collection of garbage about every four seconds (0.7 ms), on a machine whose two cores the generator uses, too. ' +
  'Less garbage a message would help.'

/** By name of the workload. */
export const reasons: Readonly<Record<string, string>> = {
  '1to1-1k-topics':
    'the floor does not look at topics; here each message is a lookup of its own and, to other clients, perhaps another audience. ' +
    'Fewer places in memory for each lookup would help.',
  '1to1-100k-topics':
    'a lookup among so many names waits for memory that is in no cache, where the floor looks at no topic at all. Fewer places in ' +
    'memory for each topic would help.',
  '1to1-16KiB':
    'the copying of bytes by the kernel is most of it; a frame that two reads split is copied twice more. Forwarding the beginning of a ' +
    'frame before its end has come would spare that.',
  '1000to1':
    'each message is a read of its own, whatever the broker; what Node and libuv add to each is what is missing to the floor. ' +
    'Only another way into the kernel (io_uring) would change that.',
  '1to5000':
    'nearly all of it is 5 000 writes of the kernel for each batch; what Node adds to each write is what is missing.',
  'qos1-w1':
    'a message at a time costs two reads and two writes of the kernel, in every broker, and the client waits for all of them: ' +
    'that alone is about what Mosquitto takes. Only another way into the kernel (io_uring) could be twice as fast.',
  'stored-w1':
    'a message alone pays for everything around the sync: two threads that hand over to each other, a transaction of its own with its meta ' +
    'page, the acknowledgement, the next publish. Shorter ways between the threads would help.',
  'away-1000':
    'each message asked every durable subscriber whether it listens. It asks them once a record since the run of 2026-11-23, and a ' +
    'run of this row alone then left 94 to 132 % of the rate (docs/performance.md).',
  'latency-1k': SLOWEST,
  'latency-10k': SLOWEST,
  'latency-100k': SLOWEST,
}

export const UNKNOWN = 'not looked into yet.'
