/**
 * What a test does within a minute, a person does not: limits that only a test of themselves should meet, which sets its own. What anybody may
 * ask at once (depth, complexity, sizes) stays as it is.
 */
export const generousLimits = {
  LIMIT_REQUESTS_PER_MINUTE: '1000000',
  LIMIT_COST_PER_MINUTE: '100000000',
  LIMIT_SOCKETS_PER_USER: '10000',
  LIMIT_SUBSCRIPTIONS_PER_SOCKET: '10000',
  LIMIT_SOCKET_MESSAGES_PER_SECOND: '100000',
} as const
