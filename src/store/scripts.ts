/**
 * What is asked of the server, as scripts: each is one round trip and happens as a whole.
 *
 * Two structures without an expiry of their own, so that an eviction policy for keys with one cannot
 * touch a single revocation: a hash of key → `STAMP JSON`, where STAMP is when it was last changed,
 * and a sorted set of keys by the time at which the server last announced them. Times are those of
 * the server, in microseconds, and go up by one at least.
 */

const stamp = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local newest = redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2]
local stamp = now
if newest and tonumber(newest) >= stamp then stamp = tonumber(newest) + 1 end
local function text(number) return string.format('%.0f', number) end
`

/** ARGV: channel, key, JSON, limit of announced since, window in µs. Returns the stamp, or 0. */
export const addScript = `${stamp}
local since = now - ARGV[5]
local known = redis.call('ZSCORE', KEYS[2], ARGV[2])
if not (known and tonumber(known) >= since)
  and redis.call('ZCOUNT', KEYS[2], text(since), '+inf') >= tonumber(ARGV[4]) then
  return '0'
end
redis.call('HSET', KEYS[1], ARGV[2], text(stamp) .. ' ' .. ARGV[3])
redis.call('ZADD', KEYS[2], text(stamp), ARGV[2])
redis.call('PUBLISH', ARGV[1], '')
return text(stamp)
`

/** ARGV: channel, key. Returns the stamp, or 0 where there is no such revocation. */
export const removeScript = `${stamp}
local value = redis.call('HGET', KEYS[1], ARGV[2])
if not value then return '0' end
local json = value:match('^%d+ (.*)$')
if json:find('"removed":true', 1, true) then return '0' end
redis.call('HSET', KEYS[1], ARGV[2], text(stamp) .. ' ' .. json:sub(1, -2) .. ',"removed":true}')
redis.call('ZADD', KEYS[2], text(stamp), ARGV[2])
redis.call('PUBLISH', ARGV[1], '')
return text(stamp)
`

/**
 * ARGV: channel, then key and value pairs. What the server lacks, or has in an older state, is
 * announced anew. Returns how many there were.
 */
export const mergeScript = `${stamp}
local count = 0
for i = 2, #ARGV, 2 do
  local theirs = redis.call('HGET', KEYS[1], ARGV[i])
  local known = theirs and tonumber(theirs:match('^%d+')) or -1
  if known < tonumber(ARGV[i + 1]:match('^%d+')) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    known = nil
  end
  if not known or not redis.call('ZSCORE', KEYS[2], ARGV[i]) then
    redis.call('ZADD', KEYS[2], text(stamp), ARGV[i])
    stamp = stamp + 1
    count = count + 1
  end
end
if count > 0 then redis.call('PUBLISH', ARGV[1], '') end
return count
`

/**
 * ARGV: the last announcement known, and how many to return at most. Returns the time, the size of
 * both structures, the newest announcement, and key, announcement and value of each that follows.
 */
export const pollScript = `${stamp}
local result = {
  text(now), redis.call('HLEN', KEYS[1]), redis.call('ZCARD', KEYS[2]), newest or '0',
}
local changed = redis.call(
  'ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 1, #changed, 2 do
  result[#result + 1] = changed[i]
  result[#result + 1] = changed[i + 1]
  result[#result + 1] = redis.call('HGET', KEYS[1], changed[i]) or ''
end
return result
`

/** ARGV: keys whose revocations have ended by whoever asks; only those that have are removed. */
export const pruneScript = `
local time = redis.call('TIME')
for _, key in ipairs(ARGV) do
  local value = redis.call('HGET', KEYS[1], key)
  local ending = value and tonumber(value:match('"until":(%d+)'))
  if not ending or ending <= tonumber(time[1]) then
    redis.call('HDEL', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
  end
end
return 0
`
