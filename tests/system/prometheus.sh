#!/bin/bash
# A real Prometheus scrapes netd; promtool judges the metrics and the examples.
#
# Needs prometheus and promtool (Debian's package prometheus), curl, python3.
# NETD_BIN_DIR: where the built netd and netctl are, default target/release.
cd "$(dirname "$0")/../.." || exit
. tests/system/lib.sh
bin=${NETD_BIN_DIR:-target/release}
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
needs prometheus promtool curl python3

metrics=$(free_port)
web=$(free_port)
upstream=$(free_port)
api=$(free_port)

python3 tests/system/echo.py "$upstream" &
"$bin/netd" --listen "127.0.0.1:$web" --upstream "127.0.0.1:$upstream" --metrics "127.0.0.1:$metrics" \
  --admin "unix:$work/admin.sock" --log "file:$work/netd.log" &
check "netd serves" within 30 echoes "$web"
for text in one two three; do echoes "$web" "$text" >/dev/null; done

# --- promtool -------------------------------------------------------------------

scrape() { curl -sf "$@" "http://127.0.0.1:$metrics/metrics"; }
lint() { same "$(scrape "$@" | promtool check metrics 2>&1)" ""; }
check "promtool check metrics has nothing to say" lint
check "promtool check config deploy/prometheus.yml" promtool check config deploy/prometheus.yml
sed -n '/^groups:$/,/^```$/{/^```$/d;p}' docs/metrics.md >"$work/rules.yml"
check "docs/metrics.md has alerts" grep -q 'alert: NetdDown' "$work/rules.yml"
check "promtool check rules on them" promtool check rules "$work/rules.yml"

# --- Prometheus -----------------------------------------------------------------

# The example, with another port, more often, and with the alerts.
sed "s/127\.0\.0\.1:9464/127.0.0.1:$metrics/; s/scrape_interval: 15s/scrape_interval: 1s\n  evaluation_interval: 1s/" \
  deploy/prometheus.yml >"$work/prometheus.yml"
printf 'rule_files: ["%s"]\n' "$work/rules.yml" >>"$work/prometheus.yml"
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
  --web.listen-address="127.0.0.1:$api" >"$work/prometheus.log" 2>&1 &

# query EXPRESSION: the values of an instant vector, a line each.
query() {
  curl -sf --data-urlencode "query=$1" "http://127.0.0.1:$api/api/v1/query" |
    python3 -c 'import json, sys; [print(row["value"][1]) for row in json.load(sys.stdin)["data"]["result"]]'
}
value_is() { same "$(query "$1")" "$2"; }
at_least() { query "$1" | awk -v least="$2" 'NR == 1 && $1 >= least { found = 1 } { print } END { exit !found }'; }

check "Prometheus is ready" within 60 curl -sf "http://127.0.0.1:$api/-/ready"
check "up is 1" within 60 value_is 'up{job="netd"}' 1
check "it counts what was accepted" \
  within 60 at_least 'netd_listener_connections_accepted_total{listener="listen-1"}' 4
check "and what ended well" \
  within 60 at_least 'sum(netd_listener_connections_closed_total{cause="end"})' 4
check "and the endpoint's connections" within 60 at_least 'netd_endpoint_connections_total{pool="upstream"}' 4
check "histograms can be queried" \
  within 60 at_least 'histogram_quantile(0.99, sum by (le) (netd_endpoint_connect_time_seconds_bucket)) * 1e9' 1
check "the version is a label" within 60 has 'ok' \
  sh -c "curl -sf --data-urlencode 'query=netd_build_info{version!=\"\"}' http://127.0.0.1:$api/api/v1/query | grep -q '\"version\":\"' && echo ok"
check "the process is seen" at_least 'process_open_fds{job="netd"}' 5
check "it was scraped without a fault" value_is 'scrape_samples_scraped{job="netd"} > bool 50' 1
check "every rule can be evaluated" \
  not has '"health":"(err|unknown)"' within 20 not has '"health":"unknown"' curl -sf "http://127.0.0.1:$api/api/v1/rules"

# A drain is seen: the state turns, the listener no longer accepts.
"$bin/netctl" --admin "unix:$work/admin.sock" drain >/dev/null 2>&1
check "a drain is seen" within 60 value_is 'netd_state{state="drained"}' 1
check "up stays 1 while drained" value_is 'up{job="netd"}' 1
"$bin/netctl" --admin "unix:$work/admin.sock" shutdown >/dev/null 2>&1
check "up is 0 after the end" within 60 value_is 'up{job="netd"}' 0
[ "$failed" -eq 0 ] || tail -n 20 "$work/netd.log" "$work/prometheus.log"
finish prometheus
