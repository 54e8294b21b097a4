-- publish_fill: append one master fill to the stream of a broker, once and in order. The entry id is its sequence.
--
-- KEYS  1 fills
-- ARGV  1 sequence, an integer from 1  2 name of the field that holds the fill  3 fill as JSON  4 master account
--       5 fill id
-- Returns {word, sequence of the newest entry ever written}; the word is one of
--   published  the fill is the newest entry now
--   already    this very fill is there under this id; nothing was written
--   behind     the stream ends before sequence - 1: it lost entries that the ledger says it had
--   conflict   another entry has the id, so stream and ledger do not belong together
--
-- The newest id comes from XINFO, and not from the newest entry, because trimming does not change the former.
-- Runs on Redis 6.2 too.
local fills = KEYS[1]
local sequence, field, fill = tonumber(ARGV[1]), ARGV[2], ARGV[3]
local master_account, fill_id = ARGV[4], ARGV[5]

local newest = 0
if redis.call('EXISTS', fills) == 1 then
  local info = redis.call('XINFO', 'STREAM', fills)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then
      newest = tonumber(string.match(info[i + 1], '^(%d+)-'))
    end
  end
end

if newest < sequence - 1 then
  return { 'behind', newest }
end
local id = ARGV[1] .. '-0'
if newest == sequence - 1 then
  redis.call('XADD', fills, id, field, fill)
  return { 'published', sequence }
end

local entry = redis.call('XRANGE', fills, id, id)[1]
if not entry then
  return { 'conflict', newest }
end
local readable, stored = pcall(cjson.decode, entry[2][2])
if readable and type(stored) == 'table' and stored['master_account'] == master_account
  and stored['fill_id'] == fill_id then
  return { 'already', newest }
end
return { 'conflict', newest }
