-- Puts and deletes whole records, or nothing. KEYS: the hashes of the places. ARGV: for each change the number of its
-- key, its field, '=' and the record expected or '' for none, and '=' and the record to put or '' for none.
-- Returns 1, or 0 when a record is not as expected. What has expired by this server's clock stays for an hour more.

local HOUR, LONGEST = 3600, 1e14

for i = 1, #ARGV, 4 do
  local found = redis.call('HGET', KEYS[tonumber(ARGV[i])], ARGV[i + 1])
  if (found and '=' .. found or '') ~= ARGV[i + 2] then return 0 end
end
local now = tonumber(redis.call('TIME')[1])
for i = 1, #ARGV, 4 do
  local key, field, record = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 3]:sub(2)
  if record == '' then
    redis.call('HDEL', key, field)
  else
    redis.call('HSET', key, field, record)
    local left = math.max(struct.unpack('>I4', record) - now, HOUR)
    local milliseconds = math.min(math.ceil(left * 1000), LONGEST)
    if redis.call('PTTL', key) < milliseconds then
      redis.call('PEXPIRE', key, string.format('%.0f', milliseconds))
    end
  end
end
return 1
