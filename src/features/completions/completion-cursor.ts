/** Where a piece of a completion's text is. Opaque to callers. */
export function encodeCompletionCursor(completionId: string, segment: number, offset: number): string {
  return Buffer.from(`c1:${completionId}:${segment}:${offset}`).toString('base64url')
}
