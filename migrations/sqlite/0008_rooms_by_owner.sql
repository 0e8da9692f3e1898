-- How many open rooms somebody owns is looked up for each new one.
create index rooms_by_owner on rooms (owner_id, group_id);
