/*
 * Where Redis is, in one line:
 *
 *   redis://[[user]:password@]host[:port][/db]                      one server
 *   redis+sentinel://[[user]:password@]host[:port],…/master[/db]    Sentinels (port 26379) that know the server named `master`
 *   redis+cluster://[[user]:password@]host[:port],…                 some nodes of a Redis Cluster
 *
 * `rediss`, `rediss+sentinel` and `rediss+cluster` are the same over TLS, Sentinels included; certificates are verified, and
 * NODE_EXTRA_CA_CERTS names private authorities. Special characters in credentials are percent-encoded. Options:
 *
 *   ?prefix=monk                                 begins the names of all keys and channels, for several installations on one Redis
 *   ?sentinelUsername=…&sentinelPassword=…       when the Sentinels ask for credentials, too
 */
export type RedisTarget = {
  topology: RedisTopology
  tls: boolean
  username: string | null
  password: string | null
  /** Always 0 in a Cluster. */
  db: number
  prefix: string
}

export type RedisTopology =
  | { kind: 'server'; address: RedisAddress }
  | {
      kind: 'sentinel'
      sentinels: readonly RedisAddress[]
      master: string
      username: string | null
      password: string | null
    }
  | { kind: 'cluster'; nodes: readonly RedisAddress[] }

export type RedisAddress = { host: string; port: number }

/** The URL is not one of Redis. The message says what it must be, after its name, and has nothing of the URL in it. */
export class RedisUrlError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'RedisUrlError'
  }
}

type Parts = {
  kind: RedisTopology['kind']
  addresses: readonly RedisAddress[]
  path: readonly string[]
  options: Options
}
type Options = ReadonlyMap<string, string>

const form = /^(rediss?)(\+sentinel|\+cluster)?:\/\/(?:([^@/]*)@)?([^/?@]*)(\/[^?]*)?(?:\?(.*))?$/i

/** @throws RedisUrlError */
export function parseRedisUrl(url: string): RedisTarget {
  // In a URL it begins a fragment, so the end of a password would be lost in silence.
  if (url.includes('#')) throw new RedisUrlError('must not contain #; in a password it is written %23')
  const match = form.exec(url)
  if (match === null)
    throw new RedisUrlError(`must be ${forms}, with special characters in credentials percent-encoded`)
  const [, scheme = '', suffix = '', userInfo, authority = '', path = '', query = ''] = match
  const kind = suffix === '' ? 'server' : suffix.toLowerCase() === '+sentinel' ? 'sentinel' : 'cluster'
  const options = parseOptions(query, kind)
  const parts: Parts = {
    kind,
    addresses: parseAddresses(authority, kind),
    path: path.split('/').slice(1).map(decode),
    options,
  }
  return {
    ...parseCredentials(userInfo),
    topology: toTopology(parts),
    tls: scheme.toLowerCase() === 'rediss',
    db: parseDb(parts),
    prefix: parsePrefix(options),
  }
}

/** For logs and messages: the URL without its credentials. */
export function describeRedis({ topology, tls, db }: RedisTarget): string {
  const scheme = tls ? 'rediss' : 'redis'
  const list = (addresses: readonly RedisAddress[]): string =>
    addresses.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(',')
  switch (topology.kind) {
    case 'server':
      return `${scheme}://${list([topology.address])}/${db}`
    case 'sentinel':
      return `${scheme}+sentinel://${list(topology.sentinels)}/${topology.master}/${db}`
    case 'cluster':
      return `${scheme}+cluster://${list(topology.nodes)}`
  }
}

const forms =
  'redis://host:port/db, redis+sentinel://host:port,host:port/master-name or redis+cluster://host:port,host:port (rediss for TLS)'

const knownOptions = {
  server: ['prefix'],
  sentinel: ['prefix', 'sentinelUsername', 'sentinelPassword'],
  cluster: ['prefix'],
}

function parseOptions(query: string, kind: Parts['kind']): Options {
  // Not URLSearchParams: it would make a space of a + in a password.
  const pairs = query === '' ? [] : query.split('&').map(parseOption)
  const isKnown = pairs.every(([name]) => knownOptions[kind].includes(name))
  if (!isKnown || new Set(pairs.map(([name]) => name)).size !== pairs.length)
    throw new RedisUrlError(`must have no options but ${knownOptions[kind].join(', ')}, each once`)
  return new Map(pairs)
}

function parseOption(text: string): readonly [name: string, value: string] {
  const [name = '', value = ''] = text.split(/=(.*)/s)
  return [name, decode(value)]
}

const addressForm = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9](?:[a-z0-9._-]*[a-z0-9])?))(?::(\d{1,5}))?$/i

function parseAddresses(authority: string, kind: Parts['kind']): readonly RedisAddress[] {
  const addresses = authority.split(',').map((text) => {
    const [, ipv6, name, digits] = addressForm.exec(text) ?? []
    const host = ipv6 ?? name
    const port = digits === undefined ? (kind === 'sentinel' ? 26_379 : 6_379) : Number(digits)
    if (host === undefined || port < 1 || port > 65_535)
      throw new RedisUrlError('must name each server as host or host:port')
    return { host, port }
  })
  if (kind === 'server' && addresses.length > 1)
    throw new RedisUrlError('must name one server; several are redis+sentinel:// or redis+cluster://')
  return addresses
}

function parseCredentials(userInfo: string | undefined): Pick<RedisTarget, 'username' | 'password'> {
  if (userInfo === undefined) return { username: null, password: null }
  const [username = '', password = ''] = userInfo.split(/:(.*)/s)
  if (password === '') throw new RedisUrlError('must have its password after a colon: redis://:password@host')
  return { username: username === '' ? null : decode(username), password: decode(password) }
}

function toTopology({ kind, addresses, path, options }: Parts): RedisTopology {
  const [address] = addresses
  const [master = ''] = path
  if (address === undefined) throw new RedisUrlError(`must be ${forms}`)
  switch (kind) {
    case 'server':
      return { kind, address }
    case 'cluster':
      return { kind, nodes: addresses }
    case 'sentinel':
      if (!/^[\w.-]+$/.test(master))
        throw new RedisUrlError('must name the master that the Sentinels watch: redis+sentinel://host:port/master-name')
      return {
        kind,
        sentinels: addresses,
        master,
        username: options.get('sentinelUsername') ?? null,
        password: options.get('sentinelPassword') ?? null,
      }
  }
}

function parseDb({ kind, path }: Parts): number {
  const [text = '', ...rest] = kind === 'sentinel' ? path.slice(1) : path
  if (kind === 'cluster' && (text !== '' || rest.length > 0))
    throw new RedisUrlError('must not name a database: a Redis Cluster has only one')
  if (rest.length > 0 || !/^\d{0,5}$/.test(text))
    throw new RedisUrlError('must end with the number of a database, or none')
  return Number(text)
}

function parsePrefix(options: Options): string {
  const prefix = options.get('prefix') ?? 'monk'
  // Braces would change the hash tag, and with it the place in a Cluster.
  if (!/^[\w.-]{1,40}$/.test(prefix))
    throw new RedisUrlError('must have a prefix of 1 to 40 letters, digits, _, . or -')
  return prefix
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new RedisUrlError('must be percent-encoded correctly')
  }
}
