-- The log: every kept event, in the order of commits. It is the outbox and the history too.
create table events (
    position bigint primary key,
    name text not null,
    data text not null,
    -- A JSON array, in the order in which the event was addressed.
    channels text not null,
    origin_user text,
    origin_socket text,
    time bigint not null
);

create table event_channels (
    channel text not null,
    position bigint not null,
    primary key (channel, position)
) without rowid;

-- Who had no access to which channel, and from when until when: nothing of that time is replayed, even if access came
-- back later.
create table withdrawals (
    position bigint not null,
    user_id text not null,
    -- '*' for all of them
    channel text not null,
    -- Null while it lasts.
    ended bigint,
    primary key (user_id, position, channel)
);
create index withdrawals_by_position on withdrawals (position);

create table log_state (
    id smallint primary key check (id = 1),
    -- 8 hex digits
    epoch text not null,
    -- Events up to here are gone, or belong to an older epoch.
    trimmed bigint not null
);
