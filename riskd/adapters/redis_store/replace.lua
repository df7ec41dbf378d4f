-- Writes and deletes whole records: all of them, or none. KEYS: the hashes of the places. ARGV: for each change the
-- number of its key, its field, the expected record and the new record (each '=' and its bytes, or '' for none).
-- Returns 1, or 0 if a record is not as expected. A record that has expired by this server's clock is written all the
-- same, and kept for at least an hour.

local HOUR, LONGEST = 3600, 1e14
local now = tonumber(redis.call('TIME')[1])

local function put(key, field, record)
  redis.call('HSET', key, field, record)
  local left = math.max(struct.unpack('>I4', record) - now, HOUR)
  local milliseconds = math.min(math.ceil(left * 1000), LONGEST)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, string.format('%.0f', milliseconds))
  end
end

for i = 1, #ARGV, 4 do
  local found = redis.call('HGET', KEYS[tonumber(ARGV[i])], ARGV[i + 1])
  if (found and '=' .. found or '') ~= ARGV[i + 2] then return 0 end
end
for i = 1, #ARGV, 4 do
  local key, field, record = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 3]:sub(2)
  if record == '' then
    redis.call('HDEL', key, field)
  else
    put(key, field, record)
  end
end
return 1
