-- deliver: put orders into mailboxes, record all decisions, move the shard's position. All of it or nothing.
-- Called by copy_engine for some hundreds of followers of one shard and one fill.
--
-- KEYS  1 shards  2 events  3 ready  4 leases  5 carries  6 roster
-- ARGV  1 shard  2 position expected  3 position afterwards  4 event ('' for none)  5 prefix of mailboxes
--       6 version of the follower list that was planned with
--       7 number of orders, then follower and CopyOrder of each
--       then carried opens: field and amount ('' = nothing is owed any more) of each
-- Returns the number of newly ready followers, or -1 when the shard's position is another one: somebody
-- delivered this already, or the list is another one; then nothing was done.
local position = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if position ~= ARGV[2] then return -1 end
-- A restore writes a new version, and may set the position back: what was planned before it was not looked up.
if (redis.call('GET', KEYS[6]) or '0') ~= ARGV[6] then return -1 end

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local newly_ready = 0
local next_argument = 8 + 2 * tonumber(ARGV[7])
for i = 8, next_argument - 1, 2 do
  local follower = ARGV[i]
  redis.call('RPUSH', ARGV[5] .. follower, ARGV[i + 1])
  -- A leased follower is looked at again when it is released; being ready as well would lend it twice.
  if not redis.call('ZSCORE', KEYS[4], follower) then
    newly_ready = newly_ready + redis.call('ZADD', KEYS[3], 'NX', now_ms, follower)
  end
end
for i = next_argument, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[5], ARGV[i])
  else
    redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1])
  end
end
if ARGV[4] ~= '' then redis.call('XADD', KEYS[2], '*', 'event', ARGV[4]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return newly_ready
