-- What is to be told later, and what was answered a short while ago: for back ends that publish.
create table scheduled (
    id text primary key,
    -- Milliseconds since 1970.
    due bigint not null,
    name text not null,
    data text not null,
    -- JSON arrays; no sockets is null.
    channels text not null,
    except_sockets text,
    volatile boolean not null
);
create index scheduled_by_due on scheduled (due, id);

create table answers (
    -- In the order in which they came, so that their number can be told without counting.
    number integer primary key,
    idempotency_key text not null unique,
    -- SHA-256 of what was asked.
    request text not null,
    status smallint not null,
    body text not null,
    expires bigint not null
);
create index answers_by_expiry on answers (expires);
