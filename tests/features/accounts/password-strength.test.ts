import { describe, expect, test } from 'vitest'
import { createPasswordStrength } from '../../../src/features/accounts/password-strength.ts'

const strength = createPasswordStrength()

describe('the strength of a password', () => {
  test.each([
    ['correct-horse-battery-staple', 4],
    ['password1234', 1],
    ['aaaaaaaaaaaaaaaaaaaaaaaa', 0],
    ['qwertyuiopasdf', 1],
  ])('of %s is %i', async (password, score) => {
    expect(await strength.estimate(password, [])).toMatchObject({ score })
  })

  test('sinks when it is made of what is known about its owner', async () => {
    const password = 'kowalczyk-przybylski'
    expect((await strength.estimate(password, [])).score).toBeGreaterThanOrEqual(3)
    expect(await strength.estimate(password, [password])).toMatchObject({
      score: 0,
      suggestions: [expect.any(String)],
    })
  })

  test('of a long password is that of its better end', async () => {
    const weak = 'a'.repeat(80)
    expect((await strength.estimate(weak, [])).score).toBeLessThan(3)
    expect((await strength.estimate(`${weak}violet-otter-canyon-42`, [])).score).toBeGreaterThanOrEqual(3)
    expect((await strength.estimate(`violet-otter-canyon-42${weak}`, [])).score).toBeGreaterThanOrEqual(3)
  })
})
