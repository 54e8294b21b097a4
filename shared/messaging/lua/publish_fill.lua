-- Append one master fill to a broker's stream, under its own sequence as the entry id. Once, and in order.
--
-- KEYS[1]  stream `fills`
-- ARGV[1]  sequence, an integer from 1
-- ARGV[2]  name of the field that carries the fill
-- ARGV[3]  the fill as JSON
-- ARGV[4]  master account
-- ARGV[5]  fill id
--
-- Returns { word, sequence of the newest entry ever written }:
--   published  it is the newest entry now
--   already    this very fill is there under this id; nothing was written
--   behind     the stream ends before sequence - 1: it lost entries that the ledger says it had
--   conflict   the id is taken by something else, so stream and ledger do not belong together
--
-- The newest id is asked of XINFO and not of the newest entry, because trimming does not change the former.
-- Runs on Redis 6.2 too.

local sequence = tonumber(ARGV[1])
local newest = 0
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
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
  redis.call('XADD', KEYS[1], id, ARGV[2], ARGV[3])
  return { 'published', sequence }
end

local entry = redis.call('XRANGE', KEYS[1], id, id)[1]
if not entry then
  return { 'conflict', newest }
end
local readable, fill = pcall(cjson.decode, entry[2][2])
if readable and type(fill) == 'table' and fill['master_account'] == ARGV[4] and fill['fill_id'] == ARGV[5] then
  return { 'already', newest }
end
return { 'conflict', newest }
