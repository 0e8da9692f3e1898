-- Sockets that an event is kept from besides its origin, as a JSON array.
alter table events add column except_sockets text;
