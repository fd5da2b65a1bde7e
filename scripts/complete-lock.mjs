// `npm run lock`, after every change of a dependency: completes package-lock.json. npm leaves out optional packages of other platforms that
// it could not look up (a mirror may lack them), and then `npm ci` refuses the lock everywhere. What is added names the version that the
// parent asks for and the platform; npm never installs it on another one.
import { readFileSync, writeFileSync } from 'node:fs'

const path = new URL('../package-lock.json', import.meta.url)
const systems = new Set([
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
])
const cpus = new Set(['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64'])

const lock = JSON.parse(readFileSync(path, 'utf8'))
const added = []
for (const [parentPath, parent] of Object.entries(lock.packages)) {
  if (parentPath === '') continue
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const isLocked = [`${parentPath}/node_modules/${name}`, `node_modules/${name}`].some((key) => key in lock.packages)
    const words = name.split('/').pop().split('-')
    const os = words.find((word) => systems.has(word))
    const cpu = words.find((word) => cpus.has(word))
    if (isLocked || os === undefined || cpu === undefined || !/^\d/.test(version)) continue
    const libc = words.some((word) => word.startsWith('musl'))
      ? ['musl']
      : words.some((word) => word.startsWith('gnu'))
        ? ['glibc']
        : null
    lock.packages[`node_modules/${name}`] = {
      version,
      cpu: [cpu],
      ...(parent.dev === true && { dev: true }),
      ...(os === 'linux' && libc !== null && { libc }),
      optional: true,
      os: [os],
    }
    added.push(`${name}@${version}`)
  }
}
lock.packages = Object.fromEntries(Object.entries(lock.packages).toSorted(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)
console.log(added.length === 0 ? 'The lock is complete.' : `Added:\n${added.map((name) => `  ${name}`).join('\n')}`)
