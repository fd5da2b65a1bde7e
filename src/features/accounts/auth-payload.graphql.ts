import type { User } from '../../generated/prisma/client.ts'
import { builder } from '../../graphql/builder.ts'
import type { GraphQLContext } from '../../graphql/context.ts'
import { ForbiddenError } from '../../lib/errors.ts'
import type { SessionTokens } from './accounts.ts'
import type { CookieMode } from './cookie-mode.ts'
import { UserRef } from './accounts.graphql.ts'

/** The tokens as they are shown: not at all when they are in cookies. */
export type AuthAnswer = {
  user: User
  accessToken: string | null
  refreshToken: string | null
  accessTokenExpiresAt: Date
  csrfToken: string | null
}

export const AuthPayload = builder.objectRef<AuthAnswer>('AuthPayload').implement({
  description: 'The tokens of a session.',
  fields: (t) => ({
    user: t.field({ type: UserRef, description: 'Whose session it is.', resolve: ({ user }) => user }),
    accessToken: t.exposeString('accessToken', {
      nullable: true,
      description: 'Send it as `Authorization: Bearer <token>`; valid for 10 minutes. Null when it is in a cookie.',
    }),
    refreshToken: t.exposeString('refreshToken', {
      nullable: true,
      description:
        'Exchange it once, with refreshSession, for the next pair; valid for 7 days. Null when it is in a cookie.',
    }),
    accessTokenExpiresAt: t.expose('accessTokenExpiresAt', {
      type: 'DateTime',
      description: 'When the access token expires.',
    }),
    csrfToken: t.exposeString('csrfToken', {
      nullable: true,
      description: 'Only with cookies: send it with every mutation as the header `x-csrf-token`.',
    }),
  }),
})

builder.queryField('csrfToken', (t) =>
  t.string({
    skipTypeScopes: true,
    description:
      'What signUp and logIn with `useCookies` must bring as the header `x-csrf-token`; also set as a cookie that scripts can read.',
    resolve: (_root, _args, context) => requireCookies(context).csrfToken(),
  }),
)

/** Throws ForbiddenError where a session cannot begin in cookies; null when it is not to. */
export function cookiesToBegin(
  context: GraphQLContext,
  { useCookies }: { useCookies?: boolean | null | undefined },
): CookieMode | null {
  if (useCookies !== true) return null
  const cookies = requireCookies(context)
  cookies.assertMayBegin()
  return cookies
}

export function authAnswer(tokens: SessionTokens, cookies: CookieMode | null): AuthAnswer {
  const { user, accessTokenExpiresAt, accessToken, refreshToken } = tokens
  if (cookies === null) return { user, accessTokenExpiresAt, accessToken, refreshToken, csrfToken: null }
  return { user, accessTokenExpiresAt, accessToken: null, refreshToken: null, csrfToken: cookies.grant(tokens) }
}

function requireCookies({ cookies }: GraphQLContext): CookieMode {
  if (cookies !== null) return cookies
  throw new ForbiddenError('Cookies can only be set over HTTP.', { suggestions: ['Send the operation by POST.'] })
}
