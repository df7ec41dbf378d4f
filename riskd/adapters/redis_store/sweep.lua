-- Deletes expired records of a place. KEYS[1]: its hash. ARGV[1]: now. Returns how many. Of a place with more records
-- than SAMPLE it looks at as many at random, and again, some times, as long as a quarter of these had expired.
local SAMPLE, TIMES, now, gone = 500, 8, tonumber(ARGV[1]), 0
for _ = 1, TIMES do
  local sample, before = redis.call('HRANDFIELD', KEYS[1], SAMPLE, 'WITHVALUES'), gone
  for i = 1, #sample, 2 do
    if struct.unpack('>I4', sample[i + 1]) <= now then gone = gone + redis.call('HDEL', KEYS[1], sample[i]) end
  end
  if gone - before < SAMPLE / 4 then return gone end
end
return gone
