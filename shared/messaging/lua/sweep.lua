-- sweep: find what crashes left behind. Every worker runs it about once a second; running it twice is harmless.
-- Expired leases end (their fencing numbers become void) and the followers are ready again; followers whose
-- account is due to be read become ready too.
--
-- KEYS  1 ready  2 leases  3 fences  4 refresh
-- ARGV  1 how many of each at most  2 account reads at most  3 account is read again in, ms  4 overdue after, ms
--       5 prefix of mailboxes
-- Returns {leases ended, accounts due, followers ready for longer than the overdue time}.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local expired = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now_ms, 'LIMIT', 0, ARGV[1])
for _, follower in ipairs(expired) do
  redis.call('ZREM', KEYS[2], follower)
  redis.call('HDEL', KEYS[3], follower)
  if redis.call('EXISTS', ARGV[5] .. follower) == 1 then
    redis.call('ZADD', KEYS[1], 'NX', now_ms, follower)
  end
end

local due = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now_ms, 'LIMIT', 0, ARGV[2])
local woken = 0
for _, follower in ipairs(due) do
  redis.call('ZADD', KEYS[4], now_ms + ARGV[3], follower)
  if not redis.call('ZSCORE', KEYS[2], follower) then
    woken = woken + redis.call('ZADD', KEYS[1], 'NX', now_ms, follower)
  end
end

return { #expired, woken, redis.call('ZCOUNT', KEYS[1], '-inf', now_ms - ARGV[4]) }
