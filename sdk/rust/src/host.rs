//! The host functions. Each needs its capability in `plugin.yaml` (`log`, `now_ms`, `rand_u64`,
//! `param_get`, `metric_add`); a module that uses one without it is refused.

mod import {
    #[link(wasm_import_module = "arbiter_v1")]
    extern "C" {
        pub fn log(level: u32, text: *const u8, length: usize);
        pub fn now_ms() -> i64;
        pub fn rand_u64() -> u64;
        pub fn param_get(key: *const u8, length: usize, out: *mut u8, capacity: usize) -> i32;
        pub fn metric_add(name: *const u8, length: usize, value: f64);
    }
}

/// How important a line of the log is.
#[derive(Clone, Copy)]
pub enum Level {
    Debug = 0,
    Info = 1,
    Warn = 2,
    Error = 3,
}

/// Writes a line to the plugin's log. The host takes a few lines of each call, cuts long ones, and takes
/// out what it handed over about the customer.
pub fn log(level: Level, text: &str) {
    unsafe { import::log(level as u32, text.as_ptr(), text.len()) }
}

/// The moment of the decision in milliseconds since the Unix epoch. It stands still within one.
pub fn now_ms() -> i64 {
    unsafe { import::now_ms() }
}

/// The next number by chance. The same decision draws the same numbers when it is replayed.
pub fn random() -> u64 {
    unsafe { import::rand_u64() }
}

/// A parameter of the plugin: what the catalog says where it binds the plugin, or the manifest.
pub fn param(key: &str) -> Option<String> {
    let mut room = vec![0u8; 256];
    loop {
        let n = unsafe { import::param_get(key.as_ptr(), key.len(), room.as_mut_ptr(), room.len()) };
        if n < 0 {
            return None;
        }
        let fits = n as usize <= room.len();
        room.resize(n as usize, 0);
        if fits {
            return String::from_utf8(room).ok();
        }
    }
}

/// Adds to a counter of the plugin, whose name is of lower-case letters, digits and underscores. The value
/// is finite and not negative.
pub fn add_metric(name: &str, value: f64) {
    unsafe { import::metric_add(name.as_ptr(), name.len(), value) }
}
