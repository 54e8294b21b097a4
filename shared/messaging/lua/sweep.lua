-- sweep: find what crashes left behind. Every worker runs it about once a second; running it twice is harmless.
-- It ends expired claims, which makes their fencing numbers void, and makes those followers ready again.
-- It also makes followers ready whose account is due to be read.
--
-- KEYS  1 ready  2 claims  3 fences  4 refresh
-- ARGV  1 claims to end at most  2 account reads at most  3 account is read again in, ms  4 overdue after, ms
--       5 prefix of mailboxes
-- Returns {claims ended, accounts due, followers that were ready for longer than the overdue time}.
local ready, claims, fences, refresh = unpack(KEYS)
local claims_limit, reads_limit, read_again_in_ms, overdue_after_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local mailbox_prefix = ARGV[5]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local expired = redis.call('ZRANGEBYSCORE', claims, '-inf', now_ms, 'LIMIT', 0, claims_limit)
for _, follower in ipairs(expired) do
  redis.call('ZREM', claims, follower)
  redis.call('HDEL', fences, follower)
  if redis.call('EXISTS', mailbox_prefix .. follower) == 1 then
    redis.call('ZADD', ready, 'NX', now_ms, follower)
  end
end

local due = redis.call('ZRANGEBYSCORE', refresh, '-inf', now_ms, 'LIMIT', 0, reads_limit)
local woken = 0
for _, follower in ipairs(due) do
  redis.call('ZADD', refresh, now_ms + read_again_in_ms, follower)
  if not redis.call('ZSCORE', claims, follower) then
    woken = woken + redis.call('ZADD', ready, 'NX', now_ms, follower)
  end
end

return { #expired, woken, redis.call('ZCOUNT', ready, '-inf', now_ms - overdue_after_ms) }
