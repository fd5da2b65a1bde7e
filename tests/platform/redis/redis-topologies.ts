import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import { freePort, startRedisServer, type RedisTestServer } from '../../support/redis-server.ts'
import { until } from './redis-harness.ts'

const run = promisify(execFile)

async function command(port: number, ...args: readonly [string, ...string[]]): Promise<unknown> {
  const client = new Redis(port, '127.0.0.1')
  try {
    return await client.call(...args)
  } finally {
    client.disconnect()
  }
}

/** Three masters that share the slots. */
export async function startRedisCluster(
  program: string,
): Promise<{ url: string; nodes: readonly RedisTestServer[] } & AsyncDisposable> {
  const nodes: RedisTestServer[] = []
  const busPorts: number[] = []
  for (let n = 0; n < 3; n += 1) {
    const busPort = await freePort()
    busPorts.push(busPort)
    const settings = {
      'cluster-enabled': 'yes',
      'cluster-port': String(busPort),
      'cluster-node-timeout': '1000',
      // One node that is down must not stop the others.
      'cluster-require-full-coverage': 'no',
    }
    nodes.push(await startRedisServer(program, { settings }))
  }
  const slots = [
    ['0', '5460'],
    ['5461', '10922'],
    ['10923', '16383'],
  ] as const
  for (const [index, [first, last]] of slots.entries())
    await command(nodes[index]?.port ?? 0, 'CLUSTER', 'ADDSLOTSRANGE', first, last)
  const firstPort = nodes[0]?.port ?? 0
  for (const [index, node] of nodes.entries())
    if (index > 0) await command(firstPort, 'CLUSTER', 'MEET', '127.0.0.1', String(node.port), String(busPorts[index]))
  await until('the cluster agrees', async () => {
    const infos = await Promise.all(nodes.map(({ port }) => command(port, 'CLUSTER', 'INFO')))
    return infos.every((info) => /cluster_state:ok/.test(String(info)) && /cluster_known_nodes:3/.test(String(info)))
  })
  return {
    url: `redis+cluster://${nodes.map(({ port }) => `127.0.0.1:${port}`).join(',')}`,
    nodes,
    async [Symbol.asyncDispose]() {
      await Promise.all(nodes.map((node) => node[Symbol.asyncDispose]()))
    },
  }
}

/** A master, its replica, and one Sentinel that makes the replica the master when the master is gone. */
export async function startRedisSentinel(
  program: string,
): Promise<{ url: string; master: RedisTestServer; replica: RedisTestServer } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), 'monk-sentinel-'))
  const master = await startRedisServer(program)
  const replica = await startRedisServer(program, {
    flags: ['--replicaof', '127.0.0.1', String(master.port), '--repl-diskless-sync-delay', '0'],
  })
  const port = await freePort()
  const file = join(folder, 'sentinel.conf')
  await writeFile(
    file,
    [
      `port ${port}`,
      'bind 127.0.0.1',
      `sentinel monitor main 127.0.0.1 ${master.port} 1`,
      'sentinel down-after-milliseconds main 500',
      'sentinel failover-timeout main 3000',
      '',
    ].join('\n'),
  )
  const sentinel = await startRedisServer(program, { configuration: { file, port }, flags: ['--sentinel'] })
  await until('the sentinel knows the replica', async () => {
    const replicas = await command(port, 'SENTINEL', 'replicas', 'main')
    return JSON.stringify(replicas).includes(`"${replica.port}"`) && !JSON.stringify(replicas).includes('s_down')
  })
  await until('the replica is connected', async () =>
    /master_link_status:up/.test(String(await command(replica.port, 'INFO', 'replication'))),
  )
  return {
    url: `redis+sentinel://127.0.0.1:${port}/main`,
    master,
    replica,
    async [Symbol.asyncDispose]() {
      await Promise.all([sentinel, replica, master].map((server) => server[Symbol.asyncDispose]()))
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A Redis that speaks TLS only, and the authority that vouches for it as `localhost`. Null where there is no openssl to make them with. */
export async function startRedisTls(
  program: string,
): Promise<({ url: string; authorityFile: string } & AsyncDisposable) | null> {
  const folder = await mkdtemp(join(tmpdir(), 'monk-redis-tls-'))
  const remove = (): Promise<void> => rm(folder, { recursive: true, force: true })
  const at = (name: string): string => join(folder, name)
  try {
    await run('openssl', [
      ...'req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost'.split(
        ' ',
      ),
      '-keyout',
      at('key.pem'),
      '-out',
      at('certificate.pem'),
    ])
  } catch (error) {
    await remove()
    if (process.env['CI'] !== undefined) throw error
    console.warn('SKIPPED: no openssl on this machine; Redis over TLS is not tested')
    return null
  }
  const port = await freePort()
  const server = await startRedisServer(program, {
    settings: {
      port: '0',
      'tls-port': String(port),
      'tls-cert-file': at('certificate.pem'),
      'tls-key-file': at('key.pem'),
      'tls-auth-clients': 'no',
    },
  })
  return {
    url: `rediss://localhost:${port}`,
    authorityFile: at('certificate.pem'),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await remove()
    },
  }
}
