import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import proxyaddr from 'proxy-addr'
import { plainAddress } from '../lib/network.ts'

/** Who is at the other end, and over what: what the connection says, and what proxies that we trust say of theirs. */
export type Origin = { ip: string; isSecure: boolean }

export type ReadOrigin = (request: IncomingMessage) => Origin

/**
 * Reads `X-Forwarded-For` from right to left for as long as each address is that of a trusted proxy: what is further left, anybody can
 * have written. Without trusted proxies the headers mean nothing. What is no address (a name, a port with it) ends the reading at the proxy
 * that said it.
 *
 * `trustedProxies`: addresses, CIDR ranges, or `loopback`, `linklocal`, `uniquelocal`; throws TypeError for anything else.
 */
export function createReadOrigin(trustedProxies: readonly string[]): ReadOrigin {
  if (trustedProxies.length === 0) return (request) => ({ ip: peerOf(request), isSecure: false })
  const isTrusted = proxyaddr.compile([...trustedProxies])

  return (request) => {
    const addresses = proxyaddr.all(request, isTrusted)
    const firstUnreadable = addresses.findIndex((address) => isIP(address) === 0)
    const readable = firstUnreadable === -1 ? addresses : addresses.slice(0, firstUnreadable)
    const proxies = readable.filter((address, index) => isTrusted(address, index)).length
    return {
      ip: plainAddress(readable.at(-1) ?? peerOf(request)),
      isSecure: proxies > 0 && protocolBefore(proxies, request) === 'https',
    }
  }
}

// Each proxy may append what it was spoken to in, or leave what it found; the leftmost of them is the one that the caller spoke to.
function protocolBefore(proxies: number, { headers }: IncomingMessage): string | undefined {
  const protocols = [headers['x-forwarded-proto'] ?? []].flat().join(',').split(',')
  return protocols.at(-Math.min(proxies, protocols.length))?.trim().toLowerCase()
}

function peerOf({ socket }: IncomingMessage): string {
  return plainAddress(socket.remoteAddress ?? '')
}
