#!/usr/bin/env bash
# Stands in for `docker` in tests: a container is a folder in $DOCKER_HOME and a server of this machine, made as its image makes it.
# What it was told lies in $DOCKER_HOME/calls; where there is a file `away`, no Docker answers.
set -u
home=$DOCKER_HOME
# shellcheck source=../../../../../scripts/servers.sh
source "$SERVERS_SH"
complain() { echo "$*" >&2; }
printf '%s\n' "$*" >>"$home/calls"

if [ -e "$home/away" ]; then
    echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?" >&2
    exit 1
fi

value_of() { sed -n "s/^$1=//p" "$dir/env"; }
# A process that has ended and whose end nobody has asked for yet (Z) runs no more.
runs() {
    [ -s "$dir/pid" ] && case $(ps -o stat= -p "$(cat "$dir/pid")") in "" | Z*) false ;; esac
}

# Makes the data folder where there is none, then becomes the server.
become_postgres() {
    local bin as
    bin=$(dirname "$(binary_of postgres)")
    as=$(as_user_command "$(user_for postgres)")
    if [ ! -e "$dir/data" ]; then
        mkdir "$dir/data" && chmod 700 "$dir/data" && value_of POSTGRES_PASSWORD >"$dir/password"
        [ -z "$(user_for postgres)" ] || chown "$(user_for postgres)" "$dir/data" "$dir/password"
        ($as "$bin/initdb" -D "$dir/data" -U "$(value_of POSTGRES_USER)" --pwfile "$dir/password" -A scram-sha-256 -E UTF8 --no-locale --no-sync) || exit 1
        echo "CREATE DATABASE \"$(value_of POSTGRES_DB)\";" | ($as "$bin/postgres" --single -D "$dir/data" postgres) || exit 1
    fi
    $as "$bin/postgres" -D "$dir/data" -c "port=$(cat "$dir/port")" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c shared_buffers=16MB
}

become_mysql() {
    local binary as database user
    binary=$(binary_of mysql)
    as=$(as_user_command "$(user_for mysql)")
    database=$(value_of MARIADB_DATABASE)
    user=$(value_of MARIADB_USER)
    printf '%s\n' "CREATE DATABASE IF NOT EXISTS \`$database\`;" \
        "CREATE USER IF NOT EXISTS '$user'@'127.0.0.1' IDENTIFIED BY '$(value_of MARIADB_PASSWORD)';" \
        "GRANT ALL ON \`$database\`.* TO '$user'@'127.0.0.1';" >"$dir/init.sql"
    if [ ! -e "$dir/data" ]; then
        mkdir "$dir/data" "$dir/tmp" && chmod 700 "$dir/data"
        [ -z "$(user_for mysql)" ] || chown "$(user_for mysql)" "$dir/data" "$dir/tmp"
        ($as env TMPDIR="$dir/tmp" mariadb-install-db --no-defaults --datadir="$dir/data" --skip-test-db) || exit 1
    fi
    $as "$binary" --no-defaults --datadir="$dir/data" --port="$(cat "$dir/port")" --bind-address=127.0.0.1 --socket="$dir/tmp/s" \
        --tmpdir="$dir/tmp" --init-file="$dir/init.sql" --skip-name-resolve --skip-log-bin --innodb-buffer-pool-size=32M --performance-schema=OFF
}

become_redis() {
    mkdir -p "$dir/data"
    printf 'port %s\nbind 127.0.0.1\ndir %s\nappendonly yes\n' "$(cat "$dir/port")" "$dir/data" >"$dir/redis.conf"
    [ -z "$(value_of REDIS_PASSWORD)" ] || printf 'requirepass "%s"\n' "$(value_of REDIS_PASSWORD)" >>"$dir/redis.conf"
    exec "$(binary_of redis)" "$dir/redis.conf"
}

# As Docker does, it says that it has begun before the server is ready.
begin() {
    (
        case $(cat "$dir/image") in
            postgres:*) become_postgres ;;
            mariadb:*) become_mysql ;;
            redis:*) become_redis ;;
        esac
    ) </dev/null >>"$dir/log" 2>&1 &
    # Here, so that it runs for whoever asks as soon as this command has ended.
    echo $! >"$dir/pid"
}

case "$1 ${2:-}" in
    "version --format") echo 28.2.2 ;;
    "container inspect")
        dir=$home/$3
        if [ ! -e "$dir" ]; then
            echo "Error response from daemon: No such container: $3" >&2
            exit 1
        fi
        running=false
        ! runs || running=true
        environment=$(sed 's/.*/"&",/' "$dir/env" | tr -d '\n')
        echo "[{\"State\":{\"Running\":$running},\"Config\":{\"Env\":[${environment}\"PATH=/bin\"]},\"HostConfig\":{\"PortBindings\":{\"1/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"$(cat "$dir/port")\"}]}}}]"
        ;;
    "container run")
        shift 2
        names="" port="" name=""
        while [ $# -gt 0 ]; do
            case $1 in
                --detach) shift ;;
                --name) name=$2; shift 2 ;;
                --publish) port=${2#*:}; port=${port%:*}; shift 2 ;;
                --volume) shift 2 ;;
                --env) names="$names $2"; shift 2 ;;
                *) break ;;
            esac
        done
        dir=$home/$name
        mkdir "$dir" && chmod 711 "$dir" || exit 1
        echo "$port" >"$dir/port"
        echo "$1" >"$dir/image"
        : >"$dir/env"
        for variable in $names; do echo "$variable=${!variable}" >>"$dir/env"; done
        begin
        echo 1f
        ;;
    "container start") dir=$home/$3 && begin ;;
    "container logs") dir=$home/${!#} && tail -5 "$dir/log" ;;
    "container rm") rm -r "${home:?}/$3" ;;
    *)
        echo "the stand-in does not know: $*" >&2
        exit 1
        ;;
esac
