/**
 * Hints that a workspace may have work. A hint is never the work itself: the rows are. Hints may be lost, repeated or late, and
 * the reconciler repairs what that breaks. Workspaces take turns: a hint goes to the tail of one queue.
 */
export interface Dispatch {
  /**
   * Says that `workspaceId` may have work. Bounded: while enough hints for the workspace wait already, another adds nothing.
   * Throws, at once or after two seconds at most, when the hint could not be handed to anybody: it is lost.
   */
  hint(workspaceId: string): Promise<void>
  /**
   * Starts to deliver hints in order, one at a time: the next one comes when the handler's promise has resolved, so a handler
   * that waits leaves the rest to other processes. Before it takes one it waits for `untilReady` (default: at once): a hint that nobody has a
   * free slot for stays in the queue, where the first process that has one gets it. Stops when the returned function is called: at once it
   * takes no more, and it waits for `untilReady` and the handler, for a while at least.
   */
  consume(handler: (workspaceId: string) => Promise<void>, untilReady?: () => Promise<void>): () => Promise<void>
  close(): Promise<void>
}
