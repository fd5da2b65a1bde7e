// `npm run build [-- --force]`: `dist` from `src`, only when something has changed. `npm start` does it first.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { generatePrisma } from './generate-prisma.mjs'
import { filesIn, fingerprint, root, run, whenChanged } from './run.mjs'

const force = process.argv.includes('--force')
generatePrisma({ force })

const compiler = ['tsconfig.json', 'tsconfig.build.json', 'package.json', 'node_modules/typescript/package.json']
const sources = filesIn('src', (path) => path.endsWith('.ts'))
const dist = join(root, 'dist')

// What has no source any more must go; the compiler does not see to it.
whenChanged({ stamp: 'dist/.sources', print: [...compiler, ...sources].join('\n'), force }, () =>
  rmSync(dist, { recursive: true, force: true }),
)
whenChanged({ stamp: 'dist/.stamp', print: fingerprint([...compiler, ...sources]), force }, () =>
  run('Compiling …', 'typescript/bin/tsc', ['-p', 'tsconfig.build.json']),
)
