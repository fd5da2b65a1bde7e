/**
 * Fan-out of what has happened, to every process that listens. At most once, in the order of each publisher: a message may be
 * lost (a listener that must know reads the rows), it is never repeated or invented. Messages are JSON values.
 */
export interface Events {
  /**
   * Tells all present listeners of `topic`. Resolves when the message has been handed on; rejects when it could not be.
   * Publish after commit, never before.
   */
  publish(topic: string, message: unknown): Promise<void>
  /**
   * Attaches `listener` to `topic`. When the promise resolves, every message published from then on is delivered.
   * While the line is down it resolves all the same, after a second at most: what is published until the line is up again is lost, here as
   * for the subscriptions that were there before, and then all of them are live by themselves. So nobody fails or hangs for want of messages
   * that the rows have, too.
   * The listener must not throw and must not block. What it is given belongs to all listeners: it must not be changed.
   */
  subscribe(topic: string, listener: (message: unknown) => void): Promise<EventSubscription>
  /** Ends all subscriptions. */
  close(): Promise<void>
}

export interface EventSubscription {
  /** No message is delivered after this was called. Idempotent. */
  unsubscribe(): Promise<void>
}
