-- The world as functions see it: a part of Kong's plugin development kit and of ngx, and nothing of the machine.
-- Returns the environment of all functions and the table through which the gateway is asked.
local bridge = {}

local function ask(name)
  return function(...)
    return bridge.call(name, ...)
  end
end

-- A table whose members are the questions with this prefix.
local function questions(prefix, own)
  return setmetatable(own or {}, {
    __index = function(_, name)
      return ask(prefix .. "." .. tostring(name))
    end,
  })
end

local log = setmetatable({}, {
  __index = function(_, level)
    if level == "set_serialize_value" then
      return ask("log.set_serialize_value")
    end
    return function(...)
      return bridge.call("log.write", level, ...)
    end
  end,
  __call = function(_, ...)
    return bridge.call("log.write", "notice", ...)
  end,
})

local ctx = setmetatable({}, {
  __index = function(_, name)
    return bridge[name]
  end,
})

local kong = {
  version = "3.9.3",
  version_num = 3009003,
  request = questions("request"),
  response = questions("response"),
  client = questions("client"),
  router = questions("router"),
  node = questions("node"),
  ip = questions("ip"),
  service = questions("service", {
    request = questions("service.request"),
    response = questions("service.response"),
  }),
  log = log,
  ctx = ctx,
  table = {
    new = function() return {} end,
    clear = function(t) for key in pairs(t) do t[key] = nil end end,
    merge = function(a, b)
      local all = {}
      for key, value in pairs(a or {}) do all[key] = value end
      for key, value in pairs(b or {}) do all[key] = value end
      return all
    end,
  },
}

local ngx = {
  ERR = 4, WARN = 5, NOTICE = 6, INFO = 7, DEBUG = 8, CRIT = 3, ALERT = 2, EMERG = 1, STDERR = 0,
  OK = 0, ERROR = -1, AGAIN = -2, DONE = -4, DECLINED = -5,
  HTTP_OK = 200, HTTP_CREATED = 201, HTTP_ACCEPTED = 202, HTTP_NO_CONTENT = 204,
  HTTP_MOVED_PERMANENTLY = 301, HTTP_MOVED_TEMPORARILY = 302, HTTP_SEE_OTHER = 303, HTTP_NOT_MODIFIED = 304,
  HTTP_BAD_REQUEST = 400, HTTP_UNAUTHORIZED = 401, HTTP_FORBIDDEN = 403, HTTP_NOT_FOUND = 404,
  HTTP_NOT_ALLOWED = 405, HTTP_CONFLICT = 409, HTTP_TOO_MANY_REQUESTS = 429,
  HTTP_INTERNAL_SERVER_ERROR = 500, HTTP_BAD_GATEWAY = 502, HTTP_SERVICE_UNAVAILABLE = 503,
  HTTP_GET = 2, HTTP_HEAD = 4, HTTP_PUT = 16, HTTP_POST = 8, HTTP_DELETE = 32,
  var = setmetatable({}, {
    __index = function(_, name) return bridge.call("ngx.var", name) end,
    __newindex = function() end,
  }),
  header = setmetatable({}, {
    __index = function(_, name) return bridge.call("response.get_header", name) end,
    __newindex = function(_, name, value)
      if value == nil then return bridge.call("response.clear_header", name) end
      return bridge.call("response.set_header", name, value)
    end,
  }),
  req = {
    get_headers = ask("request.get_headers"),
    get_method = ask("request.get_method"),
    get_uri_args = ask("request.get_query"),
    get_post_args = ask("request.get_body"),
    get_body_data = ask("request.get_raw_body"),
    http_version = ask("request.get_http_version"),
    start_time = ask("request.get_start_time_seconds"),
    read_body = function() end,
    set_header = ask("service.request.set_header"),
    clear_header = ask("service.request.clear_header"),
    set_method = ask("service.request.set_method"),
    set_uri_args = ask("service.request.set_raw_query"),
    set_body_data = ask("service.request.set_raw_body"),
  },
  re = {},
  log = function(_, ...) return bridge.call("log.write", "notice", ...) end,
  say = function(...) return bridge.call("ngx.say", ...) end,
}
ngx.null = setmetatable({}, { __tostring = function() return "null" end })
ngx.re.find = function(text, pattern, options)
  local found = bridge.call("ngx.re", text, pattern, options or "")
  if found then return found.from, found.to end
end
ngx.re.match = function(text, pattern, options)
  local found = bridge.call("ngx.re", text, pattern, options or "")
  return found and found.groups
end
local function gsub(text, pattern, replacement, options, most)
  local done, count = {}, 0
  while count < most do
    local found = bridge.call("ngx.re", text, pattern, options or "")
    if not found or found.to < found.from then break end
    local new = replacement
    if type(replacement) == "function" then
      new = tostring(replacement(found.groups))
    else
      new = replacement:gsub("%$(%$?)(%d*)", function(twice, digits)
        if twice ~= "" then return "$" .. digits end
        return found.groups[tonumber(digits)] or ""
      end)
    end
    done[#done + 1] = text:sub(1, found.from - 1) .. new
    text, count = text:sub(found.to + 1), count + 1
  end
  return table.concat(done) .. text, count
end
ngx.re.gsub = function(text, pattern, replacement, options)
  return gsub(text, pattern, replacement, options, math.huge)
end
ngx.re.sub = function(text, pattern, replacement, options)
  return gsub(text, pattern, replacement, options, 1)
end
setmetatable(ngx, {
  __index = function(_, name)
    if name == "ctx" or name == "arg" then return bridge["ngx_" .. name] end
    if name == "status" then return bridge.call("response.get_status") end
    return ask("ngx." .. tostring(name))
  end,
  __newindex = function(_, name, value)
    if name == "status" then return bridge.call("response.set_status", value) end
  end,
})

local function copy(from, names)
  local to = {}
  for name in names:gmatch("%S+") do to[name] = from[name] end
  return to
end

local strings = copy(string, "byte char find format gmatch gsub len lower match reverse sub upper")
strings.rep = function(text, times)
  if #text * times > 1e6 then error("string.rep: result too long") end
  return text:rep(times)
end
-- Methods of strings are the same functions.
getmetatable("").__index = strings

local environment = copy(_G, "_VERSION assert error ipairs next pairs pcall select tonumber tostring type unpack xpcall")
environment.setmetatable, environment.getmetatable = setmetatable, function(value)
  -- The metatable of strings belongs to everyone.
  if type(value) == "string" then return nil end
  return getmetatable(value)
end
environment.rawget, environment.rawset, environment.rawequal = rawget, rawset, rawequal
environment.string, environment.table = strings, copy(table, "concat insert maxn remove sort")
environment.math = copy(math, "abs acos asin atan atan2 ceil cos cosh deg exp floor fmod frexp huge ldexp log log10 max min modf pi pow rad random randomseed sin sinh sqrt tan tanh")
environment.os = copy(os, "clock date difftime time")
environment.coroutine = copy(coroutine, "create resume running status wrap yield")
environment.bit = questions("bit")
environment.kong, environment.ngx = kong, ngx
environment.print = function(...) return bridge.call("log.write", "notice", ...) end
environment.require = function(name)
  error("require '" .. tostring(name) .. "' not allowed within sandbox")
end
environment._G = environment

return environment, bridge
