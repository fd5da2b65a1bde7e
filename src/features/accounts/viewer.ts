/** Who asks: an authenticated user in a session. */
export type Viewer = {
  userId: string
  sessionId: string
  role: 'ADMIN' | 'USER'
}
