-- Documents live under roots; who may read and write is said of the root, for users and for groups.
create table document_roots (
    id text primary key,
    name text not null,
    created_at bigint not null
);

create table user_permissions (
    id text not null unique,
    root_id text not null references document_roots (id) on delete cascade,
    user_id text not null references users (id) on delete cascade,
    -- 1 read, 2 write
    access smallint not null,
    primary key (root_id, user_id)
);
create index user_permissions_by_user on user_permissions (user_id);

create table group_permissions (
    id text not null unique,
    root_id text not null references document_roots (id) on delete cascade,
    group_id text not null references groups (id) on delete cascade,
    access smallint not null,
    primary key (root_id, group_id)
);
create index group_permissions_by_group on group_permissions (group_id);

-- Every way in which a user has access to a root; the largest counts.
create view root_access as
    select root_id, user_id, access from user_permissions
    union all
    select p.root_id, m.user_id, p.access
    from group_permissions p join memberships m on m.group_id = p.group_id;

create table documents (
    id text primary key,
    root_id text not null references document_roots (id) on delete cascade,
    parent_id text references documents (id),
    type text not null,
    data text not null,
    version bigint not null,
    created_at bigint not null,
    updated_at bigint not null
);
create index documents_by_root on documents (root_id, id);
create index documents_by_parent on documents (parent_id);
