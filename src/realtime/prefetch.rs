//! Having memory fetched before it is used: of a thousand connections, each is further away than the cache.

use branches::prefetch_read_data;

/// What nearly all processors fetch at once, in bytes.
const LINE: usize = 64;

/// Has all of something fetched, while something else is done.
pub(crate) fn prefetch<T: ?Sized>(something: &T) {
    let first = std::ptr::from_ref(something).cast::<u8>();
    let before = first.addr() % LINE;
    for offset in (0..before + size_of_val(something)).step_by(LINE) {
        // Into the first cache.
        prefetch_read_data::<u8, 0>(first.wrapping_sub(before).wrapping_add(offset));
    }
}
