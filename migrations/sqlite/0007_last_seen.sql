-- When users last came or went, also those of an application that has accounts of its own.
create table last_seen (
    user_id text primary key,
    at bigint not null
) without rowid;
