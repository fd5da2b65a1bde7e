import { builder } from '../../graphql/builder.ts'

/** One upstream call, of a task's attempt or of a completion. */
export type ModelAttemptFacts = {
  model: string
  modelVersion: string | null
  outcome: string
  status: number | null
  message: string | null
  durationMs: number
  requestId: string | null
}

export const ModelAttemptRef = builder.objectRef<ModelAttemptFacts>('ModelAttempt').implement({
  description: 'One call of a model: several may be needed for one answer, on the same model or on the next.',
  fields: (t) => ({
    model: t.exposeString('model', { description: 'Who was asked: "provider/model".' }),
    modelVersion: t.exposeString('modelVersion', {
      nullable: true,
      description: 'Who answered, in the provider’s words; null when nobody did.',
    }),
    outcome: t.exposeString('outcome', {
      description: 'How it ended: `succeeded`, or what went wrong (`rate_limited`, `idle_timeout`, `interrupted`, …).',
    }),
    status: t.exposeInt('status', { nullable: true, description: 'The HTTP status; null when no headers came.' }),
    message: t.exposeString('message', {
      nullable: true,
      description: 'What the provider or the network said; null on success.',
    }),
    durationMs: t.exposeFloat('durationMs', { description: 'How long it took, in milliseconds.' }),
    requestId: t.exposeString('requestId', {
      nullable: true,
      description: 'The provider’s own id of the request, for its support.',
    }),
  }),
})
