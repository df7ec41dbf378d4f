-- One step of listing a place. KEYS[1]: its hash. ARGV: the cursor, now. Returns the next cursor ('0' at the end), the
-- fields of the records that have not expired, and the server's run: its cursors mean nothing to another.
local cursor, found = unpack(redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', 500))
local fields, now = {}, tonumber(ARGV[2])
for i = 1, #found, 2 do
  if struct.unpack('>I4', found[i + 1]) > now then fields[#fields + 1] = found[i] end
end
return {cursor, fields, string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')}
