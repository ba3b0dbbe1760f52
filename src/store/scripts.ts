import { maxStampUs } from './entry.ts'

/**
 * The scripts that run on the server. Each is one round trip, and is atomic.
 *
 * The data is a hash (key → `STAMP JSON`, where STAMP is the time of the last change) and a sorted
 * set (keys by the time at which the server last announced them). Neither has an expiry, so an
 * eviction policy for keys with an expiry cannot remove a single revocation. Times are those of the
 * server in microseconds. Each is greater than the one before.
 */

/** When a value ends, with its earlier states (s). */
const ending = `
local function endingOf(value)
  if not value then return 0 end
  return math.max(tonumber(value:match('"until":(%d+)')) or 0, tonumber(value:match('"keptUntil":(%d+)')) or 0)
end
`

/**
 * A stamp is later than each stamp on the server and, by `floor`, than each that the replica ever
 * saw. The clock may have been set back, or a server with another clock may have taken over. A stamp
 * beyond the last time that counts says nothing. An announcement with such a time ends the script before it
 * writes: otherwise each new revocation would get such a time too.
 */
const stamp = `
local lastStamp = ${maxStampUs}
local function text(number) return string.format('%.0f', number) end
local function stampOf(value)
  local stamp = value and tonumber(value:match('^%d+')) or -1
  return stamp <= lastStamp and stamp or -1
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
local function stampAfter(...)
  local stamp = math.max(now, (tonumber(newest) or 0) + 1)
  for _, floor in ipairs({ ... }) do stamp = math.max(stamp, tonumber(floor) + 1) end
  if stamp > lastStamp then error('the store holds a time that cannot be right: ' .. tostring(newest)) end
  return stamp
end
`

/**
 * ARGV: channel, floor, key, JSON, the end of what the replica has of this key, or 0. Returns the stamp, and the end
 * of an earlier state where that is later, or 0: a state that ends earlier than the one before is kept for as long,
 * because somebody may still have the one before.
 */
export const addScript = `${stamp}${ending}
local key, json = ARGV[3], ARGV[4]
local former = redis.call('HGET', KEYS[1], key)
local kept = math.max(tonumber(ARGV[5]), endingOf(former))
if kept > endingOf(json) then
  json = json:sub(1, -2) .. ',"keptUntil":' .. text(kept) .. '}'
else
  kept = 0
end
local stamp = text(stampAfter(ARGV[2], stampOf(former)))
redis.call('HSET', KEYS[1], key, stamp .. ' ' .. json)
redis.call('ZADD', KEYS[2], stamp, key)
redis.call('PUBLISH', ARGV[1], '')
return { stamp, text(kept) }
`

/**
 * ARGV: channel, floor, key, and the value that the replica has of a revocation in force, or nothing. Returns
 * the stamp, or 0 where there is no such revocation. The replica's value becomes the ended one: that of the
 * server may be older, lost, or in a form that cannot be read.
 */
export const removeScript = `${stamp}${ending}
local key, ours = ARGV[3], ARGV[4]
local theirs = redis.call('HGET', KEYS[1], key)
local value = stampOf(ours) > stampOf(theirs) and ours or theirs
if not value or value:find('"removed":true', 1, true) then return '0' end
local json = ours:match('^%d+ (.*)$') or value:match('^%d+ (.*)$')
if not json then return '0' end
local kept = math.max(endingOf(theirs), endingOf(ours))
json = json:gsub(',"keptUntil":%d+', '')
if kept > endingOf(json) then json = json:sub(1, -2) .. ',"keptUntil":' .. text(kept) .. '}' end
local stamp = text(stampAfter(ARGV[2], stampOf(theirs), stampOf(ours)))
redis.call('HSET', KEYS[1], key, stamp .. ' ' .. json:sub(1, -2) .. ',"removed":true}')
redis.call('ZADD', KEYS[2], stamp, key)
redis.call('PUBLISH', ARGV[1], '')
return stamp
`

/**
 * ARGV: channel, floor, then key and value pairs. What the server lacks, or has in an older state, is
 * announced anew. Of two default ends of one state the later counts: replicas may have different
 * lifetimes for a while. Returns how many were announced.
 */
export const mergeScript = `${stamp}
local function ending(value)
  return value:find('"untilDefault":true', 1, true) and tonumber(value:match('"until":(%d+)')) or 0
end
local stamp = stampAfter(ARGV[2])
local count = 0
for i = 3, #ARGV, 2 do
  local key, ours = ARGV[i], ARGV[i + 1]
  local theirs = redis.call('HGET', KEYS[1], key)
  local isNewer = stampOf(theirs) < stampOf(ours)
  local isLonger = theirs and stampOf(theirs) == stampOf(ours) and ending(theirs) < ending(ours)
  if isNewer or isLonger then redis.call('HSET', KEYS[1], key, ours) end
  if isNewer or not redis.call('ZSCORE', KEYS[2], key) then
    redis.call('ZADD', KEYS[2], text(stamp), key)
    stamp = stamp + 1
    count = count + 1
  end
end
if count > 0 then redis.call('PUBLISH', ARGV[1], '') end
return count
`

/** Longest key and value that count, in bytes: more than this service ever writes. */
const [maxKeyBytes, maxValueBytes] = [512, 4_096]

/**
 * ARGV: the last announcement known, its key, how many to return at most, and a window in µs. Returns the time, the
 * size of both structures, the newest announcement, when that key was last announced, how many
 * announcements are no later than the one that is known, how many are within the window, whether this server follows
 * another one, and key, announcement and value of each announcement that follows.
 *
 * What follows is found by the place of the known one: several may have the same time, where a program
 * other than this one wrote them. A value that is too long counts as lost, so that it fills no memory.
 */
export const pollScript = `${stamp}
local since, key, limit = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local from = since > 0 and ARGV[1] or '-inf'
local mark = redis.call('ZSCORE', KEYS[2], key)
local info = redis.pcall('INFO', 'replication')
local result = {
  text(now), redis.call('HLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), newest or '0', mark or '-1',
  redis.call('ZCOUNT', KEYS[2], '-inf', ARGV[1]),
  redis.call('ZCOUNT', KEYS[2], text(now - ARGV[4]), '+inf'),
  type(info) == 'string' and info:find('role:slave', 1, true) and 1 or 0,
}
local changed
if mark and tonumber(mark) == since then
  local rank = redis.call('ZRANK', KEYS[2], key)
  changed = redis.call('ZRANGE', KEYS[2], rank + 1, rank + limit, 'WITHSCORES')
else
  changed = redis.call('ZRANGEBYSCORE', KEYS[2], from, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
end
for i = 1, #changed, 2 do
  local isShort = redis.call('HSTRLEN', KEYS[1], changed[i]) <= ${maxValueBytes}
  result[#result + 1] = changed[i]:sub(1, ${maxKeyBytes})
  result[#result + 1] = changed[i + 1]
  result[#result + 1] = isShort and redis.call('HGET', KEYS[1], changed[i]) or ''
end
return result
`

/**
 * ARGV: a cursor of HSCAN. Returns the next one, and key and value of what has a value and was never
 * announced.
 */
export const unannouncedScript = `
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500)
local result = { page[1] }
for i = 1, #page[2], 2 do
  local key, value = page[2][i], page[2][i + 1]
  if #key <= ${maxKeyBytes} and not redis.call('ZSCORE', KEYS[2], key) then
    result[#result + 1] = key
    result[#result + 1] = #value <= ${maxValueBytes} and value or ''
  end
end
return result
`

/** ARGV: keys whose revocations have ended by whoever asks; only those that have are removed. */
export const pruneScript = `${ending}
local time = redis.call('TIME')
for _, key in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], key)
  if endingOf(value) <= tonumber(time[1]) then
    redis.call('HDEL', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
  end
end
return 0
`
