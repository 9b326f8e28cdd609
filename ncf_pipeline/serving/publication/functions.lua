#!lua name=ncf
-- Reads lists in one command, for storefronts in any language: docs/storefront.md, "One command".
--
-- The answers are those of the Python client (ncf_pipeline/storefront/reading.py) without `category=` and `rotate=`. A
-- test asks both the same questions. Nothing here grows with the shop: a call looks at a page's lists, of some twenty
-- products each, and asks for each product of them whether it is hidden.

local CUSTOMER_LISTS = { for_you = true, discover = true, buy_again = true }
local PRODUCT_LISTS = { bought_together = true, similar = true }
local MOST_IN_BASKET = 50
-- Redis serves nobody else meanwhile: what a visitor sends must not keep it for long.
local MOST_OPTIONS = 1000
local LONGEST_VALUE = 1024 -- of UTF-8; a customer's id has up to 254 characters
local MOST_SHOWN = 2 ^ 31
local BASKET_EASE = 1
local OWN_WEIGHT = 2

-- The reply of Redis; nil if the key is of another type, which costs a list its reply, and no page its lists.
local function reply_to(...)
  local reply = redis.pcall(...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  if not reply.err:find('^-?WRONGTYPE') then error(reply, 0) end
end

-- The same for what is hidden: a user who may not ask for it gets lists all the same.
local function reply_if_allowed(...)
  local reply = redis.pcall(...)
  return (type(reply) ~= 'table' or not reply.err) and reply or nil
end

-- The bytes of a character that is not ASCII: table 3-7 of the Unicode Standard.
local SEQUENCES = {
  '[\194-\223][\128-\191]',
  '\224[\160-\191][\128-\191]',
  '[\225-\236\238\239][\128-\191][\128-\191]',
  '\237[\128-\159][\128-\191]',
  '\240[\144-\191][\128-\191][\128-\191]',
  '[\241-\243][\128-\191][\128-\191][\128-\191]',
  '\244[\128-\143][\128-\191][\128-\191]',
}

local function is_utf8(text)
  if not text:find('[\128-\255]') then return true end
  for _, sequence in ipairs(SEQUENCES) do text = text:gsub(sequence, ' ') end
  return not text:find('[\128-\255]')
end

-- The JSON array in a value of Redis; nil if it is none.
local function array_in(text)
  if type(text) ~= 'string' or text:sub(1, 1) ~= '[' or text:sub(-1) ~= ']' then return nil end
  local whole, found = pcall(cjson.decode, text)
  return whole and type(found) == 'table' and found or nil
end

local function codes_in(text)
  local codes = array_in(text)
  for _, code in ipairs(codes or {}) do
    if type(code) ~= 'string' or code == '' or not is_utf8(code) then return nil end
  end
  return codes
end

local function is_whole(number) return type(number) == 'number' and number == math.floor(number) and math.abs(number) < 2 ^ 53 end

-- One text in JSON for each product; nil if there is not one reason for each.
local function reasons_in(text, count)
  local entries = array_in(text)
  if not entries or #entries ~= count then return nil end
  local reasons = {}
  for place, entry in ipairs(entries) do
    local code, evidence = type(entry) == 'table' and entry[1], type(entry) == 'table' and entry[2]
    if type(code) ~= 'string' or not is_utf8(code) then return nil end
    if evidence == nil or evidence == cjson.null then
      evidence = 'null'
    elseif type(evidence) == 'string' and is_utf8(evidence) then
      evidence = cjson.encode(evidence)
    elseif is_whole(evidence) then
      evidence = string.format('%.0f', evidence)
    else
      return nil
    end
    reasons[place] = '{"code":' .. cjson.encode(code) .. ',"evidence":' .. evidence .. '}'
  end
  return reasons
end

-- By bytes, as UTF-8 is sorted; `<` would go by the language of the server.
local function is_before(one, other)
  for place = 1, math.min(#one, #other) do
    local mine, theirs = one:byte(place), other:byte(place)
    if mine ~= theirs then return mine < theirs end
  end
  return #one < #other
end

local function refuse(why) error({ err = 'ERR ncf: ' .. why }, 0) end

local function number_from_one(name, text)
  local number = text:match('^%d+$') and tonumber(text)
  if not number or number < 1 then refuse(name .. ' begins at 1, not at ' .. text) end
  return math.min(number, MOST_SHOWN)
end

-- A stock code in the spelling of the lists, if its letters are a to z.
local function code_of(text)
  local first = text:find('%S')
  return first and text:match('^.*%S', first):upper() or ''
end

-- What a call asks for: options and their values, in any order.
local function asked(keys, arguments, known)
  if #keys ~= 1 or not keys[1]:find(':current$') then
    refuse('the one key is the pointer to the live lists, such as ncf:current')
  end
  if #arguments > 2 * MOST_OPTIONS then refuse('a call has up to ' .. MOST_OPTIONS .. ' options') end
  for _, argument in ipairs(arguments) do
    if #argument > LONGEST_VALUE then refuse('a value has up to ' .. LONGEST_VALUE .. ' bytes') end
  end
  if #arguments % 2 == 1 then refuse('each option has one value, and ' .. arguments[#arguments] .. ' has none') end
  local ask = { prefix = keys[1]:sub(1, -9), exclude = {}, list = {}, product = {}, page = 1 }
  for place = 1, #arguments, 2 do
    local name, value = arguments[place]:lower(), arguments[place + 1]
    if not known[name] then refuse('there is no option ' .. name) end
    if not is_utf8(value) then refuse('the value of ' .. name .. ' is not UTF-8') end
    if name == 'exclude' then
      ask.exclude[value:upper()] = true
    elseif name == 'product' then
      table.insert(ask.product, code_of(value))
    elseif name == 'list' then
      table.insert(ask.list, value)
    elseif name == 'count' or name == 'page' then
      ask[name] = number_from_one(name, value)
    elseif name == 'country' and value == '' then
      ask[name] = nil
    else
      ask[name] = value
    end
  end
  return ask
end

-- The publication that is live, and what every list of the call needs to know; nil if nothing is.
local function live(ask)
  local name = reply_to('get', ask.prefix .. ':current')
  if not name or not name:match('^p%d+$') or #name > 19 then return nil end
  ask.name, ask.start = name, ask.prefix .. ':' .. name .. ':'
  if not ask.count then
    local shown = tonumber((reply_to('hget', ask.start .. 'meta', 'top_n') or ''):match('^%d+$'))
    ask.shown = shown and shown >= 1 and shown or nil
  end
  local time = reply_if_allowed('time')
  ask.now = time and tonumber(time[1]) or 0
  ask.ending = { ask.prefix .. ':hidden' }
  if ask.country then table.insert(ask.ending, ask.prefix .. ':hidden:' .. ask.country) end
  if ask.customer then table.insert(ask.ending, ask.prefix .. ':dismissed:customer:' .. ask.customer) end
  return name
end

-- Whether each product of a list is left out: hidden, sold out, dismissed, or on the page already.
local function gone(ask, codes)
  local out = {}
  for place, code in ipairs(codes) do out[place] = ask.exclude[code] or false end
  for begin = 1, #codes, 1000 do -- Lua passes some thousand arguments at once
    local some = { unpack(codes, begin, math.min(begin + 999, #codes)) }
    for _, key in ipairs(ask.ending) do
      for place, ends in ipairs(reply_if_allowed('zmscore', key, unpack(some)) or {}) do
        if ends and (tonumber(ends) or math.huge) > ask.now then out[begin + place - 1] = true end
      end
    end
    for place, is_out in ipairs(reply_if_allowed('smismember', ask.prefix .. ':sold_out', unpack(some)) or {}) do
      if is_out == 1 then out[begin + place - 1] = true end
    end
  end
  return out
end

-- The places of a list that the page shows; nil if no product of the list may be shown.
local function places_shown(ask, codes)
  if #codes == 0 then return nil end
  local left, out = {}, gone(ask, codes)
  for place = 1, #codes do
    if not out[place] then table.insert(left, place) end
  end
  if #left == 0 then return nil end
  local count = ask.count or ask.shown or #codes
  local begin, shown = (ask.page - 1) * count, {}
  for place = begin + 1, math.min(begin + count, #left) do table.insert(shown, left[place]) end
  return shown
end

local function fallbacks_of(ask, list)
  local found = {}
  for _, place in ipairs(ask.country and ask.country ~= '*' and { ask.country, '*' } or { '*' }) do
    local key = ask.start .. 'fallback:' .. place
    local codes = codes_in(reply_to('hget', key, list))
    if codes and #codes > 0 then
      table.insert(found, { source = place == '*' and 'everywhere' or 'country', codes = codes })
    end
  end
  return found
end

local function json_of(ask, name, source, codes, places, reasons)
  local products = {}
  for number, place in ipairs(places or {}) do
    local reason = reasons and ',"reason":' .. reasons[place] or ''
    products[number] = '{"stock_code":' .. cjson.encode(codes[place]) .. reason .. '}'
    ask.exclude[codes[place]] = true -- no product twice on a page
  end
  local publication = ask.name and cjson.encode(ask.name) or 'null'
  return '{"name":"' .. name .. '","source":"' .. source .. '","publication":' .. publication
    .. ',"products":[' .. table.concat(products, ',') .. ']}'
end

local function fallback(ask, name, list)
  local found = fallbacks_of(ask, list)
  for _, each in ipairs(found) do
    local places = places_shown(ask, each.codes)
    if places then return json_of(ask, name, each.source, each.codes, places) end
  end
  return json_of(ask, name, found[1] and found[1].source or 'none', {})
end

local function one_list(ask, name)
  if not ask.name then return json_of(ask, name, 'none', {}) end
  local of_product, key = PRODUCT_LISTS[name], nil
  if of_product then
    key = 'product:' .. ask.product[1]
  elseif CUSTOMER_LISTS[name] and ask.customer then
    key = 'customer:' .. ask.customer
  end
  local texts = key and reply_to('hmget', ask.start .. key, name, name .. '_reasons') or {}
  local codes = codes_in(texts[1])
  local places = codes and places_shown(ask, codes)
  -- An empty buy_again is an answer: the customer has nothing to buy again. Other lists of customers have a fallback.
  if codes and (places or of_product or name == 'buy_again') then
    local reasons = texts[2] and reasons_in(texts[2], #codes)
    return json_of(ask, name, of_product and 'product' or 'customer', codes, places, reasons)
  end
  if of_product then return json_of(ask, name, 'none', {}) end
  return fallback(ask, name, name == 'new_arrivals' and name or 'for_you')
end

local function lists(keys, arguments)
  local known = { list = true, customer = true, product = true, country = true, count = true, page = true, exclude = true }
  local ask = asked(keys, arguments, known)
  local seen, answers = {}, {}
  for _, name in ipairs(ask.list) do
    if not CUSTOMER_LISTS[name] and not PRODUCT_LISTS[name] and name ~= 'new_arrivals' then
      refuse('there is no list ' .. name .. '; choose from for_you, discover, buy_again, bought_together, similar, new_arrivals')
    end
    if PRODUCT_LISTS[name] and #ask.product == 0 then refuse(name .. ' is the list of a product: name one') end
    if seen[name] then refuse('a page has each list once, and ' .. name .. ' is there twice') end
    seen[name] = true
  end
  if #ask.list == 0 then refuse('name one list or more, such as: list for_you') end
  if #ask.product > 1 then refuse('a page is of one product; ncf_basket takes several') end
  live(ask)
  for place, name in ipairs(ask.list) do answers[place] = '"' .. name .. '":' .. one_list(ask, name) end
  return '{"lists":{' .. table.concat(answers, ',') .. '}}'
end

-- What goes with a basket: the lists of its products and the customer's own vote, then best sellers.
local function basket(keys, arguments)
  local known = { product = true, customer = true, country = true, count = true, page = true, exclude = true }
  local ask = asked(keys, arguments, known)
  if not live(ask) then return json_of(ask, 'basket', 'none', {}) end
  local inside, newest = {}, {}
  for place = #ask.product, 1, -1 do -- the last put in first
    local code = ask.product[place]
    if code ~= '' and not inside[code] then
      inside[code], ask.exclude[code] = true, true
      if #newest < MOST_IN_BASKET then table.insert(newest, code) end
    end
  end
  local scores, ranked, together, own = {}, {}, false, false
  local function vote(weight, codes)
    for place, code in ipairs(codes or {}) do
      if not scores[code] then table.insert(ranked, code) end
      scores[code] = (scores[code] or 0) + weight / (place + BASKET_EASE)
    end
    return codes and #codes > 0
  end
  for _, code in ipairs(newest) do
    together = vote(1, codes_in(reply_to('hget', ask.start .. 'product:' .. code, 'bought_together'))) or together
  end
  if ask.customer then
    own = vote(OWN_WEIGHT, codes_in(reply_to('hget', ask.start .. 'customer:' .. ask.customer, 'for_you')))
  end
  table.sort(ranked, function(one, other)
    if scores[one] ~= scores[other] then return scores[one] > scores[other] end
    return is_before(one, other)
  end)
  local found = fallbacks_of(ask, 'for_you')
  for _, each in ipairs(found) do vote(0, each.codes) end -- behind all others, in their order
  local source = together and 'basket' or own and 'customer' or found[1] and found[1].source or 'none'
  return json_of(ask, 'basket', source, ranked, places_shown(ask, ranked))
end

redis.register_function { function_name = 'ncf_lists', callback = lists, flags = { 'no-writes' } }
redis.register_function { function_name = 'ncf_basket', callback = basket, flags = { 'no-writes' } }
