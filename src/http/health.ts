import type { Database } from '../platform/database/database.ts'

export type Readiness = { status: 'OK' | 'DOWN'; checks: { name: string; status: 'OK' | 'DOWN' }[] }

/** Whether this process can do its work: the database answers within `timeoutMs`. */
export async function checkReadiness(db: Pick<Database, 'ping'>, timeoutMs: number): Promise<Readiness> {
  const status = (await answersWithin(db, timeoutMs)) ? 'OK' : 'DOWN'
  return { status, checks: [{ name: 'database', status }] }
}

async function answersWithin(db: Pick<Database, 'ping'>, timeoutMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const tooLate = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs)
  })
  // Why it is down is the database's to log; whoever asks here gets yes or no.
  const answered = db.ping().then(
    () => true,
    () => false,
  )
  try {
    return await Promise.race([answered, tooLate])
  } finally {
    clearTimeout(timer)
  }
}
