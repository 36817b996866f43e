// Well-formed text as MQTT defines it, checked on the raw bytes so that a topic need not become
// a string to be judged. Pure, without allocation, with a short path for ASCII.

/**
 * Whether `bytes[start, end)` is well-formed UTF-8 (RFC 3629: no overlong form, no surrogate,
 * nothing above U+10FFFF) without U+0000. Control characters and non-characters are allowed, and
 * a byte order mark is an ordinary character [MQTT-1.5.4-1, MQTT-1.5.4-2, MQTT-1.5.4-3].
 */
export function isMqttText(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start
  while (at < end) {
    const lead = bytes[at]!
    if (lead < 0x80) {
      if (lead === 0) return false
      at++
    } else {
      const size = sequenceSize(bytes, at, end, lead)
      if (size === 0) return false
      at += size
    }
  }
  return true
}

/** Bytes of the multi-byte sequence at `at`, or 0 when it is not well-formed. */
function sequenceSize(bytes: Uint8Array, at: number, end: number, lead: number): number {
  // 0xC0 and 0xC1 could only begin overlong forms, 0xF5 and above only code points that do not exist.
  if (lead < 0xc2 || lead > 0xf4) return 0
  const size = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  if (at + size > end) return 0
  const second = bytes[at + 1]!
  // Four leads narrow the second byte: overlong forms, surrogates and the end of the code space.
  const least = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const most = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  if (second < least || second > most) return 0
  for (let i = 2; i < size; i++) if ((bytes[at + i]! & 0xc0) !== 0x80) return 0
  return size
}
