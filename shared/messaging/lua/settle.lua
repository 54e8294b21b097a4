-- settle: the order at the head has its final state: take it out, move the copied position, tell the ledger.
-- With an empty mailbox the follower is released in the same step, so that no wake-up is lost.
--
-- KEYS  1 leases  2 fences  3 submitting  4 events  5 refresh  6 mailbox  7 positions
-- ARGV  1 follower  2 fencing number  3 lease, ms  4 copy order id  5 event  6 symbol
--       7 CopiedPosition afterwards ('' = none)  8 account read due in, ms ('' = as planned)
-- Returns {1, next head or '', copied positions} when done, {0} the lease is lost, {-1} that order is not at the
-- head (settled before).
if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] then return { 0 } end
local head = redis.call('LINDEX', KEYS[6], 0)
if not head or not string.find(head, ARGV[4], 1, true) then return { -1 } end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('LPOP', KEYS[6])
redis.call('HDEL', KEYS[3], ARGV[1])
if ARGV[7] == '' then
  redis.call('HDEL', KEYS[7], ARGV[6])
else
  redis.call('HSET', KEYS[7], ARGV[6], ARGV[7])
end
redis.call('XADD', KEYS[4], '*', 'event', ARGV[5])
if ARGV[8] ~= '' then redis.call('ZADD', KEYS[5], now_ms + ARGV[8], ARGV[1]) end

local next_head = redis.call('LINDEX', KEYS[6], 0)
if next_head then
  redis.call('ZADD', KEYS[1], 'XX', now_ms + ARGV[3], ARGV[1])
  return { 1, next_head, redis.call('HGETALL', KEYS[7]) }
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return { 1, '', {} }
