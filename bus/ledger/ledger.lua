-- The only code that changes event state in Redis. Loaded as a function library, which a pipeline can call without
-- knowing whether it is there; LIBRARY is replaced by a name made from this file's digest, so that two releases live
-- side by side during a rolling upgrade.
--
-- A group's record of an event, one string key with its own TTL:
--   state|worker|number|generation|due|attempts|crashes|suspect alone|topic|history
--   state C running, R waits for its retry, D handled, F dead letter; due in ms of Redis TIME; history JSON.
--   Ours begin with "C|worker|number|", which is how a call knows what it or an earlier call of its worker wrote.
--   D names no worker and number.
-- A publish record:  P|topic|token  while somebody publishes,  Y|topic|partition|offset|at|by  once acknowledged.
-- A lease: the number of the worker's newest call, living for the lease.

local RECORD = '^(%a)|([^|]*)|(%d+)|(%-?%d+)|(%d+)|(%d+)|(%d+)|(%d)(%d)|([^|]*)|(.*)$'
local MOST_KEYS = 1000  -- per MGET: unpack fails beyond some 8000

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- What is copied into new records stays a string: Lua 5.1 writes large numbers as 1e+15, which RECORD doesn't match.
local function read(value)
  if not value then return nil end
  local state, worker, number, generation, due, attempts, crashes, suspect, alone, topic, history =
    string.match(value, RECORD)
  if not state then return nil end
  return {state = state, worker = worker, number = number, generation = tonumber(generation),
          generation_text = generation, due = tonumber(due), attempts = attempts, crashes = crashes, suspect = suspect,
          alone = alone, topic = topic, history = history}
end

local function write(context, key, value, ttl_ms)
  redis.call('SET', key, value, 'PX', ttl_ms)
  context.values[key] = value
end

-- A call older than the worker's newest one comes from a connection that the client gave up: it must change nothing,
-- or it would take back what later calls did.
local function renew(lease_key, number, lease_ms)
  local newest = redis.call('GET', lease_key)
  if newest and tonumber(newest) > tonumber(number) then return false end
  redis.call('SET', lease_key, number, 'PX', lease_ms)
  return true
end

-- Not started, given back. A record that says more than "claimed" is kept: without it an earlier generation of the
-- event would begin anew, and suspicion would be forgotten.
local function give_back(context, key, value)
  local old = read(value)
  if old.attempts == '0' and old.crashes == '0' and old.suspect == '0' and old.generation == 0 then
    redis.call('DEL', key)
    context.values[key] = nil
  else
    write(context, key, table.concat({'R', old.worker, old.number, old.generation_text, context.now, old.attempts,
      old.crashes, old.suspect .. '0', old.topic, old.history}, '|'), context.active_ms)
  end
end

-- `kind` is what settlements share: verb, generation, number, delay. K: the outcome stands, L: another has the event.
local function settle(context, key, kind, tail)
  local value = context.values[key]
  local verb = kind.verb
  if value then
    if string.sub(value, 1, #kind.running) == kind.running then
      if verb == 'X' then
        give_back(context, key, value)
        return 'K'
      end
    else
      -- Written by this very call, which is being repeated, or handled, by whomever; or claimed anew by this call after
      -- it had settled (or was told L: that can't be told any more, and the claim matters now).
      if verb == 'X' or string.sub(value, 1, #kind.settled) == kind.settled
        or string.sub(value, 1, #context.claimed) == context.claimed then
        return 'K'
      end
      local old = read(value)
      if old and old.generation >= kind.generation then
        if old.generation > kind.generation or verb ~= 'D' or old.state == 'F' then return 'L' end
        -- D over somebody else's C or R: the effect has happened, and whoever took the event over learns it here.
      end
    end
  elseif verb == 'X' then
    return 'K'
  end
  write(context, key, kind.head .. tail, verb == 'D' and context.done_ms or context.active_ms)
  return 'K'
end

local function grant(context, key, old, kind, suspect, alone, crashes)
  write(context, key, table.concat({context.claimed .. kind.generation_text, 0, old and old.attempts or 0, crashes,
    suspect .. alone, kind.topic, old and old.history or ''}, '|'), context.active_ms)
end

-- Milliseconds that another worker still has; 0 or less when its lease has lapsed. Its lease lies beside ours.
local function lease_left(context, worker)
  local left = context.leases[worker]
  if left == nil then
    left = redis.call('PTTL', context.lease_prefix .. worker)
    context.leases[worker] = left
  end
  return left
end

-- One letter per claim: G granted fresh, A granted with a past (details), W waits for its retry (ms), B busy elsewhere
-- (ms of the lease left), D handled, F dead letter. `kind` is what claims share: generation, topic, alone.
local function claim(context, key, kind)
  local old = read(context.values[key])
  if not old or old.generation < kind.generation then
    grant(context, key, nil, kind, '0', kind.alone, 0)
    return 'G'
  end
  if old.generation > kind.generation or old.state == 'D' then return 'D' end
  if old.state == 'F' then return 'F' end
  local suspect, crashes, alone = old.suspect, old.crashes, kind.alone
  if old.state == 'R' then
    if old.due > context.now then
      return 'W', {old.due - context.now, old.attempts, crashes, suspect, old.history}
    end
  elseif old.worker == context.worker then
    if alone == '0' then alone = old.alone end
  else
    local left = lease_left(context, old.worker)
    if left > 0 then return 'B', {left, old.worker} end
    suspect = '1'
    if old.alone == '1' then crashes = string.format('%d', crashes + 1) end
  end
  grant(context, key, old, kind, suspect, alone, crashes)
  return 'A', {0, old.attempts, crashes, suspect, old.history}
end

local function read_settled_kinds(context, argv, at, count)
  local kinds = {}
  for i = 1, count do
    local verb, generation, number, delay_ms = argv[at], argv[at + 1], argv[at + 2], tonumber(argv[at + 3])
    local owner = '|' .. context.worker .. '|' .. number .. '|' .. generation .. '|'
    -- Whose D it is doesn't matter, and D is what there is most of.
    local settled = verb == 'D' and 'D||0|' .. generation .. '|' or verb .. owner
    kinds[i] = {verb = verb, generation = tonumber(generation), running = 'C' .. owner, settled = settled,
                head = settled .. string.format('%d', verb == 'R' and context.now + delay_ms or 0) .. '|'}
    at = at + 4
  end
  return kinds, at
end

local function read_claimed_kinds(argv, at, count)
  local kinds = {}
  for i = 1, count do
    kinds[i] = {generation_text = argv[at], generation = tonumber(argv[at]), topic = argv[at + 1], alone = argv[at + 2]}
    at = at + 3
  end
  return kinds, at
end

local function read_values(keys)
  local values = {}
  for first = 2, #keys, MOST_KEYS do
    local last = math.min(first + MOST_KEYS - 1, #keys)
    for i, value in ipairs(redis.call('MGET', unpack(keys, first, last))) do
      values[keys[first + i - 1]] = value or nil
    end
  end
  return values
end

-- KEYS: the worker's lease, then settled events, then claimed events.
-- ARGV: worker, number, lease ms, active ms, done ms, settled events, kinds of settlements, kinds of claims; the kinds;
-- per settled event number of its kind and the rest of its record; per claimed event number of its kind.
local function exchange(keys, argv)
  local context = {worker = argv[1], claimed = 'C|' .. argv[1] .. '|' .. argv[2] .. '|', active_ms = argv[4],
                   done_ms = argv[5], now = now_ms(), leases = {}, lease_prefix = string.sub(keys[1], 1, -#argv[1] - 1)}
  if not renew(keys[1], argv[2], argv[3]) then return {'STALE'} end
  local settled, verdicts, details, claimed_here = {}, {}, {}, {}
  local settled_kinds, claimed_kinds, at
  settled_kinds, at = read_settled_kinds(context, argv, 9, tonumber(argv[7]))
  claimed_kinds, at = read_claimed_kinds(argv, at, tonumber(argv[8]))
  context.values = read_values(keys)
  local last_settled = 1 + tonumber(argv[6])
  for i = 2, last_settled do
    settled[i - 1] = settle(context, keys[i], settled_kinds[tonumber(argv[at])], argv[at + 1])
    at = at + 2
  end
  for i = last_settled + 1, #keys do
    local key, verdict, detail = keys[i], nil, nil
    if claimed_here[key] then
      -- A second copy of the event in one batch: it waits for what becomes of the first.
      verdict, detail = 'B', {50, context.worker}
    else
      claimed_here[key] = true
      verdict, detail = claim(context, key, claimed_kinds[tonumber(argv[at])])
    end
    at = at + 1
    verdicts[#verdicts + 1] = verdict
    if detail then
      details[#details + 1] = #verdicts - 1
      details[#details + 1] = detail
    end
  end
  return {table.concat(settled), table.concat(verdicts), details}
end

-- KEYS: publish records. ARGV: claim ms, token, topic. Answers per event 'G', or the record that is in the way, which
-- for the second copy of an event in one call is the first one's.
local function claim_publish(keys, argv)
  local claimed = 'P|' .. argv[3] .. '|' .. argv[2]
  local answers, claimed_here = {}, {}
  for i, key in ipairs(keys) do
    local value = redis.call('GET', key)
    if not claimed_here[key] and (not value or value == claimed) then
      redis.call('SET', key, claimed, 'PX', argv[1])
      claimed_here[key] = true
      answers[i] = 'G'
    else
      answers[i] = value
    end
  end
  return answers
end

-- KEYS: publish records. ARGV: keep ms, then the record per event. The first acknowledgement stands.
local function confirm_publish(keys, argv)
  for i, key in ipairs(keys) do
    -- Most events come with an id made up for them, which nobody has claimed: one command then.
    if not redis.call('SET', key, argv[i + 1], 'NX', 'PX', argv[1]) then
      if string.sub(redis.call('GET', key), 1, 1) ~= 'Y' then
        redis.call('SET', key, argv[i + 1], 'PX', argv[1])
      end
    end
  end
  return #keys
end

-- KEYS: publish records. ARGV: token. Only the claim of this token is released.
local function release_publish(keys, argv)
  local released = 0
  for _, key in ipairs(keys) do
    local value = redis.call('GET', key)
    if value and string.match(value, '^P|[^|]*|(.*)$') == argv[1] then
      released = released + redis.call('DEL', key)
    end
  end
  return released
end

-- KEYS: lists by correlation id. ARGV: keep ms, most ids per list, then the event id per key.
local function correlate(keys, argv)
  for i, key in ipairs(keys) do
    -- A repeated call moves the id to the end instead of pushing another one out.
    redis.call('LREM', key, 0, argv[i + 2])
    redis.call('RPUSH', key, argv[i + 2])
    redis.call('LTRIM', key, -tonumber(argv[2]), -1)
    redis.call('PEXPIRE', key, argv[1])
  end
  return #keys
end

-- KEYS: counters of dropped copies, one per event. ARGV: keep ms, then per key who dropped them, and how many.
local function count_duplicates(keys, argv)
  for i, key in ipairs(keys) do
    redis.call('HINCRBY', key, argv[2 * i], argv[2 * i + 1])
    redis.call('PEXPIRE', key, argv[1])
  end
  return #keys
end

redis.register_function('LIBRARY_exchange', exchange)
redis.register_function('LIBRARY_claim_publish', claim_publish)
redis.register_function('LIBRARY_confirm_publish', confirm_publish)
redis.register_function('LIBRARY_release_publish', release_publish)
redis.register_function('LIBRARY_correlate', correlate)
redis.register_function('LIBRARY_count_duplicates', count_duplicates)
