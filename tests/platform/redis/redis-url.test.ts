import { expect, test } from 'vitest'
import { describeRedis, parseRedisUrl, RedisUrlError } from '../../../src/platform/redis/redis-url.ts'

const plain = { tls: false, username: null, password: null, db: 0, prefix: 'monk' }

test.each([
  ['redis://localhost', { topology: { kind: 'server', address: { host: 'localhost', port: 6379 } } }],
  ['redis://10.0.0.1:7000/3', { db: 3, topology: { kind: 'server', address: { host: '10.0.0.1', port: 7000 } } }],
  ['redis://[::1]:7000/', { topology: { kind: 'server', address: { host: '::1', port: 7000 } } }],
  [
    'rediss://app:p%40ss%2Fword%3A%23@cache.example.org/0?prefix=blue',
    {
      tls: true,
      username: 'app',
      password: 'p@ss/word:#',
      prefix: 'blue',
      topology: { kind: 'server', address: { host: 'cache.example.org', port: 6379 } },
    },
  ],
  [
    'redis://:se+cret:too@localhost',
    { password: 'se+cret:too', topology: { kind: 'server', address: { host: 'localhost', port: 6379 } } },
  ],
  [
    'redis+sentinel://:data@one,two:26380/main-cache/2?sentinelPassword=wat+ch%26er&sentinelUsername=w',
    {
      password: 'data',
      db: 2,
      topology: {
        kind: 'sentinel',
        sentinels: [
          { host: 'one', port: 26_379 },
          { host: 'two', port: 26_380 },
        ],
        master: 'main-cache',
        username: 'w',
        password: 'wat+ch&er',
      },
    },
  ],
  [
    'rediss+cluster://one:7000,two:7001',
    {
      tls: true,
      topology: {
        kind: 'cluster',
        nodes: [
          { host: 'one', port: 7000 },
          { host: 'two', port: 7001 },
        ],
      },
    },
  ],
])('reads %s', (url, expected) => {
  expect(parseRedisUrl(url)).toEqual({ ...plain, ...expected })
})

test.each([
  ['http://host', 'redis://host:port/db'],
  ['redis:host', 'redis://host:port/db'],
  ['redis://', 'host or host:port'],
  ['redis://host:0', 'host or host:port'],
  ['redis://host:99999', 'host or host:port'],
  ['redis://ho st', 'host or host:port'],
  ['redis://one,two', 'one server'],
  ['redis://host/x', 'number of a database'],
  ['redis://host/0/1', 'number of a database'],
  ['redis://hunter2@host', 'after a colon'],
  ['redis://user:@host', 'after a colon'],
  ['redis://:hunter2#@host', '%23'],
  ['redis://:hunter@2@host', 'percent-encoded'],
  ['redis://:hunter%2@host', 'percent-encoded'],
  ['redis://:hunter/2@host', 'host or host:port'],
  ['redis://host?pool=3', 'no options but prefix'],
  ['redis://host?prefix=a&prefix=b', 'each once'],
  ['redis://host?prefix={a}', 'prefix of'],
  ['redis://host?sentinelPassword=hunter2', 'no options but prefix'],
  ['redis+sentinel://host', 'name the master'],
  ['redis+sentinel://host/', 'name the master'],
  ['redis+sentinel://host/main/x', 'number of a database'],
  ['redis+cluster://host/1', 'only one'],
  ['redis+sentinels://host/main', 'redis://host:port/db'],
])('refuses %s and says why, without the URL', (url, why) => {
  let error: unknown
  try {
    parseRedisUrl(url)
  } catch (caught) {
    error = caught
  }

  expect(error).toBeInstanceOf(RedisUrlError)
  expect(String(error)).toContain(why)
  expect(String(error)).not.toContain('hunter')
})

test.each([
  ['rediss://app:hunter2@[::1]:7000/3', 'rediss://[::1]:7000/3'],
  ['redis+sentinel://:hunter2@one,two/main?sentinelPassword=hunter2', 'redis+sentinel://one:26379,two:26379/main/0'],
  ['redis+cluster://:hunter2@one,two', 'redis+cluster://one:6379,two:6379'],
])('describes %s without its credentials', (url, description) => {
  expect(describeRedis(parseRedisUrl(url))).toBe(description)
})
