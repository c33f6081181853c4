# Private servers for the tests: PostgreSQL, MariaDB or MySQL, and Redis, in one temporary folder, on free ports, gone at the end.
# Sourced by `test`, which calls start_servers and stop_servers. Works with the bash 3.2 of macOS.
#
# What stands in $TEST_SERVERS_DIR, for tests that kill servers (nothing is there for a server that a TEST_*_URL named or Docker runs):
#   postgres.pid mysql.pid redis.pid   the process to kill or stop; written by the server itself at each start
#   postgres.run mysql.run redis.run   a shell script that becomes the server, same data, same port: run it to bring a killed one back
#   postgres.log mysql.log redis.log   what it says
#   .s.PGSQL.<port> mysql.sock redis.sock   Unix sockets

POSTGRES_IMAGE=postgres:17
MYSQL_IMAGE=mariadb:11.4
REDIS_IMAGE=redis:7

started_servers=""    # those of ours that are processes, in the order of their start
started_containers=""
servers_guard=""

# start_servers WORD..: starts those of postgres, mysql and redis that no TEST_*_URL names, and exports all the URLs.
start_servers() {
    local name wanted=""
    for name in "$@"; do
        if [ -n "$(url_of "$name")" ]; then
            say "$name: $(without_password "$(url_of "$name")") (given)"
        else
            wanted="$wanted $name"
        fi
    done
    [ -n "$wanted" ] || return 0

    TEST_SERVERS_DIR=$(mktemp -d "$(short_temporary_folder)/app_kernel_test.XXXXXX") || return 1
    export TEST_SERVERS_DIR
    chmod 711 "$TEST_SERVERS_DIR" # the servers' own user must get through
    guard_servers

    # shellcheck disable=SC2086
    install_missing $wanted
    for name in $wanted; do
        if [ -n "$(binary_of "$name")" ]; then
            start_process "$name" || return 1
        elif docker info >/dev/null 2>&1; then
            start_container "$name" || return 1
        else
            complain "$name: there is no server here. $(cure_for "$name"), or set DATABASES=sqlite to run less."
            return 1
        fi
        say "$name: $(url_of "$name")"
    done
}

# Stops what start_servers started, in reverse, and removes the folder. May be called twice.
stop_servers() {
    local name reversed=""
    for name in $started_servers; do reversed="$name $reversed"; done
    for name in $reversed; do stop_process "$name"; done
    started_servers=""
    [ -z "$started_containers" ] || docker rm -f -v $started_containers >/dev/null 2>&1
    started_containers=""
    if [ -n "$servers_guard" ]; then
        kill -- "-$servers_guard" 2>/dev/null
        servers_guard=""
    fi
    if [ -n "${TEST_SERVERS_DIR:-}" ]; then
        rm -rf "$TEST_SERVERS_DIR"
        unset TEST_SERVERS_DIR
    fi
}

# Unix sockets have short names: 104 bytes on macOS, whose own temporary folder takes half of that.
# A test that starts servers of its own says where by TEST_SERVERS_HOME.
short_temporary_folder() {
    if [ -n "${TEST_SERVERS_HOME:-}" ]; then
        echo "$TEST_SERVERS_HOME"
    elif [ -w /tmp ]; then
        echo /tmp
    else
        echo "${TMPDIR:-/tmp}"
    fi
}

# --- names and addresses ---------------------------------------------------------------------------------------------------------

variable_of() {
    case $1 in
        postgres) echo TEST_POSTGRES_URL ;;
        mysql) echo TEST_MYSQL_URL ;;
        redis) echo TEST_REDIS_URL ;;
    esac
}

url_of() {
    local variable
    variable=$(variable_of "$1")
    echo "${!variable:-}"
}

without_password() { echo "$1" | sed 's|://\([^:@/]*\):[^@/]*@|://\1:…@|'; }

# export_url NAME PORT
export_url() {
    case $1 in
        postgres) export TEST_POSTGRES_URL="postgres://postgres@127.0.0.1:$2/postgres" ;;
        mysql) export TEST_MYSQL_URL="mysql://root@127.0.0.1:$2/mysql" ;;
        redis) export TEST_REDIS_URL="redis://127.0.0.1:$2" ;;
    esac
}

cure_for() {
    case $1 in
        postgres) echo "Install PostgreSQL 13 or newer (Debian: postgresql; macOS: brew install postgresql), start Docker, name one by TEST_POSTGRES_URL" ;;
        mysql) echo "Install MariaDB or MySQL 8 (Debian: mariadb-server; macOS: brew install mariadb), start Docker, name one by TEST_MYSQL_URL" ;;
        redis) echo "Install Redis 6 or newer (Debian: redis-server; macOS: brew install redis), start Docker, name one by TEST_REDIS_URL" ;;
    esac
}

# --- binaries --------------------------------------------------------------------------------------------------------------------

# The server's executable, or nothing. Debian keeps PostgreSQL and mysqld out of the PATH; Homebrew keeps versions apart.
binary_of() {
    case $1 in
        postgres) newest_postgres "$(command -v postgres)" \
            /usr/lib/postgresql/*/bin/postgres /usr/pgsql-*/bin/postgres /opt/homebrew/opt/postgresql*/bin/postgres /usr/local/opt/postgresql*/bin/postgres ;;
        mysql) first_executable "$(command -v mariadbd)" "$(command -v mysqld)" \
            /usr/sbin/mariadbd /usr/sbin/mysqld /usr/libexec/mysqld /opt/homebrew/bin/mariadbd /opt/homebrew/bin/mysqld ;;
        redis) first_executable "$(command -v redis-server)" "$(command -v valkey-server)" \
            /usr/bin/redis-server /usr/bin/valkey-server /opt/homebrew/bin/redis-server ;;
    esac
}

first_executable() {
    local file
    for file in "$@"; do
        if [ -x "$file" ]; then
            echo "$file"
            return
        fi
    done
}

# The PostgreSQL with the highest version that has initdb beside it.
newest_postgres() {
    local file
    for file in "$@"; do
        [ -x "$file" ] && [ -x "$(dirname "$file")/initdb" ] || continue
        echo "$("$file" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/') $file"
    done | sort -rn | head -1 | cut -d' ' -f2-
}

# Installs Debian's packages for the servers that have no binary, where that is allowed. Otherwise leaves it to Docker or to the person.
install_missing() {
    local name packages=""
    for name in "$@"; do
        [ -z "$(binary_of "$name")" ] || continue
        case $name in
            postgres) packages="$packages postgresql" ;;
            mysql) packages="$packages mariadb-server" ;;
            redis) packages="$packages redis-server" ;;
        esac
    done
    command -v curl >/dev/null || packages="$packages curl" # the README's session is run with it
    command -v promtool >/dev/null || packages="$packages prometheus" # looks at metrics and alerts
    case " $* " in *" postgres "*) [ -n "$(first_executable "$(command -v pgbouncer)" /usr/sbin/pgbouncer)" ] || packages="$packages pgbouncer" ;; esac
    python3 -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3 python3-venv" # ./test openapi
    [ -n "$packages" ] && command -v apt-get >/dev/null || return 0

    local sudo=""
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null || return 0
        sudo="sudo -n"
    fi
    say "installing$packages"
    # Debian's packages start their servers when installed; this file says no. It is ours only if nobody else's is there.
    local policy=/usr/sbin/policy-rc.d ours=""
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null && $sudo chmod 755 $policy && ours=yes
    fi
    local apt="env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
    # shellcheck disable=SC2086
    { $sudo $apt update && $sudo $apt install -y --no-install-recommends $packages; } </dev/null >"$TEST_SERVERS_DIR/apt.log" 2>&1 ||
        { complain "apt-get could not install$packages:"; tail -5 "$TEST_SERVERS_DIR/apt.log" >&2; }
    [ -z "$ours" ] || $sudo rm -f $policy
}

# --- processes -------------------------------------------------------------------------------------------------------------------

# Who runs the server: PostgreSQL refuses root, and the others should. Nothing where we are somebody already.
user_for() {
    [ "$(id -u)" = 0 ] || return 0
    local user
    for user in "$1" nobody; do
        if id "$user" >/dev/null 2>&1; then
            echo "$user"
            return
        fi
    done
}

# as_user_command USER: what to put before a command so that it runs as the user, in the same process.
as_user_command() {
    if [ -z "$1" ]; then
        echo exec
    elif command -v setpriv >/dev/null; then
        echo "exec setpriv --reuid=$1 --regid=$(id -gn "$1") --init-groups --"
    else
        echo "exec runuser -u $1 --"
    fi
}

start_process() {
    local name=$1 binary user port try
    local dir=$TEST_SERVERS_DIR
    binary=$(binary_of "$name")
    user=$(user_for "$name")
    mkdir "$dir/$name" && chmod 700 "$dir/$name" && : >"$dir/$name.pid" && : >"$dir/$name.log"
    [ -z "$user" ] || chown "$user" "$dir/$name" "$dir/$name.pid" "$dir/$name.log"
    # Sockets and pid files are made by the servers themselves, side by side, each by its own user.
    chmod 1777 "$dir"

    "prepare_$name" "$binary" "$user" >"$dir/$name.prepare.log" 2>&1 || {
        complain "$name: preparing the data folder failed:"
        head -20 "$dir/$name.prepare.log" >&2
        return 1
    }
    # Another run may take the port between our look and the server's; then the next one.
    for try in 1 2 3 4 5; do
        port=$(free_port)
        {
            echo '#!/bin/sh'
            echo "cd '$dir/$name' || exit 1"
            echo "$(as_user_command "$user") $("command_of_$name" "$binary" "$port") >>'$dir/$name.log' 2>&1"
        } >"$dir/$name.run"
        chmod 755 "$dir/$name.run"
        in_background sh "$dir/$name.run"
        started_servers="$started_servers $name"
        if wait_until_ready "$name" "$port" "$background_pid"; then
            export_url "$name" "$port"
            return 0
        fi
        stop_process "$name"
        kill -0 "$background_pid" 2>/dev/null && kill -KILL "$background_pid"
        started_servers=${started_servers% "$name"}
    done
    complain "$name: the server does not start; it says:"
    tail -20 "$dir/$name.log" >&2
    return 1
}

prepare_postgres() {
    local initdb
    initdb=$(dirname "$1")/initdb
    # Not synced: this is the empty database. The server itself syncs every commit.
    ($(as_user_command "$2") "$initdb" -D "$TEST_SERVERS_DIR/postgres" -U postgres -A trust -E UTF8 --no-locale --no-sync)
}

command_of_postgres() {
    local dir=$TEST_SERVERS_DIR
    echo "'$1' -D '$dir/postgres' -c port=$2 -c listen_addresses=127.0.0.1 -c unix_socket_directories='$dir'" \
        "-c external_pid_file='$dir/postgres.pid' -c max_connections=200 -c shared_buffers=32MB -c max_wal_size=256MB" \
        "-c fsync=on -c synchronous_commit=on -c deadlock_timeout=200ms"
}

prepare_mysql() {
    local dir=$TEST_SERVERS_DIR as init
    as=$(as_user_command "$2")
    printf '%s\n' "CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';" \
        "GRANT ALL PRIVILEGES ON *.* TO 'root'@'127.0.0.1' WITH GRANT OPTION;" >"$dir/mysql.init.sql"
    chmod 644 "$dir/mysql.init.sql"
    # A MariaDB that starts clears the temporary tables out of its folder, so the folder must be no other server's.
    mkdir "$dir/mysql.tmp" && { [ -z "$2" ] || chown "$2" "$dir/mysql.tmp"; }
    if "$1" --no-defaults --version | grep -qi mariadb; then
        init=$(first_executable "$(command -v mariadb-install-db)" "$(command -v mysql_install_db)" \
            "$(dirname "$1")/mariadb-install-db" /usr/bin/mariadb-install-db /usr/bin/mysql_install_db)
        ($as env TMPDIR="$dir/mysql.tmp" "$init" --no-defaults --datadir="$dir/mysql" --auth-root-authentication-method=normal --skip-test-db)
    else
        ($as "$1" --no-defaults --initialize-insecure --datadir="$dir/mysql" --tmpdir="$dir/mysql.tmp")
    fi
}

command_of_mysql() {
    local dir=$TEST_SERVERS_DIR only_mysql=""
    "$1" --no-defaults --version | grep -qi mariadb || only_mysql="--mysqlx=OFF"
    echo "'$1' --no-defaults --datadir='$dir/mysql' --port=$2 --bind-address=127.0.0.1 --socket='$dir/mysql.sock'" \
        "--tmpdir='$dir/mysql.tmp'" \
        "--pid-file='$dir/mysql.pid' --init-file='$dir/mysql.init.sql' --skip-name-resolve --skip-log-bin $only_mysql" \
        "--max-connections=200 --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=1 --performance-schema=OFF"
}

prepare_redis() { :; }

command_of_redis() {
    local dir=$TEST_SERVERS_DIR
    echo "'$1' --port $2 --bind 127.0.0.1 --unixsocket '$dir/redis.sock' --dir '$dir/redis' --pidfile '$dir/redis.pid'" \
        "--save '' --appendonly no --daemonize no"
}

# Below Linux' range for outgoing connections, so that no client takes it by chance.
free_port() {
    local port try
    for try in 1 2 3 4 5 6 7 8 9 10; do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    done
    echo "$port"
}

# In a process group of its own, so that Ctrl-C reaches us first and we stop it in order. Sets background_pid.
in_background() {
    set -m
    "$@" </dev/null >/dev/null 2>&1 &
    background_pid=$!
    set +m
    disown "$background_pid" 2>/dev/null || true
}

# wait_until_ready NAME PORT PID: at most 60 seconds; false at once where the process has ended.
wait_until_ready() {
    local tenths=0
    while [ $tenths -lt 600 ]; do
        kill -0 "$3" 2>/dev/null || return 1
        if "${1}_answers" "$2"; then
            # It is ours that answers, not one that had the port already.
            [ -s "$TEST_SERVERS_DIR/$1.pid" ] && kill -0 "$3" 2>/dev/null && return 0
        fi
        sleep 0.1
        tenths=$((tenths + 1))
    done
    return 1
}

postgres_answers() {
    local pg_isready
    pg_isready=$(dirname "$(binary_of postgres)")/pg_isready
    if [ -x "$pg_isready" ]; then
        "$pg_isready" -q -h 127.0.0.1 -p "$1" -U postgres -t 2
    else
        (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
    fi
}

# MySQL speaks first: a greeting.
mysql_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1" && IFS= read -r -t 2 -n 1 _ <&3) 2>/dev/null; }

redis_answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'PING\r\n' >&3 && IFS= read -r -t 2 line <&3 && [ "${line%?}" = +PONG ]) 2>/dev/null
}

# Stops a server by its pid file: politely, after ten seconds not.
stop_process() {
    local pid signal=TERM tenths=0
    pid=$(head -1 "$TEST_SERVERS_DIR/$1.pid" 2>/dev/null)
    case $pid in '' | *[!0-9]*) return 0 ;; esac
    [ "$1" != postgres ] || signal=INT # do not wait for clients
    kill -CONT "$pid" 2>/dev/null      # a test may have stopped it
    kill -$signal "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.1
        tenths=$((tenths + 1))
        [ $tenths -ne 100 ] || kill -KILL "$pid" 2>/dev/null
        [ $tenths -lt 150 ] || return 0
    done
}

# Nobody can trap SIGKILL: a guard looks every two seconds whether we live, and tidies up if not.
guard_servers() {
    local parent=$$
    in_background bash -c '
        source "$1"
        while kill -0 "$2" 2>/dev/null; do sleep 2; done
        TEST_SERVERS_DIR=$3
        for name in redis mysql postgres; do stop_process "$name"; done
        for file in "$TEST_SERVERS_DIR"/*.container; do [ ! -e "$file" ] || docker rm -f -v "$(cat "$file")"; done
        rm -rf "$TEST_SERVERS_DIR"
    ' guard "${BASH_SOURCE[0]}" "$parent" "$TEST_SERVERS_DIR"
    servers_guard=$background_pid
}

# --- containers ------------------------------------------------------------------------------------------------------------------

start_container() {
    local name=$1 container port tenths=0
    case $name in
        postgres) container=$(docker run -d -p 127.0.0.1::5432 -e POSTGRES_HOST_AUTH_METHOD=trust "$POSTGRES_IMAGE" -c max_connections=200) ;;
        mysql) container=$(docker run -d -p 127.0.0.1::3306 -e MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1 "$MYSQL_IMAGE" --max-connections=200) ;;
        redis) container=$(docker run -d -p 127.0.0.1::6379 "$REDIS_IMAGE" --save '' --appendonly no) ;;
    esac || return 1
    started_containers="$started_containers $container"
    echo "$container" >"$TEST_SERVERS_DIR/$name.container"
    port=$(docker port "$container" | sed -n 's/.*127\.0\.0\.1:\([0-9]*\)$/\1/p' | head -1)
    while ! container_answers "$name" "$container"; do
        sleep 0.5
        tenths=$((tenths + 5))
        if [ $tenths -gt 1200 ]; then
            complain "$name: the container does not answer; it says:"
            docker logs --tail 20 "$container" >&2
            return 1
        fi
    done
    export_url "$name" "$port"
}

# Over TCP inside the container: while the images set themselves up, they listen on the socket only.
container_answers() {
    case $1 in
        postgres) docker exec "$2" pg_isready -q -h 127.0.0.1 -U postgres ;;
        mysql) docker exec "$2" mariadb-admin -h 127.0.0.1 -u root --silent ping ;;
        redis) docker exec "$2" redis-cli ping ;;
    esac >/dev/null 2>&1
}
