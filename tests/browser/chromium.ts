import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { chromium, type Page } from 'playwright-core'

/** A page of a browser of its own, with an empty profile, and what must not happen on it. */
export interface BrowserPage extends AsyncDisposable {
  readonly page: Page
  /** The addresses of all requests of the page and its workers. */
  readonly requested: readonly string[]
  /** Errors in its console, violations of its Content-Security-Policy among them, and what its scripts threw. */
  readonly complaints: readonly string[]
  /** Runs the test; when it fails, a screenshot in the system's temporary folder shows where. */
  during(test: () => Promise<void>): Promise<void>
}

/** How long the page may take for one step. */
const stepTimeoutMs = 20_000

const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/**
 * The path of Chromium, from the PATH or where Debian has it; null when there is none.
 * Suites that need it say so loudly and are skipped; with CI set they fail instead.
 */
export function findChromium(): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin'].filter((folder) => folder !== '')
  const program = ['chromium', 'chromium-browser', 'google-chrome']
    .flatMap((name) => folders.map((folder) => join(folder, name)))
    .find((candidate) => existsSync(candidate))
  if (program === undefined && process.env['CI'] !== undefined)
    throw new Error('CI must have Chromium, and there is none')
  if (program === undefined) console.warn('SKIPPED: no Chromium on this machine; its suites do not run')
  return program ?? null
}

export async function openPage(program: string): Promise<BrowserPage> {
  const browser = await chromium.launch({ executablePath: program, args: flags })
  try {
    const context = await browser.newContext({
      viewport: { width: 1_400, height: 900 },
      permissions: ['clipboard-read', 'clipboard-write'],
    })
    const requested: string[] = []
    const complaints: string[] = []
    context.on('request', (request) => requested.push(request.url()))
    context.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text())
    })
    context.on('weberror', (error) => complaints.push(String(error.error())))
    const page = await context.newPage()
    page.setDefaultTimeout(stepTimeoutMs)
    return {
      page,
      requested,
      complaints,
      async during(test) {
        try {
          await test()
        } catch (error) {
          const path = join(tmpdir(), `monk-browser-${process.pid}.png`)
          await page.screenshot({ path })
          console.error(`What the page looked like when the test failed: ${path}`)
          throw error
        }
      },
      [Symbol.asyncDispose]: () => browser.close(),
    }
  } catch (error) {
    await browser.close()
    throw error
  }
}
