/** One DataLoader for each thing that Prisma's relations do not batch. Each feature adds the line of its own loader. */
// eslint-disable-next-line @typescript-eslint/no-empty-object-type
export interface Loaders {}
