#!/bin/bash
# Clients and servers as users have them, through netd: curl and an HTTP server,
# psql and PostgreSQL, redis-cli and Redis, and a Python program on the admin API.
#
# Needs Debian's curl, python3-venv, postgresql, redis-server, and PyPI.
# NETD_BIN_DIR: where the built netd and netctl are, default target/release.
cd "$(dirname "$0")/../.." || exit
. tests/system/lib.sh
bin=${NETD_BIN_DIR:-target/release}
work=$(mktemp -d)
chmod 0755 "$work"
pid_pg=
# INT is the fast way to stop PostgreSQL; with TERM it waits for its clients.
trap 'kill -INT $pid_pg 2>/dev/null; kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
pg_bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
PATH=$PATH:$pg_bin
needs curl python3 redis-server redis-cli redis-benchmark psql postgres initdb pgbench setpriv

for name in http_1 http_2 redis pg in_http in_redis in_pg; do
  declare "$name=$(free_port)"
done

# --- servers ----------------------------------------------------------------------

for number in 1 2; do
  mkdir "$work/www-$number"
  echo "server $number" >"$work/www-$number/name"
  port=http_$number
  python3 -m http.server --bind 127.0.0.1 --directory "$work/www-$number" "${!port}" >/dev/null 2>&1 &
  declare "pid_http_$number=$!"
done
head -c 20000000 /dev/urandom >"$work/www-1/bulk"
cp "$work/www-1/bulk" "$work/www-2/bulk"

redis-server --port "$redis" --bind 127.0.0.1 --save '' --dir "$work" >"$work/redis.log" 2>&1 &

install -d -o postgres "$work/pg" "$work/pg-socket"
as_postgres() { (exec setpriv --reuid postgres --regid postgres --init-groups -- "$@"); }
check "initdb" as_postgres initdb -D "$work/pg" --auth trust --no-sync
setpriv --reuid postgres --regid postgres --init-groups -- \
  "$pg_bin/postgres" -D "$work/pg" -p "$pg" -h 127.0.0.1 -k "$work/pg-socket" -F >"$work/pg.log" 2>&1 &
pid_pg=$!

# --- netd -------------------------------------------------------------------------

cat >"$work/netd.toml" <<TOML
[admin]
unix = "$work/admin.sock"
[metrics]
listen = "off"
[log]
target = "file:$work/netd.log"
[drain]
timeout = "5s"

[[listener]]
name = "web"
address = "127.0.0.1:$in_http"
protocol = "tcp"
pool = "web"
[[pool]]
name = "web"
endpoints = ["127.0.0.1:$http_1", "127.0.0.1:$http_2"]

[[listener]]
name = "redis"
address = "127.0.0.1:$in_redis"
protocol = "tcp"
pool = "redis"
[[pool]]
name = "redis"
endpoints = ["127.0.0.1:$redis"]
[pool.health]
kind = "redis"
interval = "1s"

# One server by two ways; and a Unix socket to come in by.
[[listener]]
name = "postgres"
address = "127.0.0.1:$in_pg"
protocol = "tcp"
pool = "postgres"
[[listener]]
name = "postgres-local"
address = "unix:$work/.s.PGSQL.$in_pg"
protocol = "tcp"
pool = "postgres"
[[pool]]
name = "postgres"
endpoints = ["127.0.0.1:$pg", "unix:$work/pg-socket/.s.PGSQL.$pg"]
[pool.health]
kind = "postgres"
interval = "1s"
TOML
check "netd --check" "$bin/netd" --check --config "$work/netd.toml"
"$bin/netd" --config "$work/netd.toml" &
netctl() { "$bin/netctl" --admin "unix:$work/admin.sock" "$@"; }
check "netd serves" within 30 has '^state +serving' netctl status

# --- curl ---------------------------------------------------------------------------

fetch() { curl -sSf --max-time 60 "http://127.0.0.1:$in_http/$1"; }
check "curl: both servers are up" within 30 curl -sf "http://127.0.0.1:$http_1/name" "http://127.0.0.1:$http_2/name"
check "curl: an answer" has '^server [12]$' fetch name
names() { for _ in {1..10}; do fetch name; done | sort | uniq -c; }
# Each worker goes round by itself, so the shares of ten may differ a little.
check "curl: both servers get their share" has '^[2-8] [2-8]$' sh -c "echo $(names | awk '{ print $1 }' | xargs)"
check "curl: 20 MB arrive as they were sent" \
  same "$(fetch bulk | sha256sum)" "$(sha256sum <"$work/www-1/bulk")"
check "curl: a slow reader gets them all, too" \
  same "$(curl -sSf --limit-rate 15M "http://127.0.0.1:$in_http/bulk" | sha256sum)" "$(sha256sum <"$work/www-1/bulk")"
check "curl: many at once" \
  curl -sSf --parallel --parallel-max 50 --max-time 60 -o /dev/null "http://127.0.0.1:$in_http/name?[1-200]"
kill "$pid_http_1"
wait "$pid_http_1" 2>/dev/null
check "curl: with one server dead nobody notices" same "$(names | tr -s ' ')" ' 10 server 2'
check "netctl shows which one" has "127.0.0.1:$http_1 +failing" netctl pools web

# --- Redis --------------------------------------------------------------------------

ask_redis() { redis-cli -p "$in_redis" "$@"; }
check "redis: the server is healthy" within 30 has "127.0.0.1:$redis: healthy" netctl pools redis
check "redis: ping" within 30 has '^PONG$' ask_redis ping
check "redis: set" has '^OK$' ask_redis set key value
check "redis: get" has '^value$' ask_redis get key
head -c 1000000 /dev/urandom | base64 -w 0 >"$work/value"
check "redis: set a big value" has '^OK$' ask_redis -x set big <"$work/value"
check "redis: get a big value" same "$(ask_redis get big | sha256sum)" "$( (cat "$work/value"; echo) | sha256sum)"
check "redis: 20 clients, pipelined" \
  has 'SET.*requests per second' redis-benchmark -h 127.0.0.1 -p "$in_redis" -q -n 5000 -c 20 -P 8 -t set,get
(redis-cli -p "$in_redis" subscribe channel >"$work/heard") &
subscriber=$!
check "redis: a subscriber is there" within 30 has '^1$' ask_redis publish channel news
check "redis: and hears" within 30 grep -q news "$work/heard"
kill "$subscriber"

# --- PostgreSQL -----------------------------------------------------------------------

sql() { psql -X -At -h 127.0.0.1 -p "$in_pg" -U postgres -d postgres "$@"; }
check "postgres: is up" within 60 as_postgres pg_isready -q -h 127.0.0.1 -p "$pg"
check "postgres: the server is healthy over TCP" within 30 has "127.0.0.1:$pg: healthy" netctl pools postgres
check "postgres: and over a Unix socket" within 30 has "s.PGSQL.$pg: healthy" netctl pools postgres
check "postgres: a query over TCP" has '^42$' sql -c 'select 42'
check "postgres: a query over a Unix socket" \
  has '^42$' psql -X -At -h "$work" -p "$in_pg" -U postgres -d postgres -c 'select 42'
check "postgres: both endpoints are used" \
  has '2' sh -c "for i in 1 2 3 4; do psql -X -At -h 127.0.0.1 -p $in_pg -U postgres -c 'select inet_client_addr() is null'; done | sort -u | wc -l"
check "postgres: 10 MB in one row" \
  same "$(sql -c "select repeat('0123456789', 1000000)" | md5sum)" "$(sql -h "$work/pg-socket" -p "$pg" -c "select repeat('0123456789', 1000000)" | md5sum)"
check "postgres: COPY in" sh -c "seq 200000 | psql -X -h 127.0.0.1 -p $in_pg -U postgres -c 'create table numbers (n int)' -c 'copy numbers from stdin'"
check "postgres: all of it is there" has '^200000\|20000100000$' sql -c 'select count(*), sum(n) from numbers'
check "postgres: a wrong query is the client's to hear" has 'does not exist' sql -c 'select * from absent'
check "pgbench: makes its tables" pgbench -q -i -s 1 -h 127.0.0.1 -p "$in_pg" -U postgres postgres
check "pgbench: 8 clients" \
  has 'number of failed transactions: 0 ' pgbench -c 8 -j 2 -t 50 -h 127.0.0.1 -p "$in_pg" -U postgres postgres
check "pgbench: a new connection for each transaction" \
  has 'number of failed transactions: 0 ' pgbench -C -S -c 4 -t 25 -h 127.0.0.1 -p "$in_pg" -U postgres postgres

# A session that is open lives through a drain of the pool; new ones do not come in.
coproc session { sql 2>&1; }
ask_session() {
  local answer=
  printf '%s;\n' "$1" >&"${session[1]}"
  IFS= read -r -t 20 answer <&"${session[0]}"
  same "$answer" "$2"
}
check "postgres: a session" ask_session 'select 1' 1
for endpoint in "127.0.0.1:$pg" "unix:$work/pg-socket/.s.PGSQL.$pg"; do
  netctl set postgres "$endpoint" --drain --why "server update" >/dev/null
done
check "postgres: it goes on while its endpoint drains" ask_session 'select 2' 2
check "postgres: a new one finds no endpoint" not sql -c 'select 42'
check "netctl why tells the reason" has 'server update' netctl why "endpoint/postgres/127.0.0.1:$pg"
for endpoint in "127.0.0.1:$pg" "unix:$work/pg-socket/.s.PGSQL.$pg"; do
  netctl set postgres "$endpoint" --clear >/dev/null
done
check "postgres: back again" has '^42$' sql -c 'select 42'
check "postgres: the session is still there" ask_session 'select 3' 3
only_session() { # the id of the one connection that is left
  netctl connections --listener postgres --output json |
    python3 -c 'import json, sys; ids = [json.loads(line)["id"] for line in sys.stdin]; print(*ids); sys.exit(len(ids) != 1)'
}
check "netctl shows the session and no other" within 20 only_session
connection=$(only_session)
check "netctl closes one connection" has 'Closed 1 connection' netctl close "$connection"
check "postgres: the session is told" not ask_session 'select 4' 4

# --- Python on the admin API -------------------------------------------------------

venv=target/system-tests/venv
check "a Python environment" python3 -m venv "$venv"
check "with gRPC" "$venv/bin/pip" install --quiet --disable-pip-version-check \
  grpcio grpcio-reflection grpcio-health-checking protobuf
"$venv/bin/python" tests/system/grpc_client.py "$work/admin.sock" redis >"$work/grpc" 2>&1
check "grpc: every test has run and passed" same "$?" 0
while read -r verdict name rest; do
  check "grpc: ${name//_/ }" same "$verdict $rest" "ok "
done <"$work/grpc"

# --- the end ------------------------------------------------------------------------

check "nothing is left open" within 30 has '^connections +0 open' netctl status
check "no error in the log" not grep -E ' (ERROR|panic)' "$work/netd.log"
check "netctl drain ends with 0" netctl drain
check "netctl shutdown" netctl shutdown
[ "$failed" -eq 0 ] || tail -n 20 "$work"/*.log
finish clients
