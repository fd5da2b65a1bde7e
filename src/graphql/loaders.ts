import type { Services } from './context.ts'
import type { Viewer } from '../features/accounts/viewer.ts'

/** One DataLoader for each thing that Prisma's relations do not batch. Each feature adds the line of its own loader. */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface Loaders {}

/** Makes the loaders of one operation: what they remember must not outlive it. */
export type CreateLoaders = (services: Services, viewer: Viewer | null) => Loaders
