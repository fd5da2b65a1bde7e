import { Kind, type GraphQLResolveInfo, type OperationDefinitionNode, type SelectionSetNode } from 'graphql'
import type { GraphQLContext } from '../../graphql/context.ts'

/** Every list that the feed keeps up to date calls this first; FeedHeads says why. Reads nothing unless the cursor is asked for. */
export async function feedHeadsFirst({ loaders }: GraphQLContext, info: GraphQLResolveInfo): Promise<void> {
  if (asksForFeedCursor(info)) await loaders.feedHeads.before()
}

// Parsed documents are remembered by the server, so each is searched once.
const answers = new WeakMap<OperationDefinitionNode, boolean>()

function asksForFeedCursor({ operation, fragments }: GraphQLResolveInfo): boolean {
  const known = answers.get(operation)
  if (known !== undefined) return known
  const sets = [operation.selectionSet, ...Object.values(fragments).map((fragment) => fragment.selectionSet)]
  const answer = sets.some(selectsFeedCursor)
  answers.set(operation, answer)
  return answer
}

function selectsFeedCursor({ selections }: SelectionSetNode): boolean {
  return selections.some((selection) => {
    if (selection.kind === Kind.FIELD && selection.name.value === 'feedCursor') return true
    return selection.kind !== Kind.FRAGMENT_SPREAD && selection.selectionSet !== undefined
      ? selectsFeedCursor(selection.selectionSet)
      : false
  })
}
