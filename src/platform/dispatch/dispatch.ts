/**
 * Hints that an agent may have work. A hint is never the work itself: the rows are. Hints may be lost, repeated or late, and
 * the reconciler repairs what that breaks. Agents take turns: a hint goes to the tail of one queue.
 */
export interface Dispatch {
  /**
   * Says that `agentId` may have work. Bounded: while many hints for the agent wait already, another adds nothing.
   * Throws, at once or after two seconds at most, when the hint could not be handed to anybody: it is lost.
   */
  hint(agentId: string): Promise<void>
  /**
   * Starts to deliver hints in order, one at a time: the next one comes when the handler's promise has resolved, so a handler
   * that waits for a free slot leaves the rest to other processes. Stops when the returned function is called, which waits for the handler, for a while at least.
   */
  consume(handler: (agentId: string) => Promise<void>): () => Promise<void>
  close(): Promise<void>
}
