-- Sends tokens from a file: one again and again ("one"), or a new one with each request ("each"),
-- from a given line on. With the headers that HAProxy's action sends.
local tokens = {}
local each = false
local path = "/verify/orders"
local position = 0

function init(args)
    each = args[2] == "each"
    local first = tonumber(args[3]) or 1
    path = args[4] or path
    local line = 0
    for token in io.lines(args[1]) do
        line = line + 1
        if line >= first then
            tokens[#tokens + 1] = token
            if not each then
                break
            end
        end
    end
end

function request()
    position = each and position + 1 or 1
    if position > #tokens then
        -- A second round would find the tokens in the cache.
        wrk.thread:stop()
    end
    return wrk.format("GET", path, {
        ["Authorization"] = "Bearer " .. (tokens[position] or tokens[1]),
        ["X-Request-Id"] = "4bf92f3577b34da6a3ce929d0e0e4736",
        ["X-Forwarded-Method"] = "GET",
        ["X-Forwarded-Proto"] = "https",
        ["X-Forwarded-Host"] = "orders.contoso.example",
        ["X-Forwarded-Uri"] = "/orders/4711",
        ["X-Forwarded-For"] = "192.0.2.7",
    })
end

function done(summary, latency)
    local seconds = summary.duration / 1e6
    local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
    print(string.format(
        'RESULT {"requests":%d,"seconds":%.4f,"p50Us":%d,"p99Us":%d,"errors":%d}',
        summary.requests, seconds, latency:percentile(50), latency:percentile(99), errors
    ))
end
