-- mirror_stop: copy what is stopped at a broker from PostgreSQL to its Redis, unless Redis has a newer state.
-- Called by the command that stops or resumes, by every bookkeeper once a second, and by a restore.
--
-- KEYS  1 stop
-- ARGV  1 revision of the state  2 StopState
-- Returns 1 written, 0 Redis has this state already, -1 Redis has a newer state.
local key = KEYS[1]
local revision, state = tonumber(ARGV[1]), ARGV[2]

local stored = redis.call('GET', key)
if stored == state then return 0 end
if stored then
  local is_readable, document = pcall(cjson.decode, stored)
  local stored_revision = is_readable and type(document) == 'table' and tonumber(document['revision'])
  if stored_revision and stored_revision > revision then return -1 end
end
redis.call('SET', key, state)
return 1
