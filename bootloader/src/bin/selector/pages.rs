//! Whole pages of memory: aligned for any disk, and refused instead of fatal when
//! there are not enough.

#![allow(unsafe_code)]

use crate::trouble::Trouble;
use core::{
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};
use uefi::boot::{self, AllocateType, MemoryType, PAGE_SIZE};

/// Zeroed memory in whole pages, given back when dropped.
pub struct Pages {
    start: NonNull<u8>,
    pages: usize,
    length: usize,
}

impl Pages {
    /// Memory for `length` bytes.
    pub fn new(length: u64) -> Result<Self, Trouble> {
        let no_memory = || Trouble::Memory { bytes: length };
        let length = usize::try_from(length).map_err(|_| no_memory())?;
        let pages = length.div_ceil(PAGE_SIZE).max(1);
        let start = boot::allocate_pages(AllocateType::AnyPages, MemoryType::LOADER_DATA, pages)
            .map_err(|_| no_memory())?;
        // SAFETY: the firmware just gave us these pages, all of them, for our own.
        unsafe { start.write_bytes(0, pages * PAGE_SIZE) };
        Ok(Self {
            start,
            pages,
            length,
        })
    }

    /// Forgets what is behind `length` bytes; the memory stays taken until the drop.
    pub fn truncate(&mut self, length: u64) {
        // A length beyond what is there, or beyond memory, changes nothing.
        self.length = usize::try_from(length).map_or(self.length, |new| new.min(self.length));
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `new` got and initialized at least `length` bytes, which are ours
        // until `drop`.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: these pages came from `allocate_pages`, and no borrow outlives self.
        // Firmware that does not take them back costs memory only.
        let _ = unsafe { boot::free_pages(self.start, self.pages) };
    }
}
