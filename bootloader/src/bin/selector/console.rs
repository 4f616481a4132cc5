//! Lines on the firmware's console, every one with the same beginning.

#![allow(unsafe_code)]

use core::fmt::{Arguments, Write};
use uefi::{proto::console::text::Output, table};

/// Prints one line, or nothing on a machine without a console.
pub fn line(text: Arguments<'_>) {
    let Some(table) = table::system_table_raw() else {
        return;
    };
    // SAFETY: the firmware's system table and its console live as long as boot
    // services, and nothing here ends these. `Output` is transparent over the
    // protocol, and no other reference to it is made while this one lives.
    let console = unsafe { table.as_ref().stdout.cast::<Output>().as_mut() };
    if let Some(console) = console {
        // A console that does not take a line is no reason not to boot.
        let _ = console.write_fmt(format_args!("ballast: {text}\n"));
    }
}

macro_rules! say {
    ($($argument:tt)*) => {
        $crate::console::line(core::format_args!($($argument)*))
    };
}
pub(crate) use say;
