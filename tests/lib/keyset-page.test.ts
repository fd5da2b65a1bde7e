import { describe, expect, test } from 'vitest'
import { newId } from '../../src/lib/ids.ts'
import { parsePageArguments, toPage } from '../../src/lib/keyset-page.ts'

const row = { createdAt: new Date('2026-03-01T12:00:00.123Z'), id: newId() }
const cursor = toPage([row], { limit: 1, backward: false, position: null }).pageInfo.startCursor ?? ''
const encode = (text: string): string => Buffer.from(text).toString('base64url')

describe('parsePageArguments', () => {
  test.each([
    [{}, { limit: 20, backward: false, position: null }],
    [{ first: 5 }, { limit: 5, backward: false, position: null }],
    [{ first: 0 }, { limit: 0, backward: false, position: null }],
    [
      { first: 5, after: cursor },
      { limit: 5, backward: false, position: row },
    ],
    [{ after: cursor }, { limit: 20, backward: false, position: row }],
    [{ last: 5 }, { limit: 5, backward: true, position: null }],
    [{ before: cursor }, { limit: 20, backward: true, position: row }],
    [
      { first: null, after: null, last: 3, before: cursor },
      { limit: 3, backward: true, position: row },
    ],
  ])('%j', (args, request) => {
    expect(parsePageArguments(args)).toEqual(request)
  })

  const { id } = row
  test.each([
    '',
    'nonsense',
    encode(id),
    encode(`1:${id}:`),
    encode(`:${id}`),
    encode(`1.5:${id}`),
    encode(`01:${id}`),
    encode(`9999999999999999:${id}`),
    encode(`999999999999999:${id}`),
    encode('1:not-an-id'),
    `${cursor}=`,
    ` ${cursor}`,
  ])('refuses the forged cursor %j', (forged) => {
    for (const field of ['after', 'before'] as const) {
      expect(() => parsePageArguments({ [field]: forged })).toThrow(
        expect.objectContaining({ code: 'BAD_USER_INPUT', details: { field } }),
      )
    }
  })
})
