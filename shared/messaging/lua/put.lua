-- put: put an order of the strategy into the mailbox of its master account, once.
-- Called by strategy_trader. A restore writes the same marks, so an order that it has put back is not put again.
--
-- KEYS  1 mailbox  2 ready  3 claims  4 roster  5 strategy-orders
-- ARGV  1 name of the mailbox  2 order id  3 StrategyOrder  4 roster version that was read before the order was stored
--       ('' = any, for an order that is marked as replayed)  5 how long marks are kept, ms
-- Returns 1 put, 0 it was put before, -1 Redis was restored, or followers changed, since the version was read: nothing
-- was done.
local mailbox, ready, claims, roster, marks = unpack(KEYS)
local name, order_id, order, roster_version, kept_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

if redis.call('ZSCORE', marks, order_id) then return 0 end
-- A mark may have been dropped while the order still waits.
for _, waiting in ipairs(redis.call('LRANGE', mailbox, 0, -1)) do
  if string.find(waiting, order_id, 1, true) then return 0 end
end
-- A restore may have put the order back, and a worker may have ended it. The restore wrote a new version.
if roster_version ~= '' and (redis.call('GET', roster) or '0') ~= roster_version then return -1 end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('RPUSH', mailbox, order)
redis.call('ZADD', marks, now_ms, order_id)
redis.call('ZREMRANGEBYSCORE', marks, '-inf', now_ms - kept_ms)
-- A claimed mailbox is checked for mail when it is released.
if not redis.call('ZSCORE', claims, name) then redis.call('ZADD', ready, 'NX', now_ms, name) end
return 1
