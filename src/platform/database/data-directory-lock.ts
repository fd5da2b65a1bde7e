import { randomBytes } from 'node:crypto'
import { mkdir, readdir, readlink, rm, symlink } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import type { Server } from 'node:net'
import { hostname } from 'node:os'
import { join, relative } from 'node:path'

/**
 * An exclusive lock on a data directory. It ends with the process, however that ends, and needs no repair.
 *
 * Node has no flock. A pid in a file proves nothing: pids are used again, and in a container every server is number 1. What
 * the kernel does take back at once is a listening socket, so the owner listens on a Unix socket inside of the directory, and
 * whoever can connect to it knows that it lives (also from another container with the same volume).
 *
 * Who owns is written as a symbolic link, because making one is atomic, contents included:
 *
 *     lock/owner-7 -> 4711@host:c0ffee01.sock     the highest number owns, if its socket answers
 *
 * | step    |                                                                                                        |
 * |---------|--------------------------------------------------------------------------------------------------------|
 * | listen  | on a new socket of one's own; from here on one counts as alive                                         |
 * | look    | the highest link, n: its socket answers → refused; nobody there → it is dead                           |
 * | claim   | make link n + 1; it exists already → somebody was faster, look again                                   |
 * | confirm | a higher one than one's own exists (one had slept since looking) → start again; else it is ours        |
 * | tidy    | only now remove lower links and the sockets that they name; the highest link stays even after the end  |
 *
 * The highest link is never removed, so numbers never go back, and a claim is only made above a number that was seen dead.
 */
export interface DataDirectoryLock extends AsyncDisposable {
  /** From now on others who are refused are told where this process's database listens. */
  announce(socketFolder: string): void
}

/** Who holds the lock; `socketFolder` is null while it is starting or stopping. */
export type LockOwner = { pid: number; host: string; socketFolder: string | null }

/** Somebody else has the data directory open. */
export class DataDirectoryInUseError extends Error {
  readonly owner: LockOwner

  constructor(directory: string, owner: LockOwner) {
    const place = owner.host === hostname() ? '' : ` on ${owner.host}`
    super(
      `The data directory ${directory} is in use by process ${owner.pid}${place}. ` +
        'Stop that process, or set MONK_DATA_DIR to another directory.',
    )
    this.name = 'DataDirectoryInUseError'
    this.owner = owner
  }
}

/** Takes the lock or throws DataDirectoryInUseError. The directory must exist. */
export async function lockDataDirectory(directory: string): Promise<DataDirectoryLock> {
  const folder = join(directory, 'lock')
  await mkdir(folder, { recursive: true, mode: 0o700 })
  // Each further round means that another process started in between; that many do not.
  for (let round = 0; round < 20; round++) {
    const presence = await listen(folder)
    try {
      if (await claim({ directory, folder, presence })) return presence
    } catch (error) {
      await presence[Symbol.asyncDispose]()
      throw error
    }
    await presence[Symbol.asyncDispose]()
  }
  throw new Error(`The lock of ${directory} could not be taken: too many processes are trying at once.`)
}

/** Who has the directory open, or null. For commands that work through a running server. */
export async function findLockOwner(directory: string): Promise<LockOwner | null> {
  const folder = join(directory, 'lock')
  const highest = (await readLinks(folder)).at(-1)
  return highest === undefined ? null : askOwner(folder, highest)
}

type Presence = DataDirectoryLock & { readonly socketName: string }
type OwnerLink = { number: number; pid: number; host: string; socketName: string }

async function claim(claimant: { directory: string; folder: string; presence: Presence }): Promise<boolean> {
  const { directory, folder, presence } = claimant
  const highest = (await readLinks(folder)).at(-1)
  const owner = highest === undefined ? null : await askOwner(folder, highest)
  if (owner !== null) throw new DataDirectoryInUseError(directory, owner)

  const number = (highest?.number ?? 0) + 1
  try {
    await symlink(`${process.pid}@${hostname()}:${presence.socketName}`, join(folder, `owner-${number}`))
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false
    throw error
  }

  const links = await readLinks(folder)
  if (links.some((link) => link.number > number)) {
    await rm(join(folder, `owner-${number}`), { force: true })
    return false
  }
  for (const link of links.filter((each) => each.number < number)) {
    await rm(join(folder, link.socketName), { force: true })
    await rm(join(folder, `owner-${link.number}`), { force: true })
  }
  return true
}

async function listen(folder: string): Promise<Presence> {
  let socketFolder: string | null = null
  const socketName = `${randomBytes(4).toString('hex')}.sock`
  const server: Server = createServer((socket) => {
    socket.on('error', () => {})
    socket.end(socketFolder ?? '')
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(reachablePath(join(folder, socketName)), resolve)
  })
  server.unref()
  return {
    socketName,
    announce(newSocketFolder) {
      socketFolder = newSocketFolder
    },
    async [Symbol.asyncDispose]() {
      // Closing also removes the socket's file.
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

async function readLinks(folder: string): Promise<OwnerLink[]> {
  const links: OwnerLink[] = []
  for (const name of await readNames(folder)) {
    const number = Number(/^owner-(\d+)$/.exec(name)?.[1])
    if (!Number.isSafeInteger(number)) continue
    const target = await readTarget(join(folder, name))
    const [, pid, host, socketName] = /^(\d+)@(.*):([0-9a-f]+\.sock)$/.exec(target ?? '') ?? []
    if (host === undefined || socketName === undefined) continue
    links.push({ number, pid: Number(pid), host, socketName })
  }
  return links.toSorted((a, b) => a.number - b.number)
}

async function readNames(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return []
    throw error
  }
}

// Null: it has been removed since the folder was listed.
async function readTarget(path: string): Promise<string | null> {
  try {
    return await readlink(path)
  } catch (error) {
    if (isCode(error, 'ENOENT')) return null
    throw error
  }
}

// Null: nobody listens there any more. Whatever else goes wrong counts as alive: a doubt must never open the data twice.
async function askOwner(folder: string, { pid, host, socketName }: OwnerLink): Promise<LockOwner | null> {
  const path = reachablePath(join(folder, socketName))
  return new Promise((resolve) => {
    const socket = connect(path)
    let answer = ''
    const give = (owner: LockOwner | null): void => {
      socket.destroy()
      resolve(owner)
    }
    // A stopped or busy owner accepts (the kernel does) and answers nothing.
    socket.setTimeout(1_000, () => give({ pid, host, socketFolder: null }))
    socket.setEncoding('utf8')
    socket.on('data', (text: string) => (answer += text))
    socket.on('end', () => give({ pid, host, socketFolder: answer === '' ? null : answer }))
    socket.on('error', (error) =>
      give(isCode(error, 'ECONNREFUSED') || isCode(error, 'ENOENT') ? null : { pid, host, socketFolder: null }),
    )
  })
}

// The kernel cuts off the path of a socket silently beyond 107 bytes (macOS: 103). Seen from here it may be shorter.
function reachablePath(path: string): string {
  const shortest = [path, relative(process.cwd(), path)].find((candidate) => Buffer.byteLength(candidate) <= 100)
  if (shortest === undefined)
    throw new Error(`The path ${path} is too long for a socket: choose a shorter MONK_DATA_DIR.`)
  return shortest
}

const isCode = (error: unknown, code: string): boolean =>
  error instanceof Error && 'code' in error && error.code === code
