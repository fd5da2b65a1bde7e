import {
  Kind,
  type DocumentNode,
  type FragmentDefinitionNode,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'

export type Fragments = ReadonlyMap<string, FragmentDefinitionNode>

// Fragments that use each other twice grow without bound; more than this is too much for every limit.
const maxRemembered = 1_000

export function fragmentsOf({ definitions }: DocumentNode): Fragments {
  return new Map(
    definitions.flatMap((node) => (node.kind === Kind.FRAGMENT_DEFINITION ? [[node.name.value, node]] : [])),
  )
}

/** The fields of Query, Mutation or Subscription that the operation asks for, fragments written out; a name for each time that it is there. */
export function rootFields(document: DocumentNode, { selectionSet }: OperationDefinitionNode): string[] {
  return rootFieldsOf(selectionSet, fragmentsOf(document))
}

/** The same for documents that were not validated: fragments that are missing or go in circles have no fields. */
export function rootFieldsOf(selectionSet: SelectionSetNode, fragments: Fragments): string[] {
  const remembered = new Map<string, readonly string[]>()

  function ofSelections(set: SelectionSetNode): string[] {
    return set.selections.flatMap((selection) => {
      switch (selection.kind) {
        case Kind.FIELD:
          return [selection.name.value]
        case Kind.INLINE_FRAGMENT:
          return ofSelections(selection.selectionSet)
        case Kind.FRAGMENT_SPREAD:
          return ofFragment(selection.name.value)
      }
    })
  }

  function ofFragment(name: string): readonly string[] {
    const known = remembered.get(name)
    if (known !== undefined) return known
    remembered.set(name, [])
    const fragment = fragments.get(name)
    const names = fragment === undefined ? [] : ofSelections(fragment.selectionSet).slice(0, maxRemembered)
    remembered.set(name, names)
    return names
  }

  return ofSelections(selectionSet)
}
