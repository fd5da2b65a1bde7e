import type { ModelStatus } from '../../ai/model-status.ts'
import { builder } from '../../graphql/builder.ts'
import { requireViewer } from '../accounts/viewer.ts'

const ModelState = builder.enumType('ModelState', {
  description: 'Whether a model is asked at present.',
  values: {
    AVAILABLE: { description: 'It is.' },
    COOLING_DOWN: {
      description: 'Its provider wants to be left alone for a while, or refuses the key. The next models are asked.',
    },
    OPEN: { description: 'It failed too often and is left alone for some seconds.' },
    PROBING: { description: 'It failed too often; single calls try whether it is well again.' },
  },
})

const ModelStatusRef = builder.objectRef<ModelStatus>('ModelStatus').implement({
  description: 'How a model is doing, over all processes. The figures are of the last five minutes.',
  fields: (t) => ({
    name: t.exposeString('name', { description: '"provider/model".' }),
    provider: t.exposeString('provider', { description: 'The endpoint’s name.' }),
    version: t.exposeString('version', {
      nullable: true,
      description: 'What the provider said last had answered; null when it has not answered.',
    }),
    aliases: t.stringList({ description: 'Other names for it.', resolve: ({ aliases }) => [...aliases] }),
    state: t.expose('state', { type: ModelState, description: 'Whether it is asked at present.' }),
    reason: t.exposeString('reason', { nullable: true, description: 'Why it is not asked; null when it is.' }),
    availableAt: t.expose('availableAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it is asked again; null when it is, or when that is not known.',
    }),
    requestsPerMinute: t.exposeFloat('requestsPerMinute', { description: 'Calls a minute.' }),
    errorRate: t.exposeFloat('errorRate', { description: 'The share of calls that gave no answer, 0 to 1.' }),
    timeToFirstTokenP50Ms: t.exposeFloat('timeToFirstTokenP50Ms', {
      nullable: true,
      description: 'Half of the calls had their first text within so many milliseconds; null when there were none.',
    }),
    timeToFirstTokenP99Ms: t.exposeFloat('timeToFirstTokenP99Ms', {
      nullable: true,
      description: 'Ninety-nine in a hundred calls had their first text within so many milliseconds.',
    }),
    tokensPerSecondP50: t.exposeFloat('tokensPerSecondP50', {
      nullable: true,
      description: 'Half of the answers were written faster; null when there were none.',
    }),
    tokensPerSecondP99: t.exposeFloat('tokensPerSecondP99', {
      nullable: true,
      description: 'Ninety-nine in a hundred answers were written faster.',
    }),
    inputUsdPerMillion: t.exposeFloat('inputUsdPerMillion', {
      nullable: true,
      description: 'What a million input tokens cost; null when the price is not known.',
    }),
    outputUsdPerMillion: t.exposeFloat('outputUsdPerMillion', {
      nullable: true,
      description: 'What a million output tokens cost; null when the price is not known.',
    }),
    costUsdPerHour: t.exposeFloat('costUsdPerHour', {
      description: 'What its calls cost, at the pace of the last five minutes; unknown prices count for nothing.',
    }),
  }),
})

builder.queryField('models', (t) =>
  t.field({
    type: [ModelStatusRef],
    description: 'The configured models and those that were asked lately, by name.',
    resolve: async (_root, _args, context) => {
      requireViewer(context.viewer)
      return [...(await context.services.models.statuses())]
    },
  }),
)
