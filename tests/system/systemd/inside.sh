#!/bin/bash
# Runs as root on a throwaway machine with a systemd, in the root of the source.
. tests/system/lib.sh

units=/etc/systemd/system
version=${WITH_SYSTEMD_VERSION%%[!0-9]*}

# --- tools ------------------------------------------------------------------

# config [LINE]...: the configuration, with further lines at its end.
config() {
  cat <<TOML
[admin]
group = "netd-admin"

[log]
target = "${log_target:-auto}"

[drain]
timeout = "${drain_timeout:-60s}"

[[listener]]
name = "web"
address = "0.0.0.0:80"
protocol = "tcp"
pool = "app"
accelerate = "${accelerate:-auto}"

[[listener]]
name = "hello"
address = "127.0.0.1:81"
protocol = "respond"
text = "${hello:-hello}\n"

[[pool]]
name = "app"
endpoints = ["127.0.0.1:9001"]
TOML
  printf '%s\n' "$@"
}
write_config() { config "$@" >/etc/netd/netd.toml; }

# A listener for write_config.
listener() { # NAME PORT TEXT
  printf '[[listener]]\nname = "%s"\naddress = "127.0.0.1:%s"\nprotocol = "respond"\ntext = "%s\\n"\n' "$@"
}

# drop_in [LINE]...: the service's settings besides its unit file; none: only those.
drop_in() {
  rm -rf "$units/netd.service.d"
  if [ $# -gt 0 ]; then
    mkdir -p "$units/netd.service.d"
    printf '%s\n' '[Service]' "$@" >"$units/netd.service.d/test.conf"
  fi
  systemctl daemon-reload
}

property() { systemctl show --property="$1" --value netd.service; }
main_pid() { property MainPID; }
state_is() { same "$(property ActiveState)" "$1"; }
log() { journalctl --quiet --no-pager --unit netd.service "$@"; }
fresh() { # a service that runs with nothing on its record
  systemctl stop netd.service
  systemctl reset-failed netd.service 2>/dev/null
  systemctl start netd.service
}
replaced() { # another process than PID serves
  local now
  now=$(main_pid)
  [ "$now" != 0 ] && [ "$now" != "$1" ] && state_is active
}
field() { # of a process: field PID NAME
  sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

# --- installing ---------------------------------------------------------------

# The commands of deploy/README.md themselves, up to the start.
sed -n '/^```sh$/,/^```$/{//d;p}' deploy/README.md | sed "s|target/release|$NETD_BIN_DIR|; /^systemctl enable/,\$d" >/tmp/install.sh
check "deploy/README.md installs it" bash -euo pipefail /tmp/install.sh
cp deploy/netd.socket "$units/"
python3 tests/system/echo.py 9001 &
within 20 echoes 9001

quiet() { same "$("$@" 2>&1)" ""; }
check "systemd-analyze verify has nothing to say of netd.service" quiet systemd-analyze verify netd.service
check "systemd-analyze verify has nothing to say of netd.socket" quiet systemd-analyze verify netd.socket
mkdir /tmp/forking && cp deploy/netd-forking.service /tmp/forking/netd.service
check "systemd-analyze verify has nothing to say of the forking variant" quiet systemd-analyze verify /tmp/forking/netd.service
check "exposure of netd.service is at most 2.0" systemd-analyze security --offline=yes --threshold=20 "$units/netd.service"
check "exposure of the forking variant is at most 2.0" \
  systemd-analyze security --offline=yes --threshold=20 /tmp/forking/netd.service

# --- start --------------------------------------------------------------------

write_config
check "systemctl enable --now" systemctl enable --now netd.service
check "active when systemctl returns" state_is active
check "traffic flows when systemctl returns" echoes 80
check "a respond listener answers" says 81 hello
check "systemctl status shows what netd says of itself" \
  within 20 has 'Status: "serving.* 2 listeners' systemctl status --no-pager netd.service
exec {live}<>/dev/tcp/127.0.0.1/80
check "with live figures" within 20 has 'Status: "serving.* 1 connection[^s]' systemctl status --no-pager netd.service
exec {live}>&-

pid=$(main_pid)
check "it runs as netd" same "$(ps -o user= -p "$pid")" netd
check "its only capability is to bind low ports" same "$(field "$pid" CapEff)" 0000000000000400
check "it cannot gain privileges" same "$(field "$pid" NoNewPrivs)" 1
check "system calls are filtered" same "$(field "$pid" Seccomp)" 2
check "as many files as the limit allows" \
  same "$(awk '/Max open files/ {print ($4 == $5)}' "/proc/$pid/limits")" 1
check "netctl status as root" has '^state +serving' netctl status
useradd --groups netd-admin anna
check "netctl status as a member of admin.group" has '^state +serving' setpriv --reuid anna --regid anna --init-groups netctl status
check "nobody else may" not setpriv --reuid nobody --regid nogroup --clear-groups netctl status
check "metrics are served" has '^netd_build_info' curl -sf http://127.0.0.1:9464/metrics
check "it is ready" has ready curl -sf http://127.0.0.1:9464/readyz

# What the sandbox would forbid shows here, if anywhere.
head -c 30000000 /dev/urandom >/tmp/bulk
there_and_back() { same "$(socat -t 60 - TCP:127.0.0.1:80 </tmp/bulk | sha256sum)" "$(sha256sum </tmp/bulk)"; }
check "30 MB there and back" there_and_back
accelerate=splice write_config
check "a listener that splices" systemctl reload netd.service
check "30 MB there and back, spliced" there_and_back
write_config
check "as before" systemctl reload netd.service

# --- the journal ----------------------------------------------------------------

check "lines in the journal are netd's own, with a priority" \
  has '"PRIORITY":"6".*"SYSLOG_IDENTIFIER":"netd"|"SYSLOG_IDENTIFIER":"netd".*"PRIORITY":"6"' log -o json

# --- reload ---------------------------------------------------------------------

write_config "$(listener extra 82 extra)"
check "systemctl reload succeeds" systemctl reload netd.service
check "and the change is in force when it returns" says 82 extra
check "by the same process" same "$(main_pid)" "$pid"
check "the journal has the change as fields" has '"NETD_EVENT":"' log -o json
check "and who asked for it" has '"NETD_WHO":"systemd"' log -o json

hello=changed write_config "$(listener extra 82 extra)"
kill -HUP "$pid"
check "SIGHUP applies a change" within 20 says 81 changed

echo 'adress = "127.0.0.1:83"' >>/etc/netd/netd.toml
check "systemctl reload fails for a bad file" not systemctl reload netd.service
check "netd goes on" state_is active
check "as the same process" same "$(main_pid)" "$pid"
check "with the configuration it had" says 81 changed
check "the reason is in the journal" has 'unknown key .adress' log
check "the metrics say so" has '^netd_config_last_reload_successful 0' curl -sf http://127.0.0.1:9464/metrics
check "netctl status says so" has '^last reload +.*(refused|failed)' netctl status
since=$(date '+%F %T.%6N')
kill -HUP "$pid"
check "the reason is in the journal after SIGHUP, as a warning" \
  within 20 has 'unknown key .adress' log --since "$since" --priority warning
check "netd goes on after that" says 81 changed
write_config
check "a good file heals it" systemctl reload netd.service
check "the metrics say that, too" has '^netd_config_last_reload_successful 1' curl -sf http://127.0.0.1:9464/metrics

# --- Type=notify-reload, for those who prefer it -------------------------------

if [ "$version" -ge 253 ]; then
  drop_in Type=notify-reload ExecReload=
  fresh
  write_config "$(listener extra 82 extra)"
  check "Type=notify-reload: systemctl reload succeeds" timeout 60 systemctl reload netd.service
  check "Type=notify-reload: the change is in force when it returns" says 82 extra
  drop_in Type=notify-reload
  fresh
  write_config
  check "reloaded twice at once: systemctl reload succeeds" timeout 60 systemctl reload netd.service
  check "reloaded twice at once: netd serves" echoes 80
  check "reloaded twice at once: and is active" within 20 state_is active
fi

# --- stop -----------------------------------------------------------------------

drop_in
fresh
exec {live}<>/dev/tcp/127.0.0.1/80
echo before >&"$live"
IFS= read -r -t 20 -u "$live" answer
check "a connection is open" same "$answer" before
systemctl stop netd.service {live}>&- &
stop=$!
check "stop drains" within 20 has 'Status: "drain' systemctl status --no-pager netd.service
check "the service is on its way out" state_is deactivating
check "nobody new is let in" within 20 not echoes 80
echo after >&"$live"
IFS= read -r -t 20 -u "$live" answer
check "the connection that was open goes on" same "$answer" after
exec {live}>&-
wait "$stop"
check "stop ends with the last connection" same "$?" 0
check "in good order" same "$(property Result)" success
check "the admin socket is gone" not test -e /run/netd/admin.sock

# The drain lasts longer than TimeoutStopSec=: netd asks for more time.
drop_in TimeoutStopSec=3s
drain_timeout=12s write_config
fresh
pid=$(main_pid)
exec {live}<>/dev/tcp/127.0.0.1/80
began=$SECONDS
systemctl stop netd.service
check "a drain may last longer than TimeoutStopSec=" test $((SECONDS - began)) -ge 10
check "and ends in good order" same "$(property Result)" success
IFS= read -r -t 20 -u "$live" answer
check "the connection was cut at drain.timeout" same "$?" 1
exec {live}>&-
write_config

check "a stop by the admin API" systemctl start netd.service
check "netctl shutdown" netctl shutdown
check "is a clean end, after which nothing is started again" within 20 state_is inactive

# --- upgrade --------------------------------------------------------------------

drop_in
write_config
fresh
pid=$(main_pid)
exec {live}<>/dev/tcp/127.0.0.1/80
echo before >&"$live"
IFS= read -r -t 20 -u "$live" answer
check "a connection is open before the upgrade" same "$answer" before
check "netctl upgrade" has 'upgraded' netctl upgrade
check "systemd knows the new process" within 20 replaced "$pid"
new=$(main_pid)
check "netctl speaks with it" has "$new" netctl status -o json
check "systemctl status shows it" has "Main PID: $new" systemctl status --no-pager netd.service
check "the old one is gone" within 20 not kill -0 "$pid"
check "no restart is counted" same "$(property NRestarts)" 0
echo after >&"$live"
IFS= read -r -t 20 -u "$live" answer
check "the connection that was open goes on" same "$answer" after
write_config "$(listener extra 82 extra)"
check "systemctl reload after an upgrade" systemctl reload netd.service
check "the change is in force" says 82 extra
check "SIGUSR2 upgrades again" kill -USR2 "$new"
check "to yet another process" within 20 replaced "$new"
new=$(main_pid)
check "which has the same sandbox" same "$(field "$new" Seccomp) $(field "$new" CapEff)" "2 0000000000000400"
check "status is fed by it" within 20 has 'Status: "serving.* 3 listeners' systemctl status --no-pager netd.service
drop_in WatchdogSec=3s
check "a failed upgrade" not netctl upgrade --binary /bin/false
check "leaves the process as it is" same "$(main_pid)" "$new"
echo still >&"$live"
IFS= read -r -t 20 -u "$live" answer
check "and the connection" same "$answer" still
exec {live}>&-
check "systemctl stop stops the new one" systemctl stop netd.service
check "it is gone" not kill -0 "$new"
check "in good order" same "$(property Result)" success
check "the admin socket is gone with it" not test -e /run/netd/admin.sock
drop_in

# --- sockets outlive a crash ----------------------------------------------------

stored() { property NFileDescriptorStore; }
stored_is() { same "$(stored)" "$1"; }
some_stored() { [ "$(stored)" -ge "$1" ]; }
write_config
fresh
check "systemd keeps the listening sockets" within 20 some_stored 2
count=$(stored)
crash() { # PORT|PATH TEXT: whatever is in the queues when netd is killed is served
  python3 tests/system/systemd/crash.py "$1" "$(main_pid)" "$2"
}
pid=$(main_pid)
check "killed with full accept queues: none lost, none refused" crash 81 hello
check "by another process" within 20 replaced "$pid"
check "the log says that it goes on with them" has 'goes on with the sockets of an earlier netd' log
check "none was added" within 20 stored_is "$count"
check "relayed connections too" echoes 80
netctl stop hello >/dev/null
check "a listener that is stopped is not kept" within 20 not stored_is "$count"
check "and refuses" within 20 not says 81 hello
netctl start hello >/dev/null
check "started, it is kept again" within 20 stored_is "$count"
check "and answers" within 20 says 81 hello
pid=$(main_pid)
check "an upgrade" netctl upgrade
check "after which all are kept" within 20 stored_is "$count"
check "killed after an upgrade: none lost, none refused" crash 81 hello
check "another process after that" within 20 replaced "$pid"
write_config "$(listener extra 82 extra)"
check "a reload that adds a listener" systemctl reload netd.service
check "keeps its sockets too" within 20 not stored_is "$count"
write_config
pid=$(main_pid)
kill -KILL "$pid"
check "killed, with a file that has it no more" within 60 replaced "$pid"
check "its sockets are forgotten" within 20 stored_is "$count"
check "nobody listens there" not says 82 extra
drop_in RuntimeDirectoryPreserve=restart
write_config "$(printf '[[listener]]\nname = "front"\naddress = "unix:/run/netd/front.sock"\nprotocol = "respond"\ntext = "front\\n"')"
check "a Unix-domain listener" systemctl reload netd.service
check "is kept, too" within 20 stored_is "$((count + 1))"
pid=$(main_pid)
check "killed with a full queue there: none lost, none refused" crash /run/netd/front.sock front
check "by another process, which has the socket" within 20 replaced "$pid"
check "and has it kept" within 20 stored_is "$((count + 1))"
write_config
check "removed by a reload" systemctl reload netd.service
check "it is not kept" within 20 stored_is "$count"
check "and its file is gone" within 20 not test -e /run/netd/front.sock
pid=$(main_pid)
check "systemctl restart" systemctl restart netd.service
check "and what it leaves serves" within 20 says 81 hello
check "on as many sockets" within 20 stored_is "$count"
systemctl stop netd.service
check "after a stop nothing is kept" within 20 stored_is 0
check "and nobody listens" not echoes 80

# --- watchdog and crashes -------------------------------------------------------

drop_in WatchdogSec=3s TimeoutAbortSec=5s
fresh
pid=$(main_pid)
kill -STOP "$pid"
check "a process that hangs is replaced" within 60 replaced "$pid"
check "because of the watchdog" has '[Ww]atchdog' log --identifier systemd
check "traffic flows after that" echoes 80

fresh
pid=$(main_pid)
python3 tests/system/systemd/stall.py "$pid" netd-w0 &
stall=$!
check "one worker that hangs is enough" within 60 replaced "$pid"
check "the log says which" has 'worker 0' log --priority err
check "traffic flows after that, too" within 20 echoes 80
wait "$stall"

drop_in
fresh
pid=$(main_pid)
kill -KILL "$pid"
check "a process that was killed is replaced" within 60 replaced "$pid"
pid=$(main_pid)
kill -ABRT "$pid"
check "a process that crashed is replaced" within 60 replaced "$pid"
check "traffic flows after a crash" within 20 echoes 80

echo broken >/etc/netd/netd.toml
check "a start with a bad file fails" not systemctl restart netd.service
check "with status 78" same "$(property ExecMainStatus)" 78
check "and is not tried again" state_is failed
check "the journal has the reason" has 'netd.toml:1' log
write_config
systemctl reset-failed netd.service

# --- socket activation ------------------------------------------------------------

systemctl stop netd.service
# By name: the address is not the one of the file.
sed 's/=80$/=127.0.0.1:8181/; s/=web$/=hello/; s/^\[Socket\]/&\nService=netd.service/' deploy/netd.socket >"$units/netd-hello.socket"
systemctl daemon-reload
check "the sockets start without netd" systemctl start netd.socket netd-hello.socket
check "which does not run" state_is inactive
check "the first connection starts it, and is served" echoes 80
check "it is active" state_is active
check "a socket goes to the listener of its name" says 8181 hello
check "netctl shows it where it is" has '8181' netctl listeners
check "no socket is left over" not has 'no listener' log --since "-5s"
pid=$(main_pid)
# A client that connects all the time meets no refusal while netd restarts.
(
  refused=0
  while [ ! -e /tmp/enough ]; do
    echoes 80 >/dev/null 2>&1 || refused=$((refused + 1))
  done
  exit "$((refused > 99 ? 99 : refused))"
) &
client=$!
check "restart" systemctl restart netd.service
touch /tmp/enough
wait "$client"
check "during which no client was turned away" same "$?" 0
check "by another process" replaced "$pid"
systemctl stop netd.service 2>/dev/null
check "stopped, it comes back with the next connection" echoes 80
check "on both sockets" says 8181 hello
systemctl stop netd.socket netd-hello.socket netd.service
rm "$units/netd-hello.socket"

# --- DynamicUser= -------------------------------------------------------------------

drop_in DynamicUser=yes User=netd-dynamic Group=netd-dynamic SupplementaryGroups=netd-admin
chmod 0644 /etc/netd/netd.toml
check "DynamicUser=yes starts" systemctl start netd.service
check "as a user that is not there otherwise" has '^netd-dynamic' ps -o user:20= -p "$(main_pid)"
check "and serves low ports" echoes 80
check "and netctl" has '^state +serving' netctl status
systemctl stop netd.service
drop_in

# --- log files ----------------------------------------------------------------------

log_target=file:/var/log/netd/netd.log write_config
fresh
check "a log file" test -s /var/log/netd/netd.log
check "logrotate takes the configuration and rotates" logrotate --force /etc/logrotate.d/netd
check "the old file is put aside" test -s /var/log/netd/netd.log.1
netctl log-level debug >/dev/null && netctl log-level info >/dev/null
check "new lines are in the new file" within 20 has 'log level' cat /var/log/netd/netd.log
check "which only netd's own may read" same "$(stat -c '%U %a' /var/log/netd/netd.log)" "netd 640"
write_config
systemctl stop netd.service

# --- Type=forking -------------------------------------------------------------------

cp deploy/netd-forking.service "$units/netd.service"
systemctl daemon-reload
check "forking: starts" systemctl start netd.service
check "forking: traffic flows when systemctl returns" echoes 80
check "forking: systemd knows the process of the pid file" same "$(main_pid)" "$(cat /run/netd/netd.pid)"
check "forking: it runs as netd" same "$(ps -o user= -p "$(main_pid)")" netd
check "forking: netd --status" netd --status --pid-file /run/netd/netd.pid
check "forking: a second one is refused" \
  has "runs already" netd --daemon --config /etc/netd/netd.toml --pid-file /run/netd/netd.pid
write_config "$(listener extra 82 extra)"
check "forking: systemctl reload" systemctl reload netd.service
check "forking: the change is in force" says 82 extra
check "forking: its log is in the journal" has 'netd\[' log --identifier netd
pid=$(main_pid)
kill -KILL "$pid"
check "forking: replaced after a crash" within 60 replaced "$pid"
check "forking: the pid file is the new one's" same "$(main_pid)" "$(cat /run/netd/netd.pid)"
exec {live}<>/dev/tcp/127.0.0.1/80
echo before >&"$live"
IFS= read -r -t 20 -u "$live" answer
systemctl stop netd.service {live}>&- &
stop=$!
check "forking: stop drains" within 20 not echoes 80
echo after >&"$live"
IFS= read -r -t 20 -u "$live" answer
check "forking: the connection that was open goes on" same "$answer" after
exec {live}>&-
wait "$stop"
check "forking: stop ends with the last connection" same "$?" 0
check "forking: in good order" same "$(property Result)" success
check "forking: nothing is left" not pgrep -x netd
echo broken >/etc/netd/netd.toml
check "forking: a start with a bad file fails" not systemctl start netd.service
check "forking: the journal has the reason" has 'netd.toml:1' log

finish "systemd-$version"
