-- claim: give ready followers to a worker, each with the expiry of its claim and a fencing number that only grows.
--
-- KEYS  1 ready  2 claims  3 fences  4 fence  5 submitting  6 roster  7 reconciliation-requests
-- ARGV  1 how many at most  2 length of the claim, ms  3 prefix of mailboxes  4 prefix of positions
-- Returns the roster version, then a list for each follower: id, fencing number, head of the mailbox ('' = empty),
-- submission of that head ('' = none), copied positions (symbol, CopiedPosition, ...), request to read the account
-- ('' = none).
local ready, claims, fences, newest_fence, submitting, roster, requests = unpack(KEYS)
local limit, claim_ms, mailbox_prefix, positions_prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local result = { redis.call('GET', roster) or '0' }
local followers = redis.call('ZRANGEBYSCORE', ready, '-inf', now_ms, 'LIMIT', 0, limit)
if #followers == 0 then return result end

-- The number is never below the clock, so it grows even after Redis lost the counter.
local fence = math.max(tonumber(redis.call('GET', newest_fence) or '0'), time[1] * 1000000 + time[2])
for _, follower in ipairs(followers) do
  fence = fence + 1
  local fencing_number = string.format('%.0f', fence)
  redis.call('ZREM', ready, follower)
  redis.call('ZADD', claims, now_ms + claim_ms, follower)
  redis.call('HSET', fences, follower, fencing_number)
  result[#result + 1] = {
    follower, fencing_number,
    redis.call('LINDEX', mailbox_prefix .. follower, 0) or '',
    redis.call('HGET', submitting, follower) or '',
    redis.call('HGETALL', positions_prefix .. follower),
    redis.call('HGET', requests, follower) or '',
  }
end
redis.call('SET', newest_fence, string.format('%.0f', fence))
return result
