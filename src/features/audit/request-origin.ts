/** Where an act came from, for the audit log. */
export type RequestOrigin = {
  ip: string | null
  requestId: string | null
  /** The API key that did it for its maker. */
  apiKeyId?: string
}

/** For what the program does on its own. */
export const unknownOrigin: RequestOrigin = { ip: null, requestId: null }
