#!/bin/sh
# A database with one row in it, as the application would have written it.
set -eu
runuser -u postgres -- createdb ledger
runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 -d ledger <<'SQL'
create table entries (id integer primary key, note text not null);
insert into entries values (1, 'written before the patch');
SQL
