import { createHash } from 'node:crypto'
import { examples } from './graphiql-examples.ts'

export type Page = { body: string; contentSecurityPolicy: string }

// The page is one file with its scripts in it: only these run, known by their digests, and they reach nothing but this server. Styles
// cannot be listed, because its editor sets them as it goes.
function contentSecurityPolicyOf(html: string): string {
  return [
    "default-src 'none'",
    `script-src ${scriptDigests(html).join(' ')} blob:`,
    "style-src 'unsafe-inline'",
    'worker-src blob:',
    'img-src data:',
    'font-src data:',
    "connect-src 'self'",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

function scriptDigests(html: string): string[] {
  const scripts = [...html.matchAll(/<script[^>]*>(.*?)<\/script/gis)].map(([, text = '']) => text)
  return scripts.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`)
}

// GraphiQL (5) opens with its tabs shifted by an animation that never ends: one that is pressed jumps away, and the click is lost.
const tabStyle = '<style>.graphiql-tab { transform: none !important }</style>'

/** The GraphiQL page with an example of each thing one wants to try first; made when it is first asked for. */
export function createGraphiQLPage(): () => Promise<Page> {
  let page: Promise<Page> | undefined
  return () => (page ??= render())
}

async function render(): Promise<Page> {
  // Nine megabytes of script: loaded when somebody opens the page.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql')
  const body = renderGraphiQL({
    title: 'Monk-AI',
    defaultTabs: [...examples],
    subscriptionsProtocol: 'SSE',
    method: 'POST',
    defaultEditorToolsVisibility: 'headers',
    isHeadersEditorEnabled: true,
    shouldPersistHeaders: true,
  })
  // Browsers read line ends as \n before they compute a digest.
  const page = body.replaceAll(/\r\n?/g, '\n').replace('</head>', () => `${tabStyle}</head>`)
  return { body: page, contentSecurityPolicy: contentSecurityPolicyOf(page) }
}
