-- Writes and deletes whole records: all of them, or none. KEYS: the hashes of the places. ARGV: a note, or '' for none;
-- 'back' to undo; for each change the number of its key, its field, the expected record and the new record (each '='
-- and its bytes, or '' for none). Returns 1, or 0 if a record is not as expected. A record that has expired by this
-- server's clock is written all the same, and kept for at least an hour.
-- The note is a field beside the records that is written with them. If it is already there, another process has made
-- these changes and died, or is still working: nothing is changed, the note is marked as taken up, and the answer is 2.
-- Changes are undone only if no other process has taken up their note.

local HOUR, LONGEST, NOTED = 3600, 1e14, 366 * 86400
local now, note, back = tonumber(redis.call('TIME')[1]), ARGV[1], ARGV[2] == 'back'

local function put(key, field, record)
  redis.call('HSET', key, field, record)
  local left = math.max(struct.unpack('>I4', record) - now, HOUR)
  local milliseconds = math.min(math.ceil(left * 1000), LONGEST)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, string.format('%.0f', milliseconds))
  end
end

local function noted(state)
  return struct.pack('>I4', now + NOTED) .. state
end

if note ~= '' then
  local found = redis.call('HGET', KEYS[1], note)
  if back and not (found and found:sub(5) == 'put') then return 0 end
  if found and not back then
    put(KEYS[1], note, noted('taken up'))
    return 2
  end
end
for i = 3, #ARGV, 4 do
  local found = redis.call('HGET', KEYS[tonumber(ARGV[i])], ARGV[i + 1])
  if (found and '=' .. found or '') ~= ARGV[i + 2] then return 0 end
end
for i = 3, #ARGV, 4 do
  local key, field, record = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 3]:sub(2)
  if record == '' then
    redis.call('HDEL', key, field)
  else
    put(key, field, record)
  end
end
if note ~= '' and back then
  redis.call('HDEL', KEYS[1], note)
elseif note ~= '' then
  put(KEYS[1], note, noted('put'))
end
return 1
