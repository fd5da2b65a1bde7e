import type { Locator, Page } from 'playwright-core'
import { until } from '../support/until.ts'

/** GraphiQL, used as a person uses it: with its tabs, its buttons, and the clipboard. */
export interface GraphiQLPage {
  /** Goes to a tab by the name of its operation. */
  openTab(operation: string): Promise<void>
  /** Replaces a word of the operation or the headers by pasting. */
  paste(into: 'Operation Editor' | 'Headers', word: string, text: string): Promise<void>
  execute(): Promise<void>
  /** Ends a subscription. */
  stop(): Promise<void>
  /** What the result window shows, when it shows `text`: copied out of it. */
  copyResult<Result>(text: string): Promise<Result>
  /** Looks at the result window until it shows `last`; returns the values of `field` that it has shown, each once. */
  watchResults(field: string, last: string): Promise<readonly string[]>
}

export async function openGraphiQL(page: Page, url: string): Promise<GraphiQLPage> {
  await page.goto(url)
  const region = (name: string): Locator => page.getByRole('region', { name })
  const result = region('Result Window')
  const executeButton = page.getByRole('button', { name: /^Execute query/ })
  const tabs = page.getByRole('tablist')
  // Monaco draws its lines with spaces that do not break.
  const shown = async (): Promise<string> => (await result.innerText()).replaceAll('\u00A0', ' ')
  await executeButton.waitFor()

  return {
    async openTab(operation) {
      await tabs.getByRole('button', { name: operation }).click()
      await tabs.getByRole('tab', { name: operation, selected: true }).waitFor()
    },
    async paste(into, word, text) {
      await region(into).getByText(word).dblclick()
      await page.evaluate(`navigator.clipboard.writeText(${JSON.stringify(text)})`)
      await page.keyboard.press('Control+V')
      await region(into).getByText(word).waitFor({ state: 'detached' })
    },
    async execute() {
      await executeButton.click()
    },
    async stop() {
      await page.getByRole('button', { name: /^Stop query/ }).click()
      await executeButton.waitFor()
    },
    async copyResult(text) {
      await until(`the result shows ${text}`, shown, (now) => now.includes(text))
      const editor = result.getByRole('textbox')
      await editor.press('Control+A')
      await editor.press('Control+C')
      return JSON.parse(String(await page.evaluate('navigator.clipboard.readText()')))
    },
    async watchResults(field, last) {
      const seen = new Set<string>()
      const look = async (): Promise<string> => {
        const now = await shown()
        const value = new RegExp(`"${field}": "([^"]*)"`).exec(now)?.[1]
        if (value !== undefined) seen.add(value)
        return now
      }
      await until(`the result shows ${last}`, look, (now) => now.includes(last), 30_000)
      return [...seen]
    },
  }
}
