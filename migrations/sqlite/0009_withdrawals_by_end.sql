-- Those that have ended are looked for each time that old events are deleted; the others stay long, and may be many.
create index withdrawals_by_end on withdrawals (ended) where ended is not null;
