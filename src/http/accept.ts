/** What a client can read of what GraphQL answers with. */
export type Accepted = { json: boolean; eventStream: boolean; html: boolean }

/** Reads an `Accept` header (RFC 9110); without one, JSON. `html` only when it is named: that is how a browser asks for a page. */
export function acceptedTypes(header: string | undefined): Accepted {
  if (header === undefined || header.trim() === '') return { json: true, eventStream: false, html: false }
  const types = new Set(header.toLowerCase().split(',').flatMap(mediaType))
  return {
    json: ['application/graphql-response+json', 'application/json', 'application/*', '*/*'].some((type) =>
      types.has(type),
    ),
    eventStream: ['text/event-stream', 'text/*', '*/*'].some((type) => types.has(type)),
    html: types.has('text/html'),
  }
}

function mediaType(item: string): string[] {
  const [type = '', ...parameters] = item.split(';').map((part) => part.trim())
  return parameters.some((parameter) => /^q=0(\.0*)?$/.test(parameter)) ? [] : [type]
}
