"""The Lua of the caps. Both take ARGV[1] = msgpack of (now_ms, rules, checks, ..., peek).

A rule is {how many names, ms to keep, {{name, limit, window_ms}, ...}}; checks alternate message
id and rule; KEYS hold the records of each check's names, in turn. The answer per check is -1
(admitted) or the index of the limit that is used up. With peek nothing is written. Each redis.call
costs about 1 us, so that is what these save on.
"""

from state.redis_client import Script

# ZADD NX tells a replay by itself, so only a refusal has to look for the message. A replay moves
# the message to the time at which it is let through again.
EXACT = Script(
    "exact caps",
    """
local call = redis.call
local now, rules, checks, peek = unpack(cmsgpack.unpack(ARGV[1]))

local function used_up(at, limits)
  for l = 1, #limits do
    local limit = limits[l]
    local since = '(' .. (now - limit[3])
    if call('ZCOUNT', KEYS[at + limit[1]], since, '+inf') >= limit[2] then return l - 1 end
  end
end

local function again(at, id, rule)
  for n = at + 1, at + rule[1] do
    call('ZADD', KEYS[n], 'XX', 'GT', now, id)
    call('PEXPIRE', KEYS[n], rule[2])
  end
  return -1
end

local function ask(at, id, rule)
  local names, kept = rule[1], rule[2]
  local answer = used_up(at, rule[3])
  if peek then
    for n = at + 1, answer and at + names or at do
      if call('ZSCORE', KEYS[n], id) then return -1 end
    end
    return answer or -1
  end
  for n = at + 1, at + names do
    local key = KEYS[n]
    if answer then
      if call('ZSCORE', key, id) then return again(at, id, rule) end
    else
      if call('ZADD', key, 'NX', now, id) == 0 then return again(at, id, rule) end
      call('ZREMRANGEBYSCORE', key, '-inf', now - kept)
      call('PEXPIRE', key, kept)
    end
  end
  return answer or -1
end

local out, at = {}, 0
for i = 1, #checks, 2 do
  local rule = rules[checks[i + 1]]
  out[#out + 1] = ask(at, checks[i], rule)
  at = at + rule[1]
end
return out
""",
)

# A record is one flat list: hashes of recent message ids, 8 characters each; then for each window
# a section {window, how many parts, part, count, part, count, ...}, oldest part first.
IN_SUBWINDOWS = Script(
    "caps in sub-windows",
    """
local call, floor = redis.call, math.floor
local now, rules, checks, parts, recent, peek = unpack(cmsgpack.unpack(ARGV[1]))

local function knows(ids, id)
  local found = string.find(ids, id, 1, true)
  while found and found % 8 ~= 1 do found = string.find(ids, id, found + 1, true) end
  return found
end

local function part_at(time, window)
  return floor(time / floor(window / parts))
end

local function section(record, window)
  local s = 2
  while record[s] and record[s] ~= window do s = s + 2 + 2 * record[s + 1] end
  if not record[s] then record[s], record[s + 1] = window, 0 end
  return s
end

-- What a window counts, without the parts that have left it; these go.
local function count(record, window)
  local s, first, sum = section(record, window), part_at(now - window + 1, window), 0
  while record[s + 1] > 0 and record[s + 2] < first do
    table.remove(record, s + 2)
    table.remove(record, s + 2)
    record[s + 1] = record[s + 1] - 1
  end
  for n = s + 3, s + 1 + 2 * record[s + 1], 2 do sum = sum + record[n] end
  return sum
end

local function increment(record, window)
  local s, part = section(record, window), part_at(now, window)
  local n = s + 2 * record[s + 1]
  while n > s and record[n] > part do n = n - 2 end
  if n > s and record[n] == part then
    record[n + 1] = record[n + 1] + 1
  else
    table.insert(record, n + 2, 1)
    table.insert(record, n + 2, part)
    record[s + 1] = record[s + 1] + 1
  end
end

-- Without the sections that count nothing any more: windows that were configured once.
local function pruned(record)
  local kept, s = {record[1]}, 2
  while record[s] do
    local last = s + 2 * record[s + 1]
    if last > s and record[last] >= part_at(now - record[s] + 1, record[s]) then
      for n = s, last + 1 do kept[#kept + 1] = record[n] end
    end
    s = last + 2
  end
  return kept
end

local function write(key, record, id, kept, most)
  local ids = record[1]
  if #ids >= 8 * recent then ids = string.sub(ids, 9) end
  record[1] = ids .. id
  if #record > most then record = pruned(record) end
  call('SET', key, cmsgpack.pack(record), 'PX', kept)
end

local records = {}
local function ask(at, id, rule)
  local names, limits = rule[1], rule[3]
  for n = 1, names do
    local stored = call('GET', KEYS[at + n])
    local record = stored and cmsgpack.unpack(stored) or {''}
    if knows(record[1], id) then return -1 end
    records[n] = record
  end
  for l = 1, #limits do
    local limit = limits[l]
    if count(records[limit[1]], limit[3]) >= limit[2] then return l - 1 end
  end
  if peek then return -1 end
  for l = 1, #limits do
    local name, window, is_new = limits[l][1], limits[l][3], true
    for o = 1, l - 1 do
      if limits[o][1] == name and limits[o][3] == window then is_new = false end
    end
    if is_new then increment(records[name], window) end
  end
  for n = 1, names do write(KEYS[at + n], records[n], id, rule[2], 1 + 24 * #limits) end
  return -1
end

local out, at = {}, 0
for i = 1, #checks, 2 do
  local rule = rules[checks[i + 1]]
  out[#out + 1] = ask(at, checks[i], rule)
  at = at + rule[1]
end
return out
""",
)
