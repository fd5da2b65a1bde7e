import { builder } from '../../graphql/builder.ts'
import { BadUserInputError } from '../../lib/errors.ts'
import { clientInfo } from './accounts.graphql.ts'
import { authAnswer, AuthPayload, cookiesToBegin } from './auth-payload.graphql.ts'
import { requireSession } from './viewer.ts'

const LogOutPayload = builder.objectRef<{ ok: boolean }>('LogOutPayload').implement({
  description: 'The session has ended.',
  fields: (t) => ({ ok: t.exposeBoolean('ok', { description: 'Always true.' }) }),
})

const useCookiesDescription =
  'For web pages: the tokens come as cookies that no script can read, and not in the answer. Needs https (or localhost) and a csrfToken.'

const SignUpInput = builder.inputType('SignUpInput', {
  description: 'A new account.',
  fields: (t) => ({
    email: t.string({ required: true, description: 'An e-mail address, at most 254 characters.' }),
    password: t.string({
      required: true,
      description: '12 to 128 characters, hard to guess for somebody who knows the e-mail.',
    }),
    bootstrapToken: t.string({
      description: 'The MONK_BOOTSTRAP_TOKEN of a server in production: makes its first administrator.',
    }),
    useCookies: t.boolean({ defaultValue: false, description: useCookiesDescription }),
  }),
})

const LogInInput = builder.inputType('LogInInput', {
  description: 'Who wants to come in.',
  fields: (t) => ({
    email: t.string({ required: true, description: 'The e-mail of the account.' }),
    password: t.string({ required: true, description: 'Its password.' }),
    useCookies: t.boolean({ defaultValue: false, description: useCookiesDescription }),
  }),
})

const RefreshSessionInput = builder.inputType('RefreshSessionInput', {
  description: 'Which session goes on.',
  fields: (t) => ({
    refreshToken: t.string({ description: 'The newest refresh token of the session; absent when it is in a cookie.' }),
  }),
})

builder.mutationFields((t) => ({
  signUp: t.field({
    type: AuthPayload,
    skipTypeScopes: true,
    description:
      'Makes an account with a personal workspace, and logs it in. On a fresh server it becomes the administrator.',
    args: { input: t.arg({ type: SignUpInput, required: true, description: 'The account.' }) },
    resolve: async (_root, { input }, context) => {
      const cookies = cookiesToBegin(context, input)
      return authAnswer(await context.services.accounts.signUp(input, clientInfo(context)), cookies)
    },
  }),
  logIn: t.field({
    type: AuthPayload,
    skipTypeScopes: true,
    description: 'Opens a session.',
    args: { input: t.arg({ type: LogInInput, required: true, description: 'E-mail and password.' }) },
    resolve: async (_root, { input }, context) => {
      const cookies = cookiesToBegin(context, input)
      return authAnswer(await context.services.accounts.logIn(input, clientInfo(context)), cookies)
    },
  }),
  refreshSession: t.field({
    type: AuthPayload,
    skipTypeScopes: true,
    description:
      'Exchanges a refresh token for new tokens. A token that comes back after it was used ends the session.',
    args: { input: t.arg({ type: RefreshSessionInput, description: 'The refresh token.' }) },
    resolve: async (_root, { input }, context) => {
      const given = input?.refreshToken ?? null
      const cookies = given === null ? context.cookies : null
      const token = requireRefreshToken(given ?? cookies?.refreshToken)
      return authAnswer(await context.services.accounts.refreshSession(token, clientInfo(context)), cookies)
    },
  }),
  logOut: t.field({
    type: LogOutPayload,
    description: 'Ends the session of this request: its tokens are refused from now on.',
    resolve: async (_root, _args, context) => {
      await context.services.accounts.logOut(requireSession(context.viewer), clientInfo(context))
      if (context.cookies?.isActive === true) context.cookies.clear()
      return { ok: true }
    },
  }),
}))

function requireRefreshToken(token: string | null | undefined): string {
  if (token === null || token === undefined) {
    throw new BadUserInputError('input.refreshToken', 'Send the newest refresh token of the session.')
  }
  return token
}
