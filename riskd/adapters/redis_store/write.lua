-- One write: applies all swaps and deltas, or nothing. Mirrors `riskd.core.history.fold` and
-- `riskd.core.stored.changes`. Their constants (TABLES, PROFILE, SEEN, RARE, SKETCH, OWNERS, MARKS) are prepended when
-- the script is loaded.
-- KEYS: the hashes of the places, first that of the swaps, then those of the deltas in order. A field is a record.
-- ARGV: now; the place of the swaps, '' if there are none; the deltas as MessagePack of
-- [[time, expires, counts, marks, seen, undo, keep], ...]; for each delta its key; for each swap its field, the expected
-- document ('=' and its bytes, or '' for none), and the new record.
-- Returns 1, or 0 if a document is not as expected.

local now = tonumber(ARGV[1])
local HEAD, PLACE, SAMPLE, LONGEST, NEVER, NONE = 4, 8, 4, 1e14, 2 ^ 32 - 1, {}

local function expiry(record)
  return (struct.unpack('>I4', record))
end

local function living(key, field)
  local record = redis.call('HGET', key, field)
  return record and expiry(record) > now and record or nil
end

-- Exactly Python's `int(time // length)`.
local function period_of(time, length)
  local rest = math.fmod(time, length)
  if rest < 0 then rest = rest + length end
  return math.floor((time - rest) / length + 0.5)
end

local function total(tally)
  local sum = 0
  for i = 2, #tally do sum = sum + tally[i] end
  return sum
end

-- Compares bytes; `<` would use the server's locale.
local function before(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = a:byte(i), b:byte(i)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- Compares lists like Python's tuples: 1, 0 or -1.
local function compare(a, b)
  for i = 1, math.max(#a, #b) do
    if a[i] ~= b[i] then return (b[i] == nil or (a[i] ~= nil and a[i] > b[i])) and 1 or -1 end
  end
  return 0
end

-- The rank of a value in a full table, as in `history._priority`: alive, in several periods, its last period, its count.
local function priority(tally, dead)
  local last, used = tally[1] + #tally - 2, 0
  for i = 2, #tally do
    if tally[i] ~= 0 then used = used + 1 end
  end
  return {last > dead and 1 or 0, used > 1 and 1 or 0, last, total(tally)}
end

local function gives_way(values, a, b, dead)
  local order = compare(priority(values[a], dead), priority(values[b], dead))
  if order ~= 0 then return order < 0 end
  return before(a, b)
end

local function admit(values, spec, value, period, n)
  local held, first = 0, nil
  for old in pairs(values) do
    held = held + 1
    if not first or gives_way(values, old, first, period - spec.keep) then first = old end
  end
  if held >= spec.capacity then values[first] = nil end
  values[value] = {period, n}
end

-- The tally with n added to a period (a negative n subtracts from what is there); nil if nothing is left.
local function added(tally, period, n, keep)
  local first, last = tally[1], tally[1] + #tally - 2
  local inside = period >= first and period <= last
  if not inside then
    if n <= 0 then return tally end
    if period - last > keep then return {period, n} end
    if period < first and last - period >= keep then return tally end
  end
  local function at(p)
    local count = p >= first and p <= last and tally[p - first + 2] or 0
    return p == period and math.max(count + n, 0) or count
  end
  local to = math.max(last, period)
  local from = math.max(math.min(first, period), inside and first or to - keep + 1)
  while to >= from and at(to) == 0 do to = to - 1 end
  while to >= from and at(from) == 0 do from = from + 1 end
  if to < from then return nil end
  local sum = {from}
  for p = from, to do sum[#sum + 1] = at(p) end
  return sum
end

-- The tally from this period on; nil if nothing is left.
local function from_period(tally, first)
  local from, last = first, tally[1] + #tally - 2
  while from <= last and tally[from - tally[1] + 2] == 0 do from = from + 1 end
  if from > last then return nil end
  local left = {from}
  for p = from, last do left[#left + 1] = tally[p - tally[1] + 2] end
  return left
end

local function count(tallies, name, value, time, n)
  local spec = TABLES[name]
  local values = tallies[spec.letter] or {}
  local period = period_of(time, spec.period)
  if values[value] then
    values[value] = added(values[value], period, n, spec.keep)
  elseif n > 0 then
    admit(values, spec, value, period, n)
  end
  tallies[spec.letter] = next(values) and values or nil
end

local function mark(marks, kind, moment, undo)
  local kept = {}
  for _, old in ipairs(marks[kind] or {}) do
    if compare(old, moment) ~= 0 then kept[#kept + 1] = old end
  end
  if not undo then
    kept[#kept + 1] = moment
    table.sort(kept, function(a, b) return compare(a, b) > 0 end)
    kept[MARKS + 1] = nil
  end
  marks[kind] = next(kept) and kept or nil
end

local function forget_before(tallies, letter, period)
  local values = tallies[letter] or NONE
  for value, tally in pairs(values) do
    if tally[1] < period then values[value] = from_period(tally, period) end
  end
  if values ~= NONE and not next(values) then tallies[letter] = nil end
end

-- Removes earlier moments, the weeks of a profile that ended before the policy's retention, and counts of activity that
-- are older than their tables keep.
local function forget(tallies, moments, time, keep, counts)
  local since = time - keep
  if since == -math.huge then return end
  for kind, kept in pairs(moments) do
    while kept[1] and kept[#kept][1] < since do kept[#kept] = nil end
    if not kept[1] then moments[kind] = nil end
  end
  if tallies[TABLES.sign_in.letter] then
    for _, letter in ipairs(PROFILE) do forget_before(tallies, letter, period_of(since, TABLES.sign_in.period)) end
  elseif counts[1] then
    for _, name in ipairs(RARE) do
      local spec = TABLES[name]
      forget_before(tallies, spec.letter, period_of(time, spec.period) - spec.keep + 1)
    end
  end
end

local function hit(sketches, name, time, slot)
  local spec = name == 'owner' and OWNERS or SKETCH
  local last, period = sketches[name], period_of(time, spec.period)
  if not last then
    sketches[name] = {[slot] = period}
    return
  end
  local newest = period
  for _, at in pairs(last) do
    if at > newest then newest = at end
  end
  if period > (last[slot] or newest - spec.keep) then last[slot] = period end
  for old, at in pairs(last) do
    if at <= newest - spec.keep then last[old] = nil end
  end
end

-- The tally of all sign-ins. A value with the same tally has `[]` instead.
local function account(tallies)
  local values = tallies[TABLES.sign_in.letter]
  return values and values['']
end

local function separate(tallies)
  local shared = account(tallies)
  if not shared then return end
  for _, letter in ipairs(SEEN) do
    for value, tally in pairs(tallies[letter] or NONE) do
      if not tally[1] then tallies[letter][value] = shared end
    end
  end
end

local function unite(tallies)
  local shared = account(tallies)
  if not shared then return end
  for _, letter in ipairs(SEEN) do
    for value, tally in pairs(tallies[letter] or NONE) do
      if compare(tally, shared) == 0 then tallies[letter][value] = {} end
    end
  end
end

-- Needed because an empty table would be packed as an array.
local function packed(map)
  return next(map) and cmsgpack.pack(map) or '\128'
end

-- The record after these deltas; nil if nothing is left to keep.
local function folded(record, deltas)
  local expires, tallies, moments, sketches
  if record then
    expires = expiry(record)
    tallies, moments, sketches = unpack(cmsgpack.unpack(record:sub(HEAD + 1)))
    separate(tallies)
  end
  for _, delta in ipairs(deltas) do
    local time, latest, counts, marks, seen, undo, keep = unpack(delta)
    if not tallies and not undo and latest > now then
      expires, tallies, moments, sketches = latest, {}, {}, {}
    end
    if tallies then
      expires = math.max(latest, math.min(expires, now + keep))
      for _, c in ipairs(counts) do count(tallies, c[1], c[2], time, c[3]) end
      for _, m in ipairs(marks) do mark(moments, m[1], m[2], undo) end
      if not undo then forget(tallies, moments, time, keep, counts) end
      for _, s in ipairs(seen) do hit(sketches, s[1], time, s[2]) end
      if not (next(tallies) or next(moments) or next(sketches)) then tallies = nil end
    end
  end
  if not tallies then return nil end
  unite(tallies)
  local head = struct.pack('>I4', math.min(math.ceil(expires), NEVER))
  return head .. '\147' .. packed(tallies) .. packed(moments) .. packed(sketches)
end

-- A place expires with its longest-lived record.
local function keep(key, field, record)
  local left = record and expiry(record) - now or 0
  if left <= 0 then
    redis.call('HDEL', key, field)
    return
  end
  redis.call('HSET', key, field, record)
  local milliseconds = math.min(math.ceil(left * 1000), LONGEST)
  if redis.call('PTTL', key) < milliseconds then
    redis.call('PEXPIRE', key, string.format('%.0f', milliseconds))
  end
end

-- Before Redis 7.4 single fields cannot expire. Checks a few at random each time, so expired fields stay a minority.
local function prune(key)
  local sample = redis.call('HRANDFIELD', key, SAMPLE, 'WITHVALUES')
  for i = 1, #sample, 2 do
    if expiry(sample[i + 1]) <= now then redis.call('HDEL', key, sample[i]) end
  end
end

local deltas, hash, together, order = cmsgpack.unpack(ARGV[3]), {}, {}, {}
local first = 4 + #deltas
for i = first, #ARGV, 3 do
  local record = living(KEYS[1], ARGV[i])
  if (record and '=' .. record:sub(HEAD + 1) or '') ~= ARGV[i + 1] then return 0 end
end
if #ARGV >= first then prune(KEYS[1]) end
for i = first, #ARGV, 3 do keep(KEYS[1], ARGV[i], ARGV[i + 2]) end

local known = 0
if #ARGV >= first then hash[ARGV[2]], known = KEYS[1], 1 end
for i, delta in ipairs(deltas) do
  local key = ARGV[3 + i]
  local place = key:sub(1, PLACE)
  if not hash[place] then
    known = known + 1
    hash[place] = KEYS[known]
  end
  if not together[key] then
    together[key] = {}
    order[#order + 1] = key
  end
  table.insert(together[key], delta)
end
for _, key in ipairs(order) do
  local place, field = hash[key:sub(1, PLACE)], key:sub(PLACE + 1)
  keep(place, field, folded(living(place, field), together[key]))
end
return 1
