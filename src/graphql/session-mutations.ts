import { getOperationAST, Kind, OperationTypeNode, type DocumentNode } from 'graphql'

// They bring their own proof of who somebody is.
const sessionMutations: ReadonlySet<string> = new Set(['signUp', 'logIn', 'refreshSession'])

/**
 * Whether the operation does nothing but begin or renew a session. A client whose access token has expired sends it along with these, too,
 * and must not be locked out by it.
 */
export function onlyBeginsSession(document: DocumentNode, operationName: string | null): boolean {
  const operation = getOperationAST(document, operationName)
  return (
    operation?.operation === OperationTypeNode.MUTATION &&
    operation.selectionSet.selections.every(
      (selection) => selection.kind === Kind.FIELD && sessionMutations.has(selection.name.value),
    )
  )
}
