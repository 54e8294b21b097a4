-- claim: lend ready followers to a worker, each with a lease and a fencing number that only grows.
--
-- KEYS  1 ready  2 leases  3 fences  4 fence  5 submitting  6 roster  7 reconcile
-- ARGV  1 how many at most  2 lease, ms  3 prefix of mailboxes  4 prefix of positions
-- Returns the roster version, then for each follower: id, fencing number, head of the mailbox ('' = empty),
-- submission of that head ('' = none), copied positions (symbol, CopiedPosition, ...), request to read the account
-- ('' = none).
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local result = { redis.call('GET', KEYS[6]) or '0' }
local followers = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[1])
if #followers == 0 then return result end

-- Not below the clock: so it also grows when Redis lost the counter.
local fence = math.max(tonumber(redis.call('GET', KEYS[4]) or '0'), time[1] * 1000000 + time[2])
for _, follower in ipairs(followers) do
  fence = fence + 1
  local number = string.format('%.0f', fence)
  redis.call('ZREM', KEYS[1], follower)
  redis.call('ZADD', KEYS[2], now_ms + ARGV[2], follower)
  redis.call('HSET', KEYS[3], follower, number)
  result[#result + 1] = {
    follower, number,
    redis.call('LINDEX', ARGV[3] .. follower, 0) or '',
    redis.call('HGET', KEYS[5], follower) or '',
    redis.call('HGETALL', ARGV[4] .. follower),
    redis.call('HGET', KEYS[7], follower) or '',
  }
end
redis.call('SET', KEYS[4], string.format('%.0f', fence))
return result
