-- Chat rooms and what was said in them. Owners and authors do not refer to the users: an application with accounts of
-- its own has callers that are not there, and what somebody said outlives the account.
create table rooms (
    id text primary key,
    name text not null,
    -- Null: open to everybody who is logged in.
    group_id text references groups (id) on delete cascade,
    owner_id text not null,
    created_at bigint not null
);
create index rooms_by_group on rooms (group_id);

create table messages (
    id text primary key,
    room_id text not null references rooms (id) on delete cascade,
    author_id text not null,
    -- The author's name then, for authors who are not among the users.
    author_name text not null,
    text text not null,
    created_at bigint not null,
    edited_at bigint
);
create index messages_by_room on messages (room_id, id);
