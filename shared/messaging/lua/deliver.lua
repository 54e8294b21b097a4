-- deliver: put orders into mailboxes, record all decisions and move the position of the shard: all or nothing.
-- Called by copy_engine for some hundreds of followers of one shard and one fill.
--
-- KEYS  1 shards  2 events  3 ready  4 claims  5 carries  6 roster
-- ARGV  1 shard  2 position expected  3 position afterwards  4 event ('' = none)  5 prefix of mailboxes
--       6 version of the follower list that was used for planning
--       7 number of orders, then follower and CopyOrder of each
--       then carried opens: field and amount ('' = nothing is owed any more) of each
-- Returns the number of newly ready followers, or -1 if nothing was done: another engine has delivered this part
-- (the position differs), or the follower list has changed.
local shards, events, ready, claims, carries, roster = unpack(KEYS)
local shard, expected_position, position_after = ARGV[1], ARGV[2], ARGV[3]
local event, mailbox_prefix, roster_version = ARGV[4], ARGV[5], ARGV[6]
local first_order = 8
local first_carry = first_order + 2 * tonumber(ARGV[7])

local position = redis.call('HGET', shards, shard) or ''
if position ~= expected_position then return -1 end
-- A restore may set the position back, and writes a new version. Orders that were planned before the restore were
-- not looked up, so they are not delivered.
if (redis.call('GET', roster) or '0') ~= roster_version then return -1 end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local newly_ready = 0
for i = first_order, first_carry - 1, 2 do
  local follower, order = ARGV[i], ARGV[i + 1]
  redis.call('RPUSH', mailbox_prefix .. follower, order)
  -- A claimed follower is checked for mail when it is released. If it were ready too, a second worker would claim it.
  if not redis.call('ZSCORE', claims, follower) then
    newly_ready = newly_ready + redis.call('ZADD', ready, 'NX', now_ms, follower)
  end
end
for i = first_carry, #ARGV, 2 do
  local field, amount = ARGV[i], ARGV[i + 1]
  if amount == '' then
    redis.call('HDEL', carries, field)
  else
    redis.call('HSET', carries, field, amount)
  end
end
if event ~= '' then redis.call('XADD', events, '*', 'event', event) end
redis.call('HSET', shards, shard, position_after)
return newly_ready
