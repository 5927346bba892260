#!/bin/sh
# Makes a database cluster in PGDATA when there is none, then becomes the server, as user postgres.
# Reads POSTGRES_PASSWORD, POSTGRES_USER, POSTGRES_DB, POSTGRES_INITDB_ARGS and POSTGRES_HOST_AUTH_METHOD as the
# well-known image does.
set -eu

if [ "${1:-postgres}" != postgres ]; then
    exec "$@"
fi

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /run/postgresql
    chown -R postgres:postgres "$PGDATA" /run/postgresql
    chmod 700 "$PGDATA"
    exec su -s /bin/sh postgres -c 'exec "$0" "$@"' "$0" "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo "postgres: the database is new and POSTGRES_PASSWORD is not set" >&2
        echo "postgres: set it, or POSTGRES_HOST_AUTH_METHOD=trust to let everybody in" >&2
        exit 1
    fi
    printf '%s\n' "${POSTGRES_PASSWORD:-}" > /tmp/password
    set -- "$@"
    # POSTGRES_INITDB_ARGS is a list of words.
    # shellcheck disable=SC2086
    initdb --username="$user" ${POSTGRES_PASSWORD:+--pwfile=/tmp/password} --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=trust ${POSTGRES_INITDB_ARGS:-}
    rm -f /tmp/password
    echo "host all all all $method" >> "$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        printf 'CREATE DATABASE "%s";\n' "$database" | postgres --single -j postgres > /dev/null
    fi
fi

shift || true
exec postgres -c listen_addresses='*' "$@"
