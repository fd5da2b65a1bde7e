import { BadUserInputError } from '../lib/errors.ts'
import type { ModelName } from './model-call.ts'

/** A model that can be asked. */
export type ResolvedModel = {
  /** "provider/model". */
  name: ModelName
  provider: string
  /** As the provider knows it. */
  model: string
  /** The alias it was asked for by, if it was. */
  alias: string | null
}

export const maxModelsPerCall = 10

/** Which models there are: the configured providers, with whatever models they have, and the aliases. */
export interface ModelDirectory {
  /**
   * The models behind the names, without repetitions; the default ones for an empty list. Throws BadUserInputError for
   * an unknown provider or alias, naming `field` and the index in it.
   */
  resolve(models: readonly ModelName[], field?: string): readonly ResolvedModel[]
  /** One name, or null when there is no such provider or alias. */
  find(name: ModelName): ResolvedModel | null
  /** The models that the configuration names: the default ones and those behind aliases. */
  configured(): readonly ModelName[]
  /** The aliases of "provider/model". */
  aliasesOf(name: ModelName): readonly string[]
}

export function createModelDirectory(options: {
  providers: readonly string[]
  aliases: Readonly<Record<string, ModelName>>
  defaultModels: readonly ModelName[]
}): ModelDirectory {
  const providers = new Set(options.providers)
  const aliases = new Map(Object.entries(options.aliases))

  function find(name: ModelName): ResolvedModel | null {
    const target = aliases.get(name)
    const full = target ?? name
    const slash = full.indexOf('/')
    const provider = full.slice(0, Math.max(0, slash))
    const model = full.slice(slash + 1)
    if (!providers.has(provider) || model.trim() === '') return null
    return { name: full, provider, model, alias: target === undefined ? null : name }
  }

  function resolve(models: readonly ModelName[], field = 'models'): readonly ResolvedModel[] {
    if (models.length > maxModelsPerCall) {
      throw new BadUserInputError(field, `At most ${String(maxModelsPerCall)} models can be tried in one call.`)
    }
    const resolved = new Map<ModelName, ResolvedModel>()
    for (const [index, name] of (models.length === 0 ? options.defaultModels : models).entries()) {
      const found = find(name)
      if (found === null) throw unknownModel(name, `${field}.${String(index)}`)
      if (!resolved.has(found.name)) resolved.set(found.name, found)
    }
    return [...resolved.values()]
  }

  function unknownModel(name: ModelName, field: string): BadUserInputError {
    return new BadUserInputError(field, `There is no model "${name}" here: its provider is not configured.`, {
      details: { providers: [...providers], aliases: [...aliases.keys()] },
      suggestions: [`Write "provider/model" with one of the providers ${[...providers].join(', ')}, or an alias.`],
    })
  }

  for (const [alias, target] of aliases) {
    if (alias.includes('/')) throw new Error(`the model alias "${alias}" must not contain a slash`)
    if (aliases.has(target) || find(target) === null) {
      throw new Error(`the model alias "${alias}" names "${target}", which is not a model of a configured provider`)
    }
  }
  if (options.defaultModels.length === 0) throw new Error('at least one default model is needed')
  for (const name of options.defaultModels) {
    if (find(name) === null) throw new Error(`the default model "${name}" is not one of a configured provider`)
  }
  return {
    resolve,
    find,
    configured: () => [...new Set([...resolve([]).map(({ name }) => name), ...aliases.values()])],
    aliasesOf: (name) => [...aliases].flatMap(([alias, target]) => (target === name ? [alias] : [])),
  }
}
