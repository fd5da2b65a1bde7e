import type { GraphQLClient, SubscriptionOptions } from '../../support/graphql-client.ts'

/** What it takes to open one stream. */
export type Connection = {
  client: GraphQLClient
  token: string
  options: Required<Pick<SubscriptionOptions, 'over' | 'signal'>>
  /** To be called with each item: there is life in it. */
  sawItem: () => void
}
