-- Users, their logins, groups. Ids are text (UUID v7), times are milliseconds since 1970.
create table users (
    id text primary key,
    username text not null,
    -- Lower case, for looking up and for uniqueness.
    username_key text not null unique,
    password_hash text not null,
    admin boolean not null,
    created_at bigint not null
);

create table sessions (
    -- SHA-256 of the session's id: who reads this table cannot log in with it.
    id_hash text primary key,
    -- Null where an application keeps something for somebody who is not logged in.
    user_id text references users (id) on delete cascade,
    data text not null,
    created_at bigint not null,
    expires_at bigint not null
);
create index sessions_by_user on sessions (user_id);
create index sessions_by_expiry on sessions (expires_at);

create table groups (
    id text primary key,
    name text not null,
    created_at bigint not null
);

create table memberships (
    group_id text not null references groups (id) on delete cascade,
    user_id text not null references users (id) on delete cascade,
    manager boolean not null,
    primary key (group_id, user_id)
);
create index memberships_by_user on memberships (user_id);
