import { createRedisScript } from '../redis/redis-script.ts'

/*
 * A breaker is one string of JSON, the same fields as in in-process.ts under short names: g generation, o is open (1 or 0), n how often opened in
 * a row, u open until, k successes, p probe ('' none), pu its lease ends, f failures in a row, w slots of the window ({ slot, calls, failures }
 * each), r reason, c cools until, cr its reason. Times are whole milliseconds of Redis' clock.
 */
const load = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local raw = redis.call('GET', KEYS[1])
local b = raw and cjson.decode(raw)
`

/** ARGV: the id of a probe, its lease, the poll during a probe, how long to remember. Returns { 1, generation, is probe } or { 0, state, reason, ms }. */
export const admitScript = createRedisScript(`${load}
if not b then return { 1, 0, 0 } end
if b.c > now then return { 0, 'COOLING_DOWN', b.cr, b.c - now } end
if b.o == 0 then return { 1, b.g, 0 } end
if b.u > now then return { 0, 'OPEN', b.r, b.u - now } end
if b.p ~= '' and b.pu > now then return { 0, 'PROBING', b.r, math.min(tonumber(ARGV[3]), b.pu - now) } end
b.p = ARGV[1]
b.pu = now + tonumber(ARGV[2])
redis.call('SET', KEYS[1], cjson.encode(b), 'PX', ARGV[4])
return { 1, b.g, 1 }
`)

/**
 * ARGV: 1 generation, 2 probe ('' none), 3 result, 4 reason, 5 cooldown, 6 window, 7 its slots, 8 minimum of calls, 9 failure rate, 10 failures in a
 * row, 11 open for, 12 at most, 13 successes to close, 14 how long to remember. Returns 1 when it has opened.
 */
export const settleScript = createRedisScript(`${load}
b = b or { g = 0, o = 0, n = 0, u = 0, k = 0, p = '', pu = 0, f = 0, w = {}, r = '', c = 0, cr = '' }
local opened = 0
local function open()
  opened = 1
  b.o = 1
  b.g = b.g + 1
  b.u = now + math.min(tonumber(ARGV[12]), tonumber(ARGV[11]) * 2 ^ b.n)
  b.n = b.n + 1
  b.k = 0
  b.p = ''
  b.r = ARGV[4]
end
local function count(failed)
  local slot = math.floor(now / (ARGV[6] / ARGV[7]))
  local kept, calls, failures = {}, 1, failed
  local current = { slot, 1, failed }
  for _, one in ipairs(b.w) do
    if one[1] == slot then
      current = { slot, one[2] + 1, one[3] + failed }
    elseif one[1] > slot - ARGV[7] then
      kept[#kept + 1] = one
    end
    if one[1] > slot - ARGV[7] then calls = calls + one[2]; failures = failures + one[3] end
  end
  kept[#kept + 1] = current
  b.w = kept
  if failed == 0 then b.f = 0; return end
  b.f = b.f + 1
  local ill = calls >= tonumber(ARGV[8]) and failures >= calls * ARGV[9]
  if ill or b.f >= tonumber(ARGV[10]) then open() end
end
local function judgeProbe(failed)
  if failed == 1 then return open() end
  b.k = b.k + 1
  if b.k < tonumber(ARGV[13]) then return end
  b.o = 0
  b.g = b.g + 1
  b.n = 0
  b.f = 0
  b.w = {}
end
local coolUntil = now + ARGV[5]
if tonumber(ARGV[5]) > 0 and coolUntil > b.c then b.c = coolUntil; b.cr = ARGV[4] end
if ARGV[2] ~= '' and b.p == ARGV[2] then b.p = '' end
if tonumber(ARGV[1]) == b.g and ARGV[3] ~= 'none' then
  local failed = ARGV[3] == 'failed' and 1 or 0
  if b.o == 0 then count(failed) elseif ARGV[2] ~= '' then judgeProbe(failed) end
end
local remembered = math.max(0, b.c - now, b.u - now) + ARGV[14]
redis.call('SET', KEYS[1], cjson.encode(b), 'PX', remembered)
return opened
`)

/** KEYS: any number. Returns { state, reason, ms } for each. */
export const inspectScript = createRedisScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i, key in ipairs(KEYS) do
  local raw = redis.call('GET', key)
  local b = raw and cjson.decode(raw)
  if b and b.c > now then found[i] = { 'COOLING_DOWN', b.cr, b.c - now }
  elseif not b or b.o == 0 then found[i] = { 'CLOSED', '', 0 }
  elseif b.u <= now then found[i] = { 'PROBING', b.r, 0 }
  else found[i] = { 'OPEN', b.r, b.u - now } end
end
return found
`)
