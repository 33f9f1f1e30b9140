//! An allocator that counts what a thread asks of it: how often, and how many bytes it has and hasn't given back. What a benchmark or
//! a test says of allocations comes from here. An allocator can't be written without `unsafe`; every call is handed on as it came.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use mimalloc::MiMalloc;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

/// The hub's allocator, counted.
pub(crate) struct Counting;

/// What a piece of work asked of the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Allocations, and reallocations.
    pub(crate) allocations: u64,
    /// Bytes asked for and not given back; negative: more was given back.
    pub(crate) bytes: i64,
}

/// Does the work, and says what it asked for on this thread.
pub(crate) fn counted<T>(work: impl FnOnce() -> T) -> (T, Tally) {
    let (allocations, bytes) = (ALLOCATIONS.get(), BYTES.get());
    let result = work();
    (result, Tally { allocations: ALLOCATIONS.get() - allocations, bytes: BYTES.get() - bytes })
}

fn count(allocations: u64, bytes: i64) {
    ALLOCATIONS.set(ALLOCATIONS.get() + allocations);
    BYTES.set(BYTES.get() + bytes);
}

// SAFETY: mimalloc keeps the promises of the trait; all four calls reach it with the arguments they came with. Counting allocates
// nothing: both cells are made at compile time and have nothing to drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as the caller promised.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: as the caller promised.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size as i64 - layout.size() as i64);
        // SAFETY: as the caller promised.
        unsafe { MiMalloc.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: as the caller promised.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }
}
