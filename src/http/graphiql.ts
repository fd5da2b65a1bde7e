import { examples } from './graphiql-examples.ts'

export type Page = { body: string; contentSecurityPolicy: string }

// The page is one file with its scripts in it; it reaches nothing but this server, which the policy holds it to.
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'unsafe-inline' blob:",
  "style-src 'unsafe-inline'",
  'worker-src blob:',
  'img-src data:',
  'font-src data:',
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

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
  return { body: body.replace('</head>', () => `${tabStyle}</head>`), contentSecurityPolicy }
}
