import { isIP } from 'node:net'

const mappedIpv4 = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i

/** An IPv4 address that a dual-stack socket shows as IPv6 (RFC 4291, 2.5.5.2), as IPv4; without a zone. */
export function plainAddress(address: string): string {
  const [withoutZone = ''] = address.split('%', 1)
  return mappedIpv4.exec(withoutZone)?.[1] ?? withoutZone
}

/**
 * What limits count by: an IPv4 address, the /64 of an IPv6 address (one subscriber has at least that many addresses, RFC 6177), and
 * `unknown` for everything that is no address.
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address)
  switch (isIP(plain)) {
    case 4:
      return plain
    case 6:
      return `${ipv6Groups(plain).slice(0, 4).join(':')}::/64`
    default:
      return 'unknown'
  }
}

/** Whether the address is this machine's own. */
export function isLoopback(address: string): boolean {
  const plain = plainAddress(address)
  return plain === '::1' || (isIP(plain) === 4 && plain.startsWith('127.'))
}

/** The eight groups of a valid IPv6 address, without leading zeros. */
function ipv6Groups(address: string): string[] {
  // Zeros that are left out, and an IPv4 address at the end, are written out by URL's parser.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const before = head === '' ? [] : head.split(':')
  if (tail === undefined) return before
  const after = tail === '' ? [] : tail.split(':')
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after]
}
